"""M2Trans, the multi-modal regularized coarse-to-fine transformer (Sec. III-A and III-B).

Reads top-down as the paper does: the network (Eq. 1-4), its coarse-to-fine transformer module (Eq. 5-10), then the
branches' attention (`halo_attention.py`) and wavelets (`wavelet.py`). Where the paper's words and the released code
differ, this follows the code, which the published checkpoints need, and says so.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.archs.fast_reconstruction import reconstruct
from basicsr_m2trans.archs.folded_attention import folded_attention
from basicsr_m2trans.archs.halo_attention import HaloAttention
from basicsr_m2trans.archs.instance_norm import instance_norm
from basicsr_m2trans.archs.padding import pad_to_multiple
from basicsr_m2trans.archs.wavelet import HaarTransform, WaveletTransform
from basicsr_m2trans.errors import InputError

NUM_BRANCHES = 4
# Wavelet levels j of the four branches (Eq. 6); the paper stops the last one at two to spare parameters.
BRANCH_LEVELS = (0, 1, 2, 2)


class M2Trans(nn.Module):
    """The super-resolution network of Fig. 1(a): head (Eq. 1), CFTM blocks (Eq. 2-3) and reconstruction (Eq. 4).

    Input of any size is reflected at its right and bottom edge to multiples of 32 (two wavelet levels times windows
    of 8), and the output is cropped. With default settings it has 3,613,120 / 3,633,920 / 3,629,760 parameters
    at x2 / x3 / x4 (Table I: 3.61 / 3.63 / 3.63 M).

    Args:
        upscale: 2, 3 or 4.
        num_in_ch: channels of the input image.
        num_out_ch: channels of the output image.
        num_feat: width C of the features, a multiple of 8.
        num_block: number n of coarse-to-fine transformer modules (Sec. V-A: 8).
        img_range: images in [0, 1] are multiplied by it inside the network, as in BasicSR's other networks.
        wavelet: 'haar' (the paper), 'none' for Version 1 of Table III (every branch at full resolution; the paper
            widens it to `num_feat=256`), or any other discrete wavelet of PyWavelets.
        fast: compute the same, to rounding, with fewer operations and passes over memory (`folded_attention.py`,
            `fast_reconstruction.py`); False follows the equations literally. Weights fit both. Wavelets other than
            Haar are always computed literally.
        global_skip: add the bicubic enlargement of the input to the output, which the paper does not do: an untrained
            network then is that interpolation (its last layer starts at 0), which shortens small trainings. Weights
            trained with it need it, and hold the entry `with_global_skip` to say so.

    Raises:
        InputError: an argument is not one of the above, or `global_skip` with `num_out_ch` other than `num_in_ch`.
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
        global_skip: bool = False,
    ) -> None:
        super().__init__()
        if upscale not in (2, 3, 4):
            raise InputError(f"upscale must be 2, 3 or 4, but is {upscale!r}")
        if num_feat < 8 or num_feat % 8:
            raise InputError(f"num_feat must be a positive multiple of 8 (4 branches, even width), but is {num_feat!r}")
        if num_block < 1:
            raise InputError(f"num_block must be at least 1, but is {num_block!r}")
        if global_skip and num_in_ch != num_out_ch:
            raise InputError(f"global_skip needs num_out_ch equal to num_in_ch ({num_in_ch}), but it is {num_out_ch}")
        self.upscale = upscale
        self.num_out_ch = num_out_ch
        self.img_range = img_range
        self.fast = fast
        self.global_skip = global_skip
        self.head = nn.Conv2d(num_in_ch, num_feat, 3, padding=1, padding_mode="reflect")
        self.body = nn.ModuleList(CFTM(num_feat, wavelet, fast) for _ in range(num_block))
        # The order 1x1 convolution, shuffle, GELU and the missing last bias are the released code's.
        steps = (2, 2) if upscale == 4 else (upscale,)
        layers: list[nn.Module] = []
        for step in steps:
            layers += [nn.Conv2d(num_feat, num_feat * step**2, 1), nn.PixelShuffle(step), nn.GELU()]
        last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1, padding_mode="reflect", bias=False)
        self.tail = nn.Sequential(*layers, last)
        if global_skip:
            nn.init.zeros_(last.weight)
            # Otherwise a network without the skip would load these weights and give wrong images.
            self.register_buffer("with_global_skip", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge a batch of images.

        Args:
            x: (N, num_in_ch, H, W), RGB in [0, 1], any H, W >= 1.

        Returns:
            (N, num_out_ch, upscale * H, upscale * W), clamped to [0, 1].
        """
        image, (height, width) = x, x.shape[-2:]
        x = pad_to_multiple(x, 32) * self.img_range
        if self.fast:
            x = x.contiguous(memory_format=torch.channels_last)
        shallow = self.head(x)
        deep = shallow
        for block in self.body:
            deep = block(deep)
        features = deep + shallow
        out = (reconstruct(features, self.tail) if self.fast else self.tail(features)) / self.img_range
        out = out[..., : height * self.upscale, : width * self.upscale]
        if self.global_skip:
            out = out + self.interpolate(image)
        return out.clamp(0, 1)

    @property
    def blocks(self) -> list["CFTM"]:
        """The modules of `body`, which itself says no more of them than that they are modules."""
        return [block for block in self.body if isinstance(block, CFTM)]

    def interpolate(self, x: Tensor) -> Tensor:
        """What the global skip adds: (N, C, H, W) -> (N, C, upscale * H, upscale * W); reaches 2 pixels far."""
        return F.interpolate(x, scale_factor=self.upscale, mode="bicubic")


class CFTM(nn.Module):
    """Coarse-to-fine transformer module (Fig. 2, Eq. 5-10).

    The released code normalises the input (InstanceNorm without parameters), halves the sum of Eq. 9, and adds the
    module's input to the output of Eq. 10; the paper's equations leave these three out.

    Args:
        num_feat: channels C, a multiple of 8.
        wavelet, fast: see `M2Trans`.
    """

    def __init__(self, num_feat: int, wavelet: str, fast: bool) -> None:
        super().__init__()
        self.fast = fast and wavelet in ("none", "haar")
        width = num_feat // NUM_BRANCHES
        self.levels = (0,) * NUM_BRANCHES if wavelet == "none" else BRANCH_LEVELS
        self.wavelet = WaveletTransform(wavelet) if wavelet not in ("none", "haar") else HaarTransform()
        self.norm = nn.InstanceNorm2d(num_feat)
        # Checkpoints name the branches' attention attn1..attn4 and keep the convolution in a sequence of one.
        self.attn1, self.attn2, self.attn3, self.attn4 = (HaloAttention(width * 4**level) for level in self.levels)
        self.feed_forward = nn.Sequential(nn.Conv2d(num_feat, num_feat, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W); H and W are multiples of 32."""
        return self.mix(instance_norm(x) if self.fast else self.norm(x)).add_(x)  # Eq. 10

    def mix(self, x: Tensor) -> Tensor:
        """The module without normalisation and residual: (N, C, H, W), normalised -> (N, C, H, W)."""
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
        """x plus the attention of one branch between its wavelet transforms and their inverses (Eq. 6-8)."""
        if self.fast:
            return folded_attention(x, self.attention(branch), self.levels[branch])
        bands = x
        for _ in range(self.levels[branch]):
            bands = self.wavelet.dwt(bands)
        bands = self.attention(branch)(bands)
        for _ in range(self.levels[branch]):
            bands = self.wavelet.idwt(bands)
        return x + bands
