"""How well an encoder's cosines follow the quality of unseen images, beside a naive rival."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from basicsr_m2trans.apps.prior.degradations import FLAWS, degrade
from basicsr_m2trans.apps.prior.flaw_captions import REFERENCE_CAPTION, plain_caption
from basicsr_m2trans.encoders.base import ImageTextEncoder

SEVERITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# Where the caption must be found: a middle grade, and the bicubic loss of x4.
CAPTION_SEVERITY = 0.6
PATCH_SIZE = 224  # of the semantic loss
GOOD = "none"  # the class of images without flaw, beside `FLAWS`

Embed = Callable[[Tensor], Tensor]


class Agreement(NamedTuple):
    """What one encoder reaches; correlations are those of falling severity and quality.

    Attributes:
        within: by flaw, Spearman's correlation over one image's severities, mean over images.
        pooled: by flaw, Spearman's correlation over all images and severities together. Equal
            severities are ties: a quality that never repeats reaches 0.986 with six levels, even
            where each level lies below the last.
        accuracy: by flaw and `GOOD`, part of the images nearest to their own flaw's caption.
    """

    within: dict[str, float]
    pooled: dict[str, float]
    accuracy: dict[str, float]

    @property
    def chance(self) -> float:
        """The mean accuracy of a choice by lot."""
        return 1 / len(self.accuracy)


def measure_encoder(encoder: ImageTextEncoder, images: Sequence[np.ndarray]) -> Agreement:
    """Compare the severity of flaws with the cosine to `REFERENCE_CAPTION`.

    Args:
        encoder: any image-text encoder.
        images: grey uint8 (h, w); the middle 224x224 pixels of each are used, or fewer.
    """
    captions = {GOOD: REFERENCE_CAPTION} | {flaw: plain_caption(flaw) for flaw in FLAWS}
    with torch.no_grad():
        text = dict(zip(captions, encoder.encode_text(list(captions.values())), strict=True))
        features = _embed_all(encoder.encode_image, images)
    return _measure(features, text)


def measure_pooled_pixels(images: Sequence[np.ndarray]) -> Agreement:
    """The same for a naive rival: grey values averaged to 8x8, and each class's mean as caption.

    The means are taken over the very images that are measured, which favours the rival.
    """

    def pool(patches: Tensor) -> Tensor:
        return F.normalize(F.adaptive_avg_pool2d(patches[:, :1], 8).flatten(1), dim=1)

    features = _embed_all(pool, images)
    level = SEVERITIES.index(CAPTION_SEVERITY)
    prototypes = {
        flaw: F.normalize(values[:, level].mean(dim=0), dim=0) for flaw, values in features.items()
    }
    good = torch.stack([values[:, 0] for values in features.values()]).mean(dim=(0, 1))
    return _measure(features, {GOOD: F.normalize(good, dim=0)} | prototypes)


def evaluation_table(encoder: ImageTextEncoder, images: Sequence[np.ndarray]) -> str:
    """Both as text, a row for each flaw; arguments as of `measure_encoder`."""
    results = (measure_encoder(encoder, images), measure_pooled_pixels(images))
    lines = [
        "Spearman: correlation of falling severity and the cosine to the caption of good images, "
        "within each image",
        "(mean) and pooled over all; nearest: part of the images nearest to their own of "
        f"{len(results[0].accuracy)} captions at severity {CAPTION_SEVERITY}.",
        f"{'':14}{'prior':^27}{'pooled pixels':^27}",
        f"{'':14}" + 2 * f"{'within':>9}{'pooled':>9}{'nearest':>9}",
    ]
    for flaw in FLAWS:
        values = [column[flaw] for result in results for column in result]
        lines.append(f"{flaw:14}" + "".join(f"{value:9.3f}" for value in values))
    good = [result.accuracy[GOOD] for result in results]
    lines.append(f"{'no flaw':14}" + "".join(f"{value:27.3f}" for value in good))
    means = [np.mean(list(column.values())) for result in results for column in result]
    lines.append(f"{'mean':14}" + "".join(f"{value:9.3f}" for value in means))
    lines.append(f"nearest caption by lot: {results[0].chance:.3f}")
    return "\n".join(lines)


def _embed_all(embed: Embed, images: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Features (images, severities, D) by flaw."""
    features: dict[str, list[Tensor]] = {flaw: [] for flaw in FLAWS}
    for number, image in enumerate(images):
        patch = _middle(image)
        for flaw in FLAWS:
            # One seed for all severities: the same noise, stronger and stronger.
            ladder = [
                degrade(patch, flaw, level, np.random.default_rng(number)) for level in SEVERITIES
            ]
            grey = torch.from_numpy(np.stack(ladder))[:, None]
            features[flaw].append(embed(grey.expand(-1, 3, -1, -1)))
    return {flaw: torch.stack(values) for flaw, values in features.items()}


def _middle(image: np.ndarray) -> np.ndarray:
    height, width = (min(side, PATCH_SIZE) for side in image.shape)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width].astype(np.float32) / 255


def _measure(features: Mapping[str, Tensor], text: Mapping[str, Tensor]) -> Agreement:
    severities = np.array(SEVERITIES)
    within, pooled = {}, {}
    for flaw, values in features.items():
        quality = (values @ text[GOOD]).double().numpy()
        within[flaw] = float(np.mean([_spearman(-severities, image) for image in quality]))
        pooled[flaw] = _spearman(np.tile(-severities, len(quality)), quality.ravel())
    level = SEVERITIES.index(CAPTION_SEVERITY)
    samples = {GOOD: next(iter(features.values()))[:, 0]} | {
        flaw: value[:, level] for flaw, value in features.items()
    }
    all_text = torch.stack([text[name] for name in samples])
    accuracy = {
        name: ((value @ all_text.T).argmax(dim=1) == index).double().mean().item()
        for index, (name, value) in enumerate(samples.items())
    }
    return Agreement(within, pooled, accuracy)


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.stats import spearmanr

    # A flaw leaves no trace on a black image; scipy's NaN would hide all other images.
    return float(spearmanr(x, y).statistic) if np.ptp(y) > 0 else 0.0
