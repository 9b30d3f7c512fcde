"""M2Trans written so that a traced graph holds for images of every size.

An exporter runs the network once and writes down what it sees, so that nothing may depend on the
size in Python: no branch, no loop, no remembered index. Here every shape is arithmetic on the
number of 32x32 blocks of the padded image. `archs/folded_attention.py` explains the attention.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.archs.folded_attention import folded_weights
from basicsr_m2trans.archs.halo_attention import HaloAttention
from basicsr_m2trans.archs.m2trans_arch import CFTM, NUM_BRANCHES, M2Trans
from basicsr_m2trans.archs.wavelet import HaarTransform, haar_matrix
from basicsr_m2trans.utils.errors import InputError

ALIGNMENT = 32  # two wavelet levels times windows of 8


class DynamicM2Trans(nn.Module):
    """The network of `M2Trans` with its weights, for exporters.

    Args:
        net: trained, with wavelet 'haar' or 'none'; it is not changed.
        dtype: of the computation between the float32 input and the float32 output. InstanceNorm
            stays float32, since the squares of a whole map do not fit into float16.

    Raises:
        InputError: the network is another one, or has another wavelet.
    """

    def __init__(self, net: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if not isinstance(net, M2Trans):
            raise InputError(
                f"only M2Trans can be exported with free image sizes, not {type(net).__name__}"
            )
        if any(not isinstance(block.wavelet, HaarTransform) for block in net.blocks):
            raise InputError("only M2Trans with wavelet 'haar' or 'none' can be exported")
        net = copy.deepcopy(net)
        self.upscale, self.img_range, self.dtype = net.upscale, net.img_range, dtype
        self.global_skip, self.interpolate = net.global_skip, net.interpolate
        self.head, self.tail = net.head, net.tail
        self.body = nn.ModuleList(_DynamicCFTM(block) for block in net.blocks)
        self.to(dtype)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', upscale * H, upscale * W), both float32 in [0, 1]; any size."""
        height, width = images.shape[-2:]
        x = _pad_to_blocks(_pad_to_blocks(images, 2), 3).to(self.dtype) * self.img_range
        shallow = self.head(x)
        deep = shallow
        for block in self.body:
            deep = block(deep)
        out = self.tail(deep + shallow).float() / self.img_range
        out = out[..., : height * self.upscale, : width * self.upscale]
        if self.global_skip:
            out = out + self.interpolate(images)
        return out.clamp(0, 1)


class _DynamicCFTM(nn.Module):
    """A `CFTM`: (N, C, H, W) -> (N, C, H, W), H and W multiples of 32."""

    def __init__(self, block: CFTM) -> None:
        super().__init__()
        self.norm, self.feed_forward, self.refine = block.norm, block.feed_forward, block.refine
        self.branches = nn.ModuleList(
            _DynamicAttention(block.attention(branch), block.levels[branch])
            for branch in range(NUM_BRANCHES)
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        groups = self.norm(x.float()).to(x.dtype).chunk(NUM_BRANCHES, 1)
        for branch, group in zip(self.branches, groups, strict=True):
            outputs.append(branch((group + outputs[-1]) / 2 if outputs else group))
        return self.refine(self.feed_forward(torch.cat(outputs, dim=1)) + x)


class _DynamicAttention(nn.Module):
    """`folded_attention` of one branch: (N, C, H, W) -> (N, C, H, W), H and W multiples of 32."""

    query: Tensor  # buffers
    value: Tensor

    def __init__(self, attention: HaloAttention, levels: int) -> None:
        super().__init__()
        self.block, self.size, self.halo = 2**levels, attention.window_size, attention.halo_size
        self.dim = attention.dim
        with torch.no_grad():
            query, value = folded_weights(attention, haar_matrix(levels).to(attention.rel_h))
        self.register_buffer("query", query.T.contiguous())
        self.register_buffer("value", value.T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        rows, columns = height // (self.size * self.block), width // (self.size * self.block)
        pixels = x.reshape(
            n, channels, rows * self.size, self.block, columns * self.size, self.block
        )
        pixels = pixels.permute(0, 2, 4, 3, 5, 1).reshape(
            n, rows * self.size, columns * self.size, self.dim
        )
        query = self._windows(pixels @ self.query, rows, columns, self.size)
        keys = F.pad(pixels, (0, 0, self.halo, self.halo, self.halo, self.halo))
        keys = keys.index_select(1, self._places(rows, x.device)).index_select(
            2, self._places(columns, x.device)
        )
        keys = self._windows(keys, rows, columns, self.size + 2 * self.halo)
        query, by_row, by_column = query.split([self.dim, *[self.size + 2 * self.halo] * 2], dim=-1)
        position = (by_row[..., None] + by_column[..., None, :]).flatten(-2)
        out = (query @ keys.transpose(-2, -1) + position).softmax(-1) @ keys @ self.value
        out = out.reshape(n, rows, columns, self.size, self.size, self.block, self.block, channels)
        return x + out.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(n, channels, height, width)

    def _places(self, windows: int, device: torch.device) -> Tensor:
        """Indices of the rows (columns) of all windows with their halo, window by window."""
        start = torch.arange(windows, device=device) * self.size
        return (start[:, None] + torch.arange(self.size + 2 * self.halo, device=device)).flatten()

    def _windows(self, pixels: Tensor, rows: int, columns: int, size: int) -> Tensor:
        """(N, rows * size, columns * size, d) -> (N, rows * columns, size^2, d)."""
        n, dim = pixels.shape[0], pixels.shape[-1]
        windows = pixels.reshape(n, rows, size, columns, size, dim).permute(0, 1, 3, 2, 4, 5)
        return windows.reshape(n, rows * columns, size * size, dim)


def _pad_to_blocks(x: Tensor, dim: int) -> Tensor:
    """`pad_to_multiple` of one side, without asking whether anything is missing."""
    size = x.shape[dim]
    position = torch.arange((size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT, device=x.device)
    # As a tensor: exporters take sides for longer than one pixel and would leave the limit out.
    period = (torch.scalar_tensor(size, dtype=torch.int64, device=x.device) * 2 - 2).clamp(min=1)
    position = position % period
    return x.index_select(dim, torch.minimum(position, period - position))
