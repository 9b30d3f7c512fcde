"""Maps cut into square windows, and put together again."""

import math

import torch
from torch import Tensor


def to_windows(x: Tensor, size: int) -> Tensor:
    """(N, C, H, W) -> (N, windows, size^2, C), windows and their pixels row by row."""
    n, channels, height, width = x.shape
    # (n, c, row, y, column, x) -> (n, row, column, y, x, c)
    x = x.view(n, channels, height // size, size, width // size, size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, size * size, channels)


def from_windows(windows: Tensor, shape: torch.Size) -> Tensor:
    """Inverse of `to_windows` for maps of (N, any, H, W) = `shape`."""
    n, _, height, width = shape
    size = math.isqrt(windows.shape[2])
    # (n, row, column, y, x, c) -> (n, c, row, y, column, x)
    x = windows.view(n, height // size, width // size, size, size, -1)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(n, -1, height, width)
