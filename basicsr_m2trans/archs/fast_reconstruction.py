"""The fast path of the reconstruction module M_RC (Eq. 4): no pass over the high-resolution features but GELU's own.

The readable definition is `M2Trans.tail`; this computes the same from the same parameters. GELU and pixel shuffle
change places, and the last convolution, whose output has few channels, is split into one product for each of its taps
at the low resolution, so that only these few channels are shuffled, reflected and shifted.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.archs.folded_attention import pointwise


def reconstruct(x: Tensor, tail: nn.Sequential) -> Tensor:
    """Compute `tail(x)`.

    Args:
        x: (N, C, H, W), best channels-last in memory.
        tail: (1x1 convolution, pixel shuffle, GELU) once or twice, then a 3x3 convolution with reflect padding.

    Returns:
        (N, num_out_ch, s * H, s * W), float32 under autocast.
    """
    *stages, last = (tail[index : index + 3] for index in range(0, len(tail), 3))
    pixels = x.permute(0, 2, 3, 1)
    for number, (expand, shuffle, gelu) in enumerate(stages, start=1):
        scale, channels = shuffle.upscale_factor, pixels.shape[-1]
        # Rows in the order dy, dx, c instead of c, dy, dx: each high-resolution pixel is then one run of memory.
        weight, bias = (p.unflatten(0, (channels, scale**2)).transpose(0, 1) for p in (expand.weight, expand.bias))
        pixels = gelu(pointwise(pixels, weight.reshape(-1, channels), bias.flatten()))
        pixels = pixels.unflatten(-1, (scale, scale, channels))
        if number < len(stages):
            pixels = pixels.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return _convolve_before_shuffle(pixels, last[0].weight)


def _convolve_before_shuffle(pixels: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution with reflect padding of the high-resolution map that `pixels` is before its shuffle.

    Args:
        pixels: (N, H, W, s, s, C), pixel (dy, dx) of each block.
        weight: (K, C, 3, 3).

    Returns:
        (N, K, s * H, s * W).
    """
    n, height, width, scale, _, channels = pixels.shape
    taps = weight.permute(2, 3, 0, 1).reshape(-1, channels)
    with torch.autocast(pixels.device.type, enabled=False):  # nine rounded terms would add up their errors
        # Channels first, so that the shuffle moves along rows of pixels.
        products = taps @ pixels.to(weight.dtype).reshape(-1, channels).T
    products = products.view(-1, n, height, width, scale, scale).permute(1, 0, 2, 4, 3, 5)
    products = products.reshape(n, -1, height * scale, width * scale)
    padded = F.pad(products, (1, 1, 1, 1), mode="reflect").unflatten(1, (3, 3, -1))
    out = padded[:, 1, 1, :, 1:-1, 1:-1].clone()
    for i, j in itertools.product(range(3), repeat=2):
        if (i, j) != (1, 1):
            out += padded[:, i, j, :, i : i + height * scale, j : j + width * scale]
    return out
