"""The two ways in which super-resolution of ultrasound images is measured (Sec. V-A.3).

Both give PSNR and SSIM of the luma Y (ITU-R BT.601) without a border of `scale` pixels, and FSIM
and GMSD of the whole RGB image. They differ in rounding and in one constant:

- 'standard' is BasicSR's: images are rounded to 8 bits first, as they would be saved.
- 'paper' is what the authors' released code computes: nothing is rounded, and SSIM sees a luma that
  is 4064 too large, because that code divides by 255 twice before it adds luma's offset of 16. PSNR
  does not notice the offset; SSIM loses its luminance term and reads up to some thousandths higher.
  The code also rounds averages up by half a unit of the last digit, which is left out here.
"""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from basicsr_m2trans import compat
from basicsr_m2trans.metrics.perceptual import calculate_fsim, calculate_gmsd

METRICS = ("psnr", "ssim", "fsim", "gmsd")
LOWER_IS_BETTER = frozenset({"gmsd"})

# 16 * 255 + Y - 16: luma in [0, 1] without its offset, plus 16, times 255.
PAPER_LUMA_OFFSET = 16.0 * 255 - 16.0


def standard_protocol(sr: Tensor, hr: Tensor, scale: int) -> dict[str, float]:
    """PSNR, SSIM, FSIM and GMSD as BasicSR's validation computes them.

    Args:
        sr, hr: (1, 3, H, W), RGB in [0, 1]; values of `sr` outside are clamped.
        scale: pixels cut off at each side for PSNR and SSIM.

    Returns:
        By the names of `METRICS`: PSNR in dB (infinite for equal images), SSIM and FSIM to 1, GMSD.

    Raises:
        InputError: the shapes differ, or the image has less than 16 pixels on a side.
    """
    compat.apply()
    from basicsr.metrics import calculate_psnr, calculate_ssim
    from basicsr.utils import tensor2img

    images = tensor2img([sr]), tensor2img([hr])
    return {
        "fsim": calculate_fsim(*images, crop_border=0),
        "gmsd": calculate_gmsd(*images, crop_border=0),
        "psnr": float(calculate_psnr(*images, crop_border=scale, test_y_channel=True)),
        "ssim": float(calculate_ssim(*images, crop_border=scale, test_y_channel=True)),
    }


def paper_protocol(sr: Tensor, hr: Tensor, scale: int) -> dict[str, float]:
    """PSNR, SSIM, FSIM and GMSD as the authors' code has them, without its upward rounding.

    Args, returns and errors as `standard_protocol`.
    """
    compat.apply()
    from basicsr.metrics import calculate_ssim
    from basicsr.metrics.metric_util import to_y_channel

    images = _bgr(sr), _bgr(hr)
    shifted = [to_y_channel(image).astype(np.float64) + PAPER_LUMA_OFFSET for image in images]
    return {
        "fsim": calculate_fsim(*images, crop_border=0),
        "gmsd": calculate_gmsd(*images, crop_border=0),
        "psnr": paper_psnr(sr, hr, scale),
        "ssim": float(calculate_ssim(*shifted, crop_border=scale)),
    }


def paper_psnr(sr: Tensor, hr: Tensor, scale: int) -> float:
    """PSNR alone as `paper_protocol` has it, of images of one shape."""
    compat.apply()
    from basicsr.metrics import calculate_psnr

    return float(calculate_psnr(_bgr(sr), _bgr(hr), crop_border=scale, test_y_channel=True))


def _bgr(image: Tensor) -> np.ndarray:
    """(1, 3, H, W) RGB in [0, 1] -> (H, W, 3) blue, green, red in [0, 255], not rounded."""
    return image[0].detach().double().cpu().clamp(0, 1).flip(0).permute(1, 2, 0).numpy() * 255


PROTOCOLS: dict[str, Callable[[Tensor, Tensor, int], dict[str, float]]] = {
    "standard": standard_protocol,
    "paper": paper_protocol,
}
