"""The fast path of the reconstruction M_RC (Eq. 4): large features never leave the cache.

The readable definition is `M2Trans.tail`; this computes the same from the same parameters, in
strips of rows. The features at high resolution are many times larger than all others and are read
by one convolution only.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.archs.folded_attention import pointwise

# High-resolution pixels that a CPU computes at once: 64 channels of float32 take 6 MiB.
PIXELS_AT_ONCE = 24_576
# Low-resolution rows, however wide: each strip expands two rows of its neighbours again.
MIN_ROWS = 8


def reconstruct_in_strips(x: Tensor, tail: nn.Sequential) -> Tensor:
    """Compute `tail(x)`: (N, C, H, W), best channels-last -> (N, num_out_ch, s * H, s * W).

    `tail` is (1x1 convolution, pixel shuffle, GELU) once or twice, then a 3x3 convolution with
    reflect padding.
    """
    *expansions, last = (layer for layer in tail if isinstance(layer, nn.Conv2d))
    factors = [layer.upscale_factor for layer in tail if isinstance(layer, nn.PixelShuffle)]
    height, width = x.shape[2:]
    scale = math.prod(factors)
    rows = max(MIN_ROWS, PIXELS_AT_ONCE // (width * scale**2)) if x.is_cpu else height
    strips = []
    for top in range(0, height, rows):
        # One row of each neighbour; the last convolution sees its nearest high-resolution row.
        above, below = min(top, 1), min(max(height - top - rows, 0), 1)
        strip = x[:, :, top - above : top + rows + below]
        for expansion, factor in zip(expansions, factors, strict=True):
            strip = _expand(strip, expansion, factor)
        strip = strip[:, :, above * (scale - 1) : strip.shape[2] - below * (scale - 1)]
        strip = F.pad(strip, (1, 1, 1 - above, 1 - below), mode="reflect")
        strips.append(F.conv2d(strip, last.weight))
    return torch.cat(strips, dim=2)


def _expand(x: Tensor, expansion: nn.Conv2d, scale: int) -> Tensor:
    """One stage: GELU before the shuffle, which commutes, and pixels moved as runs of channels."""
    channels = x.shape[1]

    def by_pixel(values: Tensor) -> Tensor:
        """Rows in the order dy, dx, c instead of c, dy, dx: a new pixel is one run of memory."""
        return values.unflatten(0, (channels, scale**2)).transpose(0, 1).flatten(0, 1)

    bias = None if expansion.bias is None else by_pixel(expansion.bias)
    pixels = F.gelu(pointwise(x.permute(0, 2, 3, 1), by_pixel(expansion.weight.flatten(1)), bias))
    pixels = pixels.unflatten(-1, (scale, scale, channels)).transpose(2, 3)
    return pixels.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
