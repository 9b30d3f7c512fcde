"""How a low-resolution image is made from a high-resolution one."""

import numpy as np

from basicsr_m2trans import compat


def downsample_bicubic(image: np.ndarray, scale: int) -> np.ndarray:
    """The degradation of Sec. V-A: bicubic, antialiased as by MATLAB's `imresize` (BasicSR's own).

    Args:
        image: uint8 (h, w, c), with h and w multiples of `scale`.
        scale: how many times smaller, an integer.

    Returns:
        uint8 (h / scale, w / scale, c).
    """
    compat.apply()
    from basicsr.utils.matlab_functions import imresize

    small = imresize(image.astype(np.float32) / 255, 1 / scale)
    return np.rint(small.clip(0, 1) * 255).astype(np.uint8)
