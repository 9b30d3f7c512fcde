"""ELAN, the efficient long-range attention network (Zhang et al., ECCV 2022, arXiv 2203.06697).

Reads top-down as its Sec. 3. Parameters have the names of the published checkpoints.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.archs.padding import upscale_padded
from basicsr_m2trans.archs.windows import from_windows, to_windows
from basicsr_m2trans.utils.errors import InputError

# Mean of DIV2K, which EDSR and SwinIR subtract as well.
RGB_MEAN = (0.4488, 0.4371, 0.4040)
# Row and column of the 3x3 neighbourhood that each of the five channel groups of a shift
# convolution sees.
SHIFTS = ((1, 2), (1, 0), (2, 1), (0, 1), (1, 1))


class ELAN(nn.Module):
    """The network: 3x3 convolution, ELABs with a residual, 3x3 convolution, pixel shuffle.

    Input of any size is padded by reflection to multiples of the windows. The defaults are the
    baseline of the M2Trans paper (Sec. V-A: 150 channels), with 3,561,012 / 3,581,277 / 3,609,648
    trainable parameters at x2 / x3 / x4 (Table I: 3.56 / 3.58 / 3.61 M).

    Args:
        upscale: a whole number of at least 1.
        num_in_ch, num_out_ch: channels of the input and output image; with 3 each the mean colour
            is subtracted inside.
        num_feat: width of the features, a multiple of 5 (shifts) and of the number of windows.
        num_block: number of ELABs, a multiple of `num_share + 1`.
        num_share: how many ELABs in a row reuse the attention maps of the one before them.
        expansion: width inside the local feature extraction, as a multiple of `num_feat`.
        window_sizes: sides of the attention windows in pixels, one for each group of channels.
        img_range: factor of the images inside the network, as in BasicSR's other networks.

    Raises:
        InputError: the arguments do not fit together.
    """

    mean: Tensor  # a buffer

    def __init__(
        self,
        upscale: int,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 150,
        num_block: int = 24,
        num_share: int = 1,
        expansion: int = 2,
        window_sizes: tuple[int, ...] = (4, 8, 16),
        img_range: float = 1.0,
    ) -> None:
        super().__init__()
        if num_feat < 1 or num_feat % len(SHIFTS) or num_feat % len(window_sizes):
            raise InputError(
                f"num_feat must be a multiple of {len(SHIFTS)} (shifts) and of {len(window_sizes)} "
                f"(window_sizes), but is {num_feat!r}"
            )
        if num_block < 1 or num_block % (num_share + 1):
            raise InputError(
                f"num_block must be a multiple of num_share + 1 = {num_share + 1}, but is "
                f"{num_block!r}"
            )
        self.img_range = img_range
        self.size_multiple = math.lcm(*window_sizes)
        mean = RGB_MEAN if num_in_ch == num_out_ch == 3 else (0.0,)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.head = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 3, padding=1))
        self.body = nn.Sequential(
            *(
                SharedAttentionBlocks(
                    num_feat, num_share, expansion, window_sizes, shifted=index % 2 == 1
                )
                for index in range(num_block // (num_share + 1))
            )
        )
        self.tail = nn.Sequential(
            nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, padding=1), nn.PixelShuffle(upscale)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_in_ch, H, W), RGB in [0, 1] -> (N, num_out_ch, upscale * H, upscale * W)."""
        return upscale_padded(self._upscale, x, self.size_multiple)

    def _upscale(self, x: Tensor) -> Tensor:
        shallow = self.head((x - self.mean) * self.img_range)
        return self.tail(self.body(shallow) + shallow) / self.img_range + self.mean


