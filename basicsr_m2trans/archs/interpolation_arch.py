"""Interpolation as a network without parameters, for the same test pipeline as all others."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.utils.errors import InputError

# Pixels that the cubic kernel reaches, rounded up.
REACH = 3


class Bicubic(nn.Module):
    """Bicubic upscaling as MATLAB's `imresize`: Keys' kernel with a = -1/2, mirrored edges.

    Args:
        upscale: a whole number of at least 1.

    Raises:
        InputError: `upscale` is something else.
    """

    def __init__(self, upscale: int) -> None:
        super().__init__()
        if not isinstance(upscale, int) or upscale < 1:
            raise InputError(f"upscale must be a whole number of at least 1, but is {upscale!r}")
        self.upscale = upscale

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, C, upscale * H, upscale * W), clamped to [0, 1]."""
        height, width = x.shape[-2:]
        x = _mirror(_mirror(x, -2), -1)
        # Of PyTorch's two bicubic kernels the one with antialias=True has a = -1/2.
        x = F.interpolate(x, scale_factor=self.upscale, mode="bicubic", antialias=True)
        top = left = REACH * self.upscale
        x = x[..., top : top + height * self.upscale, left : left + width * self.upscale]
        return x.clamp(0, 1)


def _mirror(x: Tensor, dim: int) -> Tensor:
    """Add `REACH` pixels on both sides of one direction, mirrored with the edge pixel repeated."""
    size = x.shape[dim]
    position = torch.arange(-REACH, size + REACH, device=x.device) % (2 * size)
    return x.index_select(dim, torch.minimum(position, 2 * size - 1 - position))
