"""FSIM against piq, which computes everything anew for each image, in single and in double
precision.
"""

import math
import sys

import numpy as np
import pytest
import torch

from basicsr_m2trans import compat
from basicsr_m2trans.metrics.feature_similarity import (
    feature_similarity,
    filter_bank,
    phase_congruency,
)


@pytest.fixture(scope="module")
def piq():
    compat.declare_torchvision_operators()
    import piq

    return piq


def pair(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A BGR image that is black on one side, as a sector scan is, and a blurred and noisy copy."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / 5), np.cos(columns / 7), np.sin((rows + columns) / 9)], axis=2)
    image = np.where(columns[..., None] < width // 3, 0, 127 + 100 * waves)
    noise = np.where(columns[..., None] < width // 4, 0, rng.normal(0, 12, image.shape))
    return image.astype(np.float32), np.clip(image + noise, 0, 255).astype(np.float32)


def tensors(images: tuple[np.ndarray, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    return [
        torch.tensor(image[..., ::-1].copy()).permute(2, 0, 1)[None].to(dtype) for image in images
    ]


# 383 and 384 are where averaging begins; 640 is averaged over 2 and not over 3.
@pytest.mark.parametrize(
    "size",
    [
        (16, 16),
        (17, 16),
        (16, 17),
        (33, 47),
        (72, 90),
        (256, 341),
        (383, 390),
        (384, 401),
        (640, 645),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_those_of_piq(piq, size, dtype):
    images = pair(*size)
    expected = piq.fsim(*tensors(images, dtype), data_range=255, chromatic=True).item()
    assert 0.5 < expected < 0.999
    assert feature_similarity(*images) == pytest.approx(expected, abs=1e-6)
    grey = tuple(image[..., :1] for image in images)
    expected = piq.fsim(*tensors(grey, dtype), data_range=255, chromatic=False).item()
    assert feature_similarity(*grey) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [(64, 80), (65, 81), (64, 81)])
def test_phase_congruency_is_that_of_piq(piq, size):
    luma = pair(*size)[1][..., 1]
    x = torch.tensor(luma, dtype=torch.float64)[None, None]
    module = sys.modules[piq.fsim.__module__]
    expected = module._phase_congruency(x, module._construct_filters(x))[0, 0].numpy()
    np.testing.assert_allclose(phase_congruency(luma, filter_bank(*size)), expected, atol=1e-5)


def test_flat_images_are_equal_everywhere():
    flat = np.full((32, 40, 3), 100, np.float32)
    assert feature_similarity(flat, flat) == pytest.approx(1, abs=1e-6)
    assert feature_similarity(0 * flat, 0 * flat) == pytest.approx(1, abs=1e-6)


def test_noise_threshold_knows_white_noise():
    """The Rayleigh parameter predicted from the smallest scale is that of the sum over scales."""
    height, width = 128, 160
    radial, angular, gains = filter_bank(height, width)
    assert radial.dtype == angular.dtype == np.float32
    spectrum = np.fft.fft2(np.random.default_rng(0).normal(0, 10, (height, width)))
    for orientation, gain in zip(angular, gains, strict=True):
        responses = np.fft.ifft2(spectrum * orientation * radial)
        predicted = np.median(np.abs(responses[0])) * gain
        measured = math.sqrt((np.abs(responses.sum(axis=0)) ** 2).mean() / 2)
        assert predicted == pytest.approx(measured, rel=0.05)


def test_filters_are_made_once_for_a_size():
    filter_bank.cache_clear()
    for seed in range(3):
        feature_similarity(*pair(48, 56, seed))
    assert filter_bank.cache_info().misses == 1
