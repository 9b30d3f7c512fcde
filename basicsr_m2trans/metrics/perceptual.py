"""FSIM and GMSD (paper, Sec. V-A.3) with the calling convention of BasicSR's `calculate_psnr`.

The authors of M2Trans report both on uncropped RGB images: `crop_border: 0` and no
`test_y_channel`. The values are those of the library piq. `basicsr_m2trans.register()` adds both
functions to BasicSR's METRIC_REGISTRY.
"""

import cv2
import numpy as np
import torch

from basicsr_m2trans import compat
from basicsr_m2trans.metrics.feature_similarity import YIQ_OF_BGR, feature_similarity
from basicsr_m2trans.utils.errors import InputError

# GMSD compares gradients at half resolution and FSIM filters with wavelengths of 6 pixels and more:
# smaller images leave too few positions.
MIN_SIZE = 16

# ITU-R BT.601 luma of R, G, B in [0, 1], as BasicSR's `rgb2ycbcr`; luma lies in [16, 235] of 255.
LUMA_WEIGHTS = (65.481, 128.553, 24.966)
LUMA_OFFSET = 16.0


def calculate_fsim(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int,
    input_order: str = "HWC",
    test_y_channel: bool = False,
    **_kwargs: object,
) -> float:
    """Feature similarity index, for colour images FSIMc (Zhang et al., 2011, ref. [48]).

    Args:
        img: image with values in [0, 255], (H, W), (H, W, 1) grey or (H, W, 3) in the order blue,
            green, red; channels come first if `input_order` is `CHW`.
        img2: reference image, of the same shape.
        crop_border: pixels cut off at each side of both images before the comparison.
        input_order: `HWC` or `CHW`.
        test_y_channel: compare the luma of colour images, as BasicSR's `to_y_channel`.

    Returns:
        1 for equal images; lower is worse.

    Raises:
        InputError: the shapes differ, are of another kind, or leave less than 16 pixels after the
            crop; values outside [0, 255]; an unknown input order or a negative crop.
    """
    return feature_similarity(*_prepare(img, img2, crop_border, input_order, test_y_channel))


def calculate_gmsd(
    img: np.ndarray,
    img2: np.ndarray,
    crop_border: int,
    input_order: str = "HWC",
    test_y_channel: bool = False,
    **_kwargs: object,
) -> float:
    """Gradient magnitude similarity deviation of the luma (Xue et al., 2014, ref. [49]).

    Args and errors as `calculate_fsim`.

    Returns:
        0 for equal images; higher is worse.
    """
    images = _prepare(img, img2, crop_border, input_order, test_y_channel)
    # piq would take the luma of float tensors too, but at several times the cost.
    lumas = [
        image[..., 0] if image.shape[2] == 1 else cv2.transform(image, YIQ_OF_BGR[:1])
        for image in images
    ]
    compat.declare_torchvision_operators()  # piq imports torchvision
    import piq

    return piq.gmsd(*(torch.from_numpy(luma)[None, None] for luma in lumas), data_range=255).item()


def _prepare(
    img: np.ndarray, img2: np.ndarray, crop_border: int, input_order: str, test_y_channel: bool
) -> list[np.ndarray]:
    """Both images as float32 (H, W, C) in [0, 255], BGR or one channel, cropped."""
    if input_order not in ("HWC", "CHW"):
        raise InputError(f"input_order {input_order!r} is unknown: use HWC or CHW")
    if crop_border < 0:
        raise InputError(f"crop_border is {crop_border}: use 0 or a positive number of pixels")
    if img.shape != img2.shape:
        raise InputError(
            f"images of shapes {img.shape} and {img2.shape} cannot be compared: give a pair of one "
            "shape"
        )
    return [_prepare_one(image, crop_border, input_order, test_y_channel) for image in (img, img2)]


def _prepare_one(
    image: np.ndarray, crop_border: int, input_order: str, test_y_channel: bool
) -> np.ndarray:
    """One image of the pair; see `_prepare`."""
    if image.ndim == 2:
        image, input_order = image[..., None], "HWC"
    channel_axis = input_order.index("C")
    if image.ndim != 3 or image.shape[channel_axis] not in (1, 3):
        raise InputError(
            f"image of shape {image.shape}: give (H, W), or 1 or 3 channels in the order "
            f"{input_order}"
        )
    image = np.moveaxis(image, channel_axis, 2)
    height, width = image.shape[:2]
    if min(height, width) - 2 * crop_border < MIN_SIZE:
        raise InputError(
            f"an image of {height}x{width} pixels with crop_border {crop_border} is too small: "
            f"FSIM and GMSD need {MIN_SIZE}x{MIN_SIZE} pixels after the crop"
        )
    if not (image.min() >= 0 and image.max() <= 255):
        raise InputError(
            f"pixel values of [{image.min()}, {image.max()}]: give images with values in [0, 255]"
        )
    cropped = image[crop_border : height - crop_border, crop_border : width - crop_border]
    cropped = np.ascontiguousarray(cropped, dtype=np.float32)
    if test_y_channel and image.shape[2] == 3:
        red, green, blue = (weight / 255 for weight in LUMA_WEIGHTS)
        return cv2.transform(cropped, np.array([(blue, green, red, LUMA_OFFSET)]))[..., None]
    return cropped
