"""Faster parts for BasicSR's `calculate_psnr` and `calculate_ssim`, with equal values.

Both functions stay BasicSR's, under their names. Of what they call, the two functions that take
nearly all the time are replaced: the luma by one matrix product, and SSIM's 11x11 window, which is
an outer product, by its two factors. Tests hold both to BasicSR's own within 1e-6.
"""

import math

import cv2
import numpy as np

from basicsr_m2trans.metrics.perceptual import LUMA_OFFSET, LUMA_WEIGHTS

WINDOW_SIZE, WINDOW_SIGMA = 11, 1.5
MARGIN = WINDOW_SIZE // 2
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
# Rows computed at a time, so that intermediate results stay in the processor's cache.
BAND = 64


def accelerate() -> None:
    """Put `luma` and `ssim_of_channel` into stock BasicSR; it must import (see `compat`)."""
    from basicsr.metrics import psnr_ssim

    psnr_ssim.to_y_channel = luma
    psnr_ssim._ssim = ssim_of_channel


def luma(img: np.ndarray) -> np.ndarray:
    """Luma of a colour image, as BasicSR's `to_y_channel`.

    Args:
        img: values in [0, 255], (H, W, 3) in the order blue, green, red, or (H, W, 1).

    Returns:
        (H, W, 1) float32 in [16, 235]; a grey image keeps its values.
    """
    if img.shape[2] != 3:
        return img.astype(np.float32) / 255 * 255
    # Single precision at the start and at the end, as in BasicSR: its rounding shows in the PSNR of
    # good images.
    luma = np.full(img.shape[:2], LUMA_OFFSET)
    for plane, weight in zip(cv2.split(img), LUMA_WEIGHTS[::-1], strict=True):
        luma += plane.astype(np.float32) / 255 * np.float64(weight)
    return (luma / 255).astype(np.float32)[..., None] * 255


def ssim_of_channel(img: np.ndarray, img2: np.ndarray) -> float:
    """SSIM of one channel where the window lies inside the image (Wang et al., 2004), as BasicSR's
    `_ssim`.

    Args:
        img: (H, W) float64 with values in [0, 255].
        img2: reference image, of the same shape.

    Returns:
        1 for equal images, lower is worse; not a number for images smaller than the window of
        11x11.
    """
    height, width = (length - 2 * MARGIN for length in img.shape)
    if min(height, width) < 1:
        return math.nan
    bands = (slice(top, top + BAND + 2 * MARGIN) for top in range(0, height, BAND))
    return sum(_ssim_map(img[band], img2[band]).sum() for band in bands) / (height * width)


def _ssim_map(img: np.ndarray, img2: np.ndarray) -> np.ndarray:
    mean, mean2 = _windowed_mean(img), _windowed_mean(img2)
    product = mean * mean2
    squares = mean**2 + mean2**2
    covariance = _windowed_mean(img * img2) - product
    # Only the sum of the two variances enters.
    variances = _windowed_mean(img**2 + img2**2) - squares
    return (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))


def _windowed_mean(img: np.ndarray) -> np.ndarray:
    kernel = cv2.getGaussianKernel(WINDOW_SIZE, WINDOW_SIGMA)
    return cv2.sepFilter2D(img, -1, kernel, kernel)[MARGIN:-MARGIN, MARGIN:-MARGIN]
