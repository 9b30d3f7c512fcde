"""Windowed self-attention with a halo around each window (Sec. III-B, Eq. 7)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.archs.padding import pad_to_multiple
from basicsr_m2trans.archs.windows import from_windows, to_windows
from basicsr_m2trans.utils.errors import InputError


class HaloAttention(nn.Module):
    """Self-attention of each window's queries over the window and a border (halo) around it.

    The paper's text says only SA(.) in Eq. 7; the released code uses one head, windows of 8x8
    queries and a halo of one pixel, that is 10x10 keys. Positions are learned: `rel_h` is added to
    the first half of every key's channels by its row in the window, `rel_w` to the second half by
    its column. Keys and values outside the map are zero before the positions are added, and they
    take part in the softmax. There is no output projection.

    Args:
        dim: channels d of the map, even; also the width of the single head.
        window_size: side of a window of queries in pixels.
        halo_size: width of the border of additional keys in pixels.
    """

    def __init__(self, dim: int, window_size: int = 8, halo_size: int = 1) -> None:
        super().__init__()
        if dim % 2:
            raise InputError(f"dim must be even, half for rows and half for columns, but is {dim}")
        self.dim = dim
        self.window_size = window_size
        self.halo_size = halo_size
        key_size = window_size + 2 * halo_size
        self.qkv_conv = nn.Conv2d(dim, 3 * dim, kernel_size=1, bias=False)
        self.rel_h = nn.Parameter(torch.randn(1, key_size, 1, dim // 2))
        self.rel_w = nn.Parameter(torch.randn(1, 1, key_size, dim // 2))
        nn.init.kaiming_normal_(self.qkv_conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, d, H, W) -> (N, d, H, W), any H, W >= 1."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.window_size)
        query, key, value = self.qkv_conv(x).chunk(3, dim=1)
        query = to_windows(query, self.window_size)
        key = self._key_windows(key) + self.position().flatten(0, 1)
        value = self._key_windows(value)
        attention = (query @ key.transpose(-2, -1) * self.dim**-0.5).softmax(dim=-1)
        return from_windows(attention @ value, x.shape)[..., :height, :width]

    def _key_windows(self, x: Tensor) -> Tensor:
        """(N, d, H, W) -> (N, windows, (window_size + 2 halo_size)^2, d)."""
        size = self.window_size + 2 * self.halo_size
        n, d = x.shape[:2]
        windows = F.unfold(x, kernel_size=size, stride=self.window_size, padding=self.halo_size)
        # Contiguous, because batched products of permuted windows fall back to loops.
        return windows.view(n, d, size * size, -1).permute(0, 3, 2, 1).contiguous()

    def position(self) -> Tensor:
        """(key size, key size, d): what is added to the keys of every window, by row and column."""
        size = self.rel_h.shape[1]
        parts = (self.rel_h[0].expand(size, size, -1), self.rel_w[0].expand(size, size, -1))
        return torch.cat(parts, dim=-1)
