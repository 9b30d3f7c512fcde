"""Contrastive training of the embedded prior, with a ranking term that puts qualities in order."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import basicsr_m2trans
from basicsr_m2trans.apps.prior.flaw_captions import known_words
from basicsr_m2trans.apps.prior.patches import Batch, draw_batch
from basicsr_m2trans.encoders.quality_clip import QualityCLIP
from basicsr_m2trans.utils.errors import InputError

SOURCES = 8  # images in a batch; each gives four patches
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
RANKING_WEIGHT = 8.0
# The cosine to the captions of good images is to fall by this much from severity 0 to 1.
RANKING_MARGIN = 1.0
MAX_LOGIT_SCALE = float(np.log(100))
# Captions of the same flaw count as partly right up to this difference in severity.
AFFINITY_RANGE = 0.5


def train_prior(
    images: Sequence[np.ndarray],
    steps: int,
    seed: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> QualityCLIP:
    """Train a `QualityCLIP` from random weights on the CPU.

    On one machine and for one number of threads the weights are a function of the arguments.

    Args:
        images: grey uint8 (h, w), as `patches.read_grey_images` returns them.
        steps: optimiser steps, at least 1.
        seed: of weights and batches, not negative.
        report: called after each step with its number from 1 and the values of both terms.

    Returns:
        The network in eval mode.

    Raises:
        InputError: steps or seed out of range.
    """
    if steps < 1 or seed < 0:
        raise InputError(
            f"steps is {steps} and seed {seed}: steps must be at least 1 and seed at least 0"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = QualityCLIP(known_words())
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    # The scheduler counts one value beyond the last step.
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps + 1, pct_start=0.1
    )
    for step in range(1, steps + 1):
        batch = draw_batch(images, SOURCES, rng)
        terms = loss_terms(model, batch)
        optimizer.zero_grad()
        (terms["contrastive"] + RANKING_WEIGHT * terms["ranking"]).backward()
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        if report is not None:
            report(step, {name: value.item() for name, value in terms.items()})
    return model.eval()


def loss_terms(model: QualityCLIP, batch: Batch) -> dict[str, Tensor]:
    """Both terms of the loss, scalars under `contrastive` and `ranking`."""
    image = model.image_features(batch.patches)
    text = model.text_features(batch.captions)
    logits = model.logit_scale.exp() * image @ text.T
    good_text = text[batch.severities == 0]
    return {
        "contrastive": contrastive_loss(logits, batch.flaws, batch.severities),
        "ranking": ranking_loss((image @ good_text.T).mean(dim=1), batch.flaws, batch.severities),
    }


def contrastive_loss(logits: Tensor, flaws: Tensor, severities: Tensor) -> Tensor:
    """InfoNCE with soft targets, from images to captions and back (Radford et al., ICML 2021).

    A caption is right for an image of the same flaw and severity, and partly right for one of the
    same flaw and another severity. All images without flaw share all their captions.

    Args:
        logits: (N, N) scaled cosines, a row for each image.
        flaws: (N,) index of the flaw.
        severities: (N,) in [0, 1].

    Returns:
        Scalar, the mean of both directions.
    """
    good = severities == 0
    related = (flaws[:, None] == flaws) & ~good[:, None] & ~good | good[:, None] & good
    difference = (severities[:, None] - severities).abs()
    affinity = related * (1 - difference / AFFINITY_RANGE).clamp(min=0)  # symmetric
    targets = affinity / affinity.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def ranking_loss(quality: Tensor, flaws: Tensor, severities: Tensor) -> Tensor:
    """Hinge loss over all pairs in which one patch is better for certain.

    These are pairs of the same flaw, of one image or two, and pairs of an image without flaw and
    one with any.

    Args:
        quality: (N,) cosine to captions of good images.
        flaws: (N,) index of the flaw.
        severities: (N,) in [0, 1].

    Returns:
        Scalar, the mean over the pairs; 0 once each pair keeps `RANKING_MARGIN` times its
        difference in severity.
    """
    gap = severities - severities[:, None]  # how much better the row is than the column
    comparable = (flaws[:, None] == flaws) | (severities == 0)[:, None]
    shortfall = F.relu(RANKING_MARGIN * gap - (quality[:, None] - quality))
    return shortfall[(gap > 0) & comparable].mean()


def code_version() -> str:
    """The commit of this code, with `-dirty` if changed since; without a repository its version."""
    root = Path(basicsr_m2trans.__file__).parents[1]
    if shutil.which("git") and (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        described = subprocess.run(command, capture_output=True, text=True, check=False)
        if described.returncode == 0:
            return described.stdout.strip()
    return f"version {basicsr_m2trans.__version__}"
