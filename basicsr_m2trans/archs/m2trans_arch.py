"""M2Trans, the multi-modal regularized coarse-to-fine transformer (Sec. III-A and III-B).

Reads top-down as the paper does; the branches' attention is in `halo_attention.py`, their wavelets
in `wavelet.py`. Where the paper's words and the released code differ, this follows the code, which
the published checkpoints need, and says so.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.archs.fast_reconstruction import reconstruct_in_strips
from basicsr_m2trans.archs.folded_attention import folded_attention
from basicsr_m2trans.archs.halo_attention import HaloAttention
from basicsr_m2trans.archs.instance_norm import instance_norm
from basicsr_m2trans.archs.padding import pad_to_multiple
from basicsr_m2trans.archs.wavelet import HaarTransform, WaveletTransform
from basicsr_m2trans.utils.errors import InputError

NUM_BRANCHES = 4
# Wavelet levels j of the branches (Eq. 6); the paper stops the last one at 2 to spare parameters.
BRANCH_LEVELS = (0, 1, 2, 2)


class M2Trans(nn.Module):
    """The network of Fig. 1(a): head (Eq. 1), CFTM blocks (Eq. 2-3), reconstruction (Eq. 4).

    Input of any size is padded by reflection to multiples of 32 (two wavelet levels times windows
    of 8). With default settings it has 3,613,120 / 3,633,920 / 3,629,760 parameters at x2 / x3 / x4
    (Table I: 3.61 / 3.63 / 3.63 M).

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: channels of the input and output image.
        num_feat: width C of the features, a multiple of 8.
        num_block: number n of coarse-to-fine transformer modules (Sec. V-A: 8).
        img_range: factor of the images inside the network, as in BasicSR's other networks.
        wavelet: 'haar' (the paper), 'none' for Version 1 of Table III (every branch at full
            resolution; the paper widens it to `num_feat=256`), or any other discrete wavelet of
            PyWavelets.
        fast: compute the same, to rounding, with fewer operations and passes over memory
            (`folded_attention.py`, `fast_reconstruction.py`); False follows the equations
            literally. Weights fit both. Wavelets other than Haar are always computed literally.
        norm: 'instance' normalises each module's input over the whole image (InstanceNorm), as the
            released code does; 'none' does not, as the paper's equations. InstanceNorm gives dim
            images an error of fixed size.
        bias: whether convolutions have biases, as the paper's. Without them, without `norm` and
            with the reconstruction 'conv', an image of c times the contrast has c times the result
            (but for the softmax), so that dim images come out like bright ones (Mohan et al., ICLR
            2020, arXiv 1906.05478, for denoising).
        num_res_block: residual convolution blocks behind each module (EDSR's: 3x3, ReLU, 3x3). The
            paper has none, so that softmax is the only non-linearity of its body.
        reconstruction: 'paper' is the released code's M_RC; 'conv' is cheaper and sees more: a 3x3
            convolution to half the width at a higher resolution, leaky ReLU, and a 3x3 convolution
            to the pixels of the result.
        global_skip: add the bicubic upscaled image of the input to the output, which the paper does
            not do: an untrained network then is that interpolation (its last layer starts at 0),
            which shortens small trainings.

    Weights trained with `global_skip` or without `norm` need the same again, and hold an entry that
    says so (`with_global_skip`, `without_norm`); the other settings show in the names and shapes of
    the weights.

    Raises:
        InputError: an argument is not one of the above, or `global_skip` with `num_out_ch` other
            than `num_in_ch`.
    """

    def __init__(
        self,
        upscale: int,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 8,
        img_range: float = 1.0,
        wavelet: str = "haar",
        fast: bool = True,
        norm: Literal["instance", "none"] = "instance",
        bias: bool = True,
        num_res_block: int = 0,
        reconstruction: Literal["paper", "conv"] = "paper",
        global_skip: bool = False,
    ) -> None:
        super().__init__()
        if upscale not in (2, 3, 4):
            raise InputError(f"upscale must be 2, 3 or 4, but is {upscale!r}")
        if num_feat < 8 or num_feat % 8:
            raise InputError(
                "num_feat must be a positive multiple of 8 (4 branches, even width), but is "
                f"{num_feat!r}"
            )
        if num_block < 1:
            raise InputError(f"num_block must be at least 1, but is {num_block!r}")
        if norm not in ("instance", "none"):
            raise InputError(f"norm must be 'instance' or 'none', but is {norm!r}")
        if num_res_block < 0:
            raise InputError(f"num_res_block must be at least 0, but is {num_res_block!r}")
        if reconstruction not in ("paper", "conv"):
            raise InputError(f"reconstruction must be 'paper' or 'conv', but is {reconstruction!r}")
        if global_skip and num_in_ch != num_out_ch:
            raise InputError(
                f"global_skip needs num_out_ch equal to num_in_ch ({num_in_ch}), but it is "
                f"{num_out_ch}"
            )
        self.upscale = upscale
        self.num_out_ch = num_out_ch
        self.img_range = img_range
        self.fast = fast
        self.global_skip = global_skip
        # Features of the other reconstruction are small enough.
        self.in_strips = fast and reconstruction == "paper"
        self.head = nn.Conv2d(num_in_ch, num_feat, 3, padding=1, padding_mode="reflect", bias=bias)
        self.body = nn.ModuleList(
            CFTM(num_feat, wavelet, fast, norm, bias, num_res_block) for _ in range(num_block)
        )
        for block in self.blocks[1:]:
            block.wavelet = self.blocks[0].wavelet  # one set of constants is enough
        build = paper_reconstruction if reconstruction == "paper" else conv_reconstruction
        self.tail = build(upscale, num_feat, num_out_ch, bias)
        # Other networks would else load these weights and give wrong images.
        if norm == "none":
            self.register_buffer("without_norm", torch.ones(()))
        if global_skip:
            self.register_buffer("with_global_skip", torch.ones(()))
            last = [layer for layer in self.tail if isinstance(layer, nn.Conv2d)][-1]
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_in_ch, H, W), RGB -> (N, num_out_ch, s * H, s * W), in [0, 1]; H, W >= 1."""
        image, (height, width) = x, x.shape[-2:]
        x = pad_to_multiple(x, 32) * self.img_range
        if self.fast:
            x = x.contiguous(memory_format=torch.channels_last)
        shallow = self.head(x)
        deep = shallow
        for block in self.body:
            deep = block(deep)
        out = self.reconstruct(deep + shallow) / self.img_range
        out = out[..., : height * self.upscale, : width * self.upscale]
        if self.global_skip:
            out = out + self.interpolate(image)
        return out.clamp(0, 1)

    @property
    def blocks(self) -> list["CFTM"]:
        """The modules of `body`, typed."""
        return [block for block in self.body if isinstance(block, CFTM)]

    def reconstruct(self, features: Tensor) -> Tensor:
        """M_RC (Eq. 4): (N, C, H, W) -> (N, num_out_ch, s * H, s * W); reaches 2 pixels far."""
        return reconstruct_in_strips(features, self.tail) if self.in_strips else self.tail(features)

    def interpolate(self, x: Tensor) -> Tensor:
        """What the global skip adds, (N, C, H, W) -> (N, C, s * H, s * W); reaches 2 pixels far."""
        return F.interpolate(x, scale_factor=self.upscale, mode="bicubic")


def paper_reconstruction(upscale: int, num_feat: int, num_out_ch: int, bias: bool) -> nn.Sequential:
    """M_RC (Eq. 4) as the released code has it: its order of layers, and no bias at the end."""
    layers: list[nn.Module] = []
    for step in (2, 2) if upscale == 4 else (upscale,):
        layers += [
            nn.Conv2d(num_feat, num_feat * step**2, 1, bias=bias),
            nn.PixelShuffle(step),
            nn.GELU(),
        ]
    last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1, padding_mode="reflect", bias=False)
    return nn.Sequential(*layers, last)