class SharedAttentionBlocks(nn.Module):
    """Consecutive efficient long-range attention blocks (ELAB, Fig. 2).

    The first computes attention maps, the others reuse them. Arguments as of `ELAN`; `shifted`:
    whether the windows are shifted by half their size.
    """

    def __init__(
        self,
        num_feat: int,
        num_share: int,
        expansion: int,
        window_sizes: tuple[int, ...],
        shifted: bool,
    ) -> None:
        super().__init__()
        blocks = range(num_share + 1)
        self.modules_lfe = nn.ModuleDict(
            {f"lfe_{i}": LocalFeatureExtraction(num_feat, expansion) for i in blocks}
        )
        self.modules_gmsa = nn.ModuleDict(
            {
                f"gmsa_{i}": MultiScaleAttention(num_feat, window_sizes, shifted, reuses_maps=i > 0)
                for i in blocks
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_feat, H, W) -> (N, num_feat, H, W); H and W are multiples of all windows."""
        maps = None
        for extract, attend in zip(
            self.modules_lfe.values(), self.modules_gmsa.values(), strict=True
        ):
            x = x + extract(x)
            attended, maps = attend(x, maps)
            x = x + attended
        return x


class LocalFeatureExtraction(nn.Module):
    """Two shift convolutions with a ReLU between them (Sec. 3.2)."""

    def __init__(self, num_feat: int, expansion: int) -> None:
        super().__init__()
        # Checkpoints keep each shift convolution in a module of its own.
        self.conv0 = nn.ModuleDict({"shift_conv": ShiftConv(num_feat, num_feat * expansion)})
        self.conv1 = nn.ModuleDict({"shift_conv": ShiftConv(num_feat * expansion, num_feat)})

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_feat, H, W) -> (N, num_feat, H, W)."""
        return self.conv1["shift_conv"](F.relu(self.conv0["shift_conv"](x)))


class ShiftConv(nn.Module):
    """1x1 convolution of features, four fifths of them shifted by one pixel (Sec. 3.2).

    The shifts are a fixed depthwise convolution; what comes in at the edges is zero. Its kernels
    are in the checkpoints, but no parameters.
    """

    weight: Tensor  # a buffer

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        kernels = torch.zeros(len(SHIFTS), 1, 3, 3)
        for kernel, (row, column) in zip(kernels, SHIFTS, strict=True):
            kernel[0, row, column] = 1
        self.register_buffer("weight", kernels.repeat_interleave(in_channels // len(SHIFTS), dim=0))
        self.conv1x1 = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        return self.conv1x1(F.conv2d(x, self.weight, padding=1, groups=x.shape[1]))


class MultiScaleAttention(nn.Module):
    """Group-wise multi-scale self-attention (Sec. 3.3): each group has windows of its own size.

    Queries are keys, so that a single projection with BatchNorm gives them and the values, and
    their product is not scaled. Shifted windows wrap around the map's edges without a mask.

    Args:
        num_feat, window_sizes, shifted: see `SharedAttentionBlocks`.
        reuses_maps: project values only, and weight them with another module's attention maps.
    """

    def __init__(
        self, num_feat: int, window_sizes: tuple[int, ...], shifted: bool, reuses_maps: bool
    ) -> None:
        super().__init__()
        self.window_sizes = tuple(window_sizes)
        self.shifted = shifted
        projected = num_feat if reuses_maps else 2 * num_feat
        self.project_inp = nn.Sequential(
            nn.Conv2d(num_feat, projected, 1), nn.BatchNorm2d(projected)
        )
        self.project_out = nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, x: Tensor, maps: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """(N, num_feat, H, W) -> (N, num_feat, H, W) and the attention maps.

        `maps` are those to reuse; for each window size (N, windows, pixels, pixels).
        """
        groups = self.project_inp(x).chunk(len(self.window_sizes), dim=1)
        new_maps, outputs = [], []
        for index, (group, size) in enumerate(zip(groups, self.window_sizes, strict=True)):
            shift = size // 2 if self.shifted else 0
            windows = to_windows(group.roll((-shift, -shift), dims=(-2, -1)), size)
            if maps is None:
                query, value = windows.chunk(2, dim=-1)
                new_maps.append((query @ query.transpose(-2, -1)).softmax(dim=-1))
            else:
                value = windows
                new_maps.append(maps[index])
            outputs.append(
                from_windows(new_maps[-1] @ value, x.shape).roll((shift, shift), dims=(-2, -1))
            )
        return self.project_out(torch.cat(outputs, dim=1)), new_maps
