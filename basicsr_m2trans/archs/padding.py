"""Reflection padding that works for maps of any size, and networks that need it around them."""

from collections.abc import Callable

import torch
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Reflect (..., H, W), H, W >= 1, at its right and bottom edge up to multiples of `multiple`.

    As `torch.nn.functional.pad(..., mode='reflect')`, but where the padding reaches the size of the
    map, the reflection goes on back and forth. Returns `x` itself if nothing is missing.
    """
    for dim in (-2, -1):
        size = x.shape[dim]
        padded = -(-size // multiple) * multiple
        if padded != size:
            period = max(2 * (size - 1), 1)
            position = torch.arange(padded, device=x.device) % period
            x = x.index_select(dim, torch.minimum(position, period - position))
    return x


def upscale_padded(network: Callable[[Tensor], Tensor], x: Tensor, multiple: int) -> Tensor:
    """Upscale (N, C, H, W), H, W >= 1, with a network that takes only multiples of `multiple`.

    The network's output (N, C', upscale * H', upscale * W') is cropped to what is not from padding.
    """
    height, width = x.shape[-2:]
    padded = pad_to_multiple(x, multiple)
    out = network(padded)
    upscale = out.shape[-1] // padded.shape[-1]
    return out[..., : height * upscale, : width * upscale]