def conv_reconstruction(upscale: int, num_feat: int, num_out_ch: int, bias: bool) -> nn.Sequential:
    """Two 3x3 convolutions around a pixel shuffle, and at x4 another shuffle at the end."""
    first, second = (2, 2) if upscale == 4 else (upscale, 1)
    width = num_feat // 2

    def convolution(inside: int, outside: int) -> nn.Conv2d:
        return nn.Conv2d(inside, outside, 3, padding=1, padding_mode="reflect", bias=bias)

    # Leaky, because no skip leads around it: two trainings with ReLU ended with all of it at 0.
    return nn.Sequential(
        convolution(num_feat, width * first**2),
        nn.PixelShuffle(first),
        nn.LeakyReLU(0.1, inplace=True),
        convolution(width, num_out_ch * second**2),
        nn.PixelShuffle(second),
    )


class CFTM(nn.Module):
    """Coarse-to-fine transformer module (Fig. 2, Eq. 5-10), with residual blocks behind if wanted.

    The released code normalises the input (InstanceNorm without parameters), halves the sum of Eq.
    9, and adds the module's input to the output of Eq. 10; the paper's equations leave these three
    out.

    Args:
        num_feat: channels C, a multiple of 8.
        wavelet, fast, norm, bias, num_res_block: see `M2Trans`.
    """

    def __init__(
        self,
        num_feat: int,
        wavelet: str,
        fast: bool,
        norm: str = "instance",
        bias: bool = True,
        num_res_block: int = 0,
    ) -> None:
        super().__init__()
        self.num_feat = num_feat
        self.fast = fast and wavelet in ("none", "haar")
        width = num_feat // NUM_BRANCHES
        self.levels = (0,) * NUM_BRANCHES if wavelet == "none" else BRANCH_LEVELS
        self.wavelet = (
            WaveletTransform(wavelet) if wavelet not in ("none", "haar") else HaarTransform()
        )
        self.norm = nn.InstanceNorm2d(num_feat) if norm == "instance" else nn.Identity()
        # Names of the checkpoints, which also keep the convolution in a sequence of one.
        self.attn1, self.attn2, self.attn3, self.attn4 = (
            HaloAttention(width * 4**level) for level in self.levels
        )
        self.feed_forward = nn.Sequential(nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=bias))
        self.refine = nn.Sequential(*(ResidualBlock(num_feat, bias) for _ in range(num_res_block)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W); H and W are multiples of 32."""
        normalised = instance_norm(x) if self.fast and self.normalises else self.norm(x)
        return self.refine(self.mix(normalised).add_(x))  # Eq. 10

    @property
    def normalises(self) -> bool:
        """Whether the module takes statistics of the whole map."""
        return isinstance(self.norm, nn.InstanceNorm2d)

    def mix(self, x: Tensor) -> Tensor:
        """The module without normalisation and residual: (N, C, H, W) -> (N, C, H, W)."""
        outputs: list[Tensor] = []
        for index, group in enumerate(x.chunk(NUM_BRANCHES, dim=1)):  # Eq. 5
            if outputs:
                group = torch.lerp(group, outputs[-1], 0.5)  # Eq. 9
            outputs.append(self.attend(index, group))  # Eq. 8
        return self.feed_forward(torch.cat(outputs, dim=1))

    def attention(self, branch: int) -> HaloAttention:
        """The attention of one branch, counted from 0."""
        return (self.attn1, self.attn2, self.attn3, self.attn4)[branch]

    def attend(self, branch: int, x: Tensor) -> Tensor:
        """x plus a branch's attention between wavelet transforms and their inverses (Eq. 6-8)."""
        attention, levels = self.attention(branch), self.levels[branch]
        if self.fast and isinstance(self.wavelet, HaarTransform):
            return folded_attention(x, attention, self.wavelet.matrix(levels))
        bands = x
        for _ in range(levels):
            bands = self.wavelet.dwt(bands)
        bands = attention(bands)
        for _ in range(levels):
            bands = self.wavelet.idwt(bands)
        return x + bands


class ResidualBlock(nn.Module):
    """x plus two 3x3 convolutions with a ReLU between them, as in EDSR (Lim et al., CVPRW 2017)."""

    def __init__(self, num_feat: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W); reaches 2 pixels far."""
        return x + self.conv2(F.relu(self.conv1(x), inplace=True))
