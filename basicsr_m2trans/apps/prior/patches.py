"""What the prior learns from: patches of real images, each at four severities of one flaw."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from basicsr_m2trans.apps.prior.degradations import FLAWS, degrade
from basicsr_m2trans.apps.prior.flaw_captions import make_flaw_caption
from basicsr_m2trans.data.captions import make_caption
from basicsr_m2trans.data.images import list_images, read_image
from basicsr_m2trans.utils.errors import InputError

PATCH_SIZES = (48, 64, 80)  # one for each batch
# A flaw is applied to a larger region, so that neither its border nor JPEG's grid has a fixed place
# in the patch.
MARGIN = 16
MIN_SIDE = max(PATCH_SIZES) + MARGIN
MAX_REDUCTION = 2.0
# Below this mean, of grey values in [0, 1], a region lies outside the scan and shows no flaw.
MIN_MEAN = 0.06
UNKNOWN_WORD = "something"


class Batch(NamedTuple):
    """N = 4 x sources patches; each source has severity 0 and one severity in each third of (0, 1].

    Attributes:
        patches: (N, 1, P, P), grey in [0, 1].
        captions: one for each patch.
        flaws: (N,), the index in `FLAWS` of the source's flaw, also for the patch of severity 0.
        severities: (N,), in [0, 1].
    """

    patches: Tensor
    captions: list[str]
    flaws: Tensor
    severities: Tensor


def read_grey_images(folder: str | Path) -> list[np.ndarray]:
    """All images of a folder and its sub-folders as luma, uint8 (h, w), in order of path.

    Raises:
        InputError: the folder holds no image; one cannot be read, or has a side below 96 pixels.
    """
    images = []
    for path in list_images(folder, recursive=True):
        image = read_image(path)
        if min(image.shape[:2]) < MIN_SIDE:
            raise InputError(
                f"{path}: {image.shape[1]}x{image.shape[0]} pixels are too few; take images of at "
                f"least {MIN_SIDE}x{MIN_SIDE} out of larger scans, or leave this one out"
            )
        if image.dtype == np.uint16:
            image = np.rint(image / 257).astype(np.uint8)
        grey = image.shape[2] == 1
        images.append(image[..., 0] if grey else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    return images


def draw_batch(images: Sequence[np.ndarray], sources: int, rng: Generator) -> Batch:
    """Draw patches and captions at random; images are as `read_grey_images` returns them."""
    side = int(rng.choice(PATCH_SIZES))
    patches, captions, flaws, severities = [], [], [], []
    for _ in range(sources):
        region = _draw_region(images[int(rng.integers(len(images)))], side + MARGIN, rng)
        flaw = str(rng.choice(list(FLAWS)))
        top, left = rng.integers(MARGIN + 1, size=2)
        turns, flip = int(rng.integers(4)), int(rng.integers(2))
        for severity in (0.0, *((np.arange(3) + 1 - rng.random(3)) / 3)):
            patch = degrade(region, flaw, severity, rng)[top : top + side, left : left + side]
            patch = np.rot90(patch, turns)
            patches.append(patch[:, ::-1] if flip else patch)
            captions.append(_draw_caption(flaw, severity, rng))
            flaws.append(list(FLAWS).index(flaw))
            severities.append(severity)
    return Batch(
        torch.from_numpy(np.stack(patches))[:, None],
        captions,
        torch.tensor(flaws),
        torch.tensor(severities, dtype=torch.float32),
    )


def _draw_region(image: np.ndarray, side: int, rng: Generator) -> np.ndarray:
    """A square inside the scan, reduced by up to 2, as the loss's first patch is (p_1)."""
    largest = min(side * MAX_REDUCTION, *image.shape)
    for _ in range(10):
        size = int(rng.uniform(side, largest)) if rng.random() < 0.5 else side
        top, left = (rng.integers(length - size + 1) for length in image.shape)
        square = image[top : top + size, left : left + size].astype(np.float32) / 255
        if square.mean() >= MIN_MEAN:
            break
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)


def _draw_caption(flaw: str, severity: float, rng: Generator) -> str:
    """A caption, a third of them with words of other subjects, which the prior must pass over."""
    if severity == 0:
        caption = make_caption(str(rng.integers(2**32)))
    else:
        caption = make_flaw_caption(flaw, severity, rng)
    if rng.random() < 1 / 3:
        caption += f" of {' '.join([UNKNOWN_WORD] * rng.integers(1, 4))}"
    return caption
