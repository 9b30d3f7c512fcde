import numpy as np
import pytest
import torch
import torch.nn.functional as F

from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.apps.prior.degradations import FLAWS
from basicsr_m2trans.apps.prior.evaluation import (
    GOOD,
    SEVERITIES,
    measure_encoder,
    measure_pooled_pixels,
)
from basicsr_m2trans.apps.prior.flaw_captions import FLAW_WORDS
from basicsr_m2trans.encoders.base import ImageTextEncoder

IMAGES = [make_phantom(seed, 96, 120, "linear") for seed in range(3)]


class Oracle(ImageTextEncoder):
    """Knows flaw and severity of each patch, since it is asked in order: axis 0 is quality, each
    flaw has an axis.
    """

    def __init__(self):
        super().__init__()
        self.calls = 0

    def encode_image(self, images):
        assert images.shape == (len(SEVERITIES), 3, 96, 120)
        severity = torch.tensor(SEVERITIES)
        features = torch.zeros(len(severity), 1 + len(FLAWS))
        features[:, 0] = 1 - severity
        features[:, 1 + self.calls % len(FLAWS)] = severity
        self.calls += 1
        return F.normalize(features, dim=1)

    def encode_text(self, captions):
        words = list(FLAW_WORDS.values())
        axes = [
            next((1 + i for i, own in enumerate(words) if own[0] in caption), 0)
            for caption in captions
        ]
        return torch.eye(1 + len(FLAWS))[axes]


def test_oracle_gets_full_marks():
    result = measure_encoder(Oracle(), IMAGES)
    for scores in (result.within, result.pooled, result.accuracy):
        assert list(scores.values()) == pytest.approx([1] * len(scores))
    assert list(result.accuracy) == [GOOD, *FLAWS]
    assert result.chance == pytest.approx(1 / 11)


def test_reversed_oracle_gets_minus_one():
    class Reversed(Oracle):
        def encode_image(self, images):
            return super().encode_image(images).flip(0)

    result = measure_encoder(Reversed(), IMAGES)
    assert list(result.within.values()) == pytest.approx([-1] * len(FLAWS))


def test_pooled_pixels_find_the_class_of_equal_images():
    """With one image twice, the mean of a class is its member, except where noise differs."""
    result = measure_pooled_pixels(IMAGES[:1] * 2)
    for flaw in ("high gain", "low gain", "flat curve", "steep curve"):
        assert result.accuracy[flaw] == 1
    assert np.mean(list(measure_pooled_pixels(IMAGES).accuracy.values())) < 0.6


def test_an_image_without_content_counts_as_not_ordered():
    """Of a black image gain and curves change nothing; the mean over images stays a number."""

    class Brightness(Oracle):
        def encode_image(self, images):
            brightness = images.mean(dim=(1, 2, 3))
            return F.normalize(torch.stack([brightness, torch.ones_like(brightness)], dim=1), dim=1)

        def encode_text(self, captions):
            return torch.tensor([[1.0, 0.0]]).expand(len(captions), -1)

    black = np.zeros_like(IMAGES[0])
    both, alone = (
        measure_encoder(Brightness(), images) for images in ([IMAGES[0], black], [black])
    )
    assert both.within["low gain"] == pytest.approx(0.5)
    assert alone.within["low gain"] == alone.pooled["low gain"] == 0


def test_pooled_correlation_of_a_quality_without_ties():
    """Levels in order on every image, and images that differ a little: the largest that ties of
    severity allow.
    """

    class Untied(Oracle):
        def encode_image(self, images):
            image = self.calls // len(FLAWS)
            self.calls += 1
            angle = torch.arange(len(images)) / 10 + 1e-4 * image
            return torch.stack([angle.cos(), angle.sin()], dim=1)

        def encode_text(self, captions):
            return torch.tensor([[1.0, 0.0]]).expand(len(captions), -1)

    result = measure_encoder(Untied(), IMAGES[:1] * 60)
    assert list(result.pooled.values()) == pytest.approx([0.986] * len(FLAWS), abs=5e-4)
