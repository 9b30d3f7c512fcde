"""ESRT, the efficient super-resolution transformer (Lu et al., CVPRW 2022, arXiv 2108.11084).

Reads top-down as its Sec. 3. Parameters have the names of the published checkpoints; those that the
released code never uses are left out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.archs.padding import upscale_padded
from basicsr_m2trans.utils.errors import InputError

NUM_HEADS = 8
# Passes of the low-frequency branch through its one shared block.
LOW_PASSES = 5
# Consecutive parts that the tokens are split into; each attends to itself alone.
TOKEN_PARTS = 4


class ESRT(nn.Module):
    """The network: 3x3 convolution, backbone blocks, and the sum of two upsampling tails.

    One tail upscales the fused outputs of all blocks, the other the first features. Images may have
    any size. Time grows with the square of the number of pixels; memory does not.

    With default settings it has 4,885,667 / 4,978,147 / 4,959,651 parameters at x2 / x3 / x4 (Table
    I of the M2Trans paper: 4.89 / 4.98 / 4.96 M).

    Args:
        upscale: 2, 3 or 4.
        num_in_ch, num_out_ch: channels of the input and output image.
        num_feat: width of the features, a multiple of 16.
        num_block: number of backbone blocks, three HPBs and one ET each.
        img_range: factor of the images inside the network, as in BasicSR's other networks.

    Raises:
        InputError: an argument is not one of the above.
    """

    def __init__(
        self,
        upscale: int,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 32,
        num_block: int = 8,
        img_range: float = 1.0,
    ) -> None:
        super().__init__()
        if upscale not in (2, 3, 4):
            raise InputError(f"upscale must be 2, 3 or 4, but is {upscale!r}")
        if num_feat < 16 or num_feat % 16:
            raise InputError(f"num_feat must be a positive multiple of 16, but is {num_feat!r}")
        if num_block < 1:
            raise InputError(f"num_block must be at least 1, but is {num_block!r}")
        self.img_range = img_range
        self.head = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 3, padding=1))
        self.body = nn.ModuleList(BackboneBlock(num_feat) for _ in range(num_block))
        self.reduce = nn.Conv2d(num_block * num_feat, num_feat, 3, padding=1)
        self.tail = nn.Sequential(
            upsampler(upscale, num_feat), nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        )
        self.up = nn.Sequential(upsampler(upscale, num_feat), ConvReLU(num_feat, num_out_ch, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_in_ch, H, W), RGB in [0, 1] -> (N, num_out_ch, upscale * H, upscale * W)."""
        # Features are halved inside, which a side of one pixel does not allow.
        return upscale_padded(self._upscale, x, 2 if min(x.shape[-2:]) == 1 else 1)

    def _upscale(self, x: Tensor) -> Tensor:
        shallow = self.head(x * self.img_range)
        outputs = [shallow]
        for block in self.body:
            outputs.append(block(outputs[-1]))
        deep = self.reduce(torch.cat(outputs[1:], dim=1))
        return (self.tail(deep) + self.up(shallow)) / self.img_range


class BackboneBlock(nn.Module):
    """Three high preserving blocks, whose fused outputs pass an efficient transformer (Fig. 2)."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.encoder1 = HighPreservingBlock(num_feat)
        self.encoder2 = HighPreservingBlock(num_feat)
        self.encoder3 = HighPreservingBlock(num_feat)
        self.reduce = nn.Conv2d(3 * num_feat, num_feat, 3, padding=1)
        self.attention = EfficientTransformer(num_feat)
        self.alise = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        # The transformer returns sums over nine neighbourhoods. The released code starts without
        # this division, which one block bears; eight would multiply their input by thousands, and
        # training begin at a loss of hundreds.
        with torch.no_grad():
            self.alise.weight.div_(9)
        self.weight1 = Scale()
        self.weight2 = Scale()

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_feat, H, W) -> (N, num_feat, H, W)."""
        first = self.encoder1(x)
        second = self.encoder2(first)
        third = self.encoder3(second)
        fused = self.reduce(torch.cat((first, second, third), dim=1))
        return self.weight1(x) + self.weight2(self.alise(self.attention(fused)))


class HighPreservingBlock(nn.Module):
    """HPB (Sec. 3.2.2): features are split by average pooling into a low and a high frequency part.

    The low part is computed at half the size, by one block that is applied five times.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.encoder = AdaptiveResidualFeatureBlock(num_feat)
        self.decoder_low = AdaptiveResidualFeatureBlock(num_feat)
        self.decoder_high = AdaptiveResidualFeatureBlock(num_feat)
        self.alise2 = ConvReLU(2 * num_feat, num_feat, 1)
        self.att = ChannelAttention(num_feat)
        self.alise = AdaptiveResidualFeatureBlock(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_feat, H, W) -> (N, num_feat, H, W); H, W >= 2."""
        features = self.encoder(x)
        low = F.avg_pool2d(features, 2)
        high = self.decoder_high(features - resize(low, x))
        for _ in range(LOW_PASSES):
            low = self.decoder_low(low)
        fused = self.alise2(torch.cat((resize(low, x), high), dim=1))
        return x + self.alise(self.att(fused))


class AdaptiveResidualFeatureBlock(nn.Module):
    """ARFB (Sec. 3.2.3): two residual units, fused and weighted; learned scales on all sums."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.layer1 = ResidualUnit(num_feat)
        self.layer2 = ResidualUnit(num_feat)
        self.alise = ConvReLU(2 * num_feat, num_feat, 1)
        self.atten = ChannelAttention(num_feat)
        self.layer4 = ConvReLU(num_feat, num_feat, 3)
        self.weight2 = Scale()
        self.weight3 = Scale()
        self.weight4 = Scale()
        self.weight5 = Scale()

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_feat, H, W) -> (N, num_feat, H, W)."""
        first = self.layer1(x)
        second = self.layer2(first)
        fused = self.alise(torch.cat((self.weight2(second), self.weight3(first)), dim=1))
        return self.weight4(x) + self.weight5(self.layer4(self.atten(fused)))


class ResidualUnit(nn.Module):
    """Convolution to half the width, PReLU, convolution back; learned scales on both summands."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_feat, num_feat // 2, 3, padding=1)
        self.relu = nn.PReLU(num_feat // 2)
        self.conv1 = nn.Conv2d(num_feat // 2, num_feat, 3, padding=1)
        self.weight1 = Scale()
        self.weight2 = Scale()

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_feat, H, W) -> (N, num_feat, H, W)."""
        return self.weight1(x) + self.weight2(self.conv1(self.relu(self.conv(x))))


class EfficientTransformer(nn.Module):
    """ET (Sec. 3.3): a transformer layer whose tokens are the 3x3 neighbourhoods of all pixels."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        dim = 9 * num_feat
        self.norm1 = nn.LayerNorm(dim)
        self.atten = EfficientAttention(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, dim // 4), "fc2": nn.Linear(dim // 4, dim)})

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_feat, H, W) -> (N, num_feat, H, W): sums over each pixel's neighbourhoods."""
        tokens = F.unfold(x, 3, padding=1).transpose(1, 2)
        tokens = tokens + self.atten(self.norm1(tokens))
        tokens = tokens + self.mlp["fc2"](F.relu(self.mlp["fc1"](self.norm2(tokens))))
        return F.fold(tokens.transpose(1, 2), x.shape[-2:], 3, padding=1)


class EfficientAttention(nn.Module):
    """Efficient multi-head attention (EMHA, Sec. 3.3.1): half the width, tokens in four parts.

    The parts are consecutive rows of pixels; a remainder of up to three tokens is a fifth part.

    Args:
        dim: width of the tokens, a multiple of 16.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # Queries are scaled as if heads had the full width, as in the released code.
        self.scale = (dim // NUM_HEADS) ** -0.5
        self.reduce = nn.Linear(dim, dim // 2, bias=False)
        self.qkv = nn.Linear(dim // 2, 3 * (dim // 2), bias=False)
        self.proj = nn.Linear(dim // 2, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, tokens, dim) -> (N, tokens, dim); at least four tokens."""
        n, count, _ = tokens.shape
        qkv = self.qkv(self.reduce(tokens)).view(n, count, 3, NUM_HEADS, -1)
        width = qkv.shape[-1]
        if qkv.is_cuda:
            # In float32 the GPU's memory-efficient attention takes multiples of 4 alone; otherwise
            # the whole matrix of weights is kept. Zeros change no product.
            qkv = F.pad(qkv, (0, -width % 4))
        parts = []
        for part in qkv.split(count // TOKEN_PARTS, dim=1):
            # (n, token, qkv, head, width) -> (qkv, n, head, token, width)
            query, key, value = part.permute(2, 0, 3, 1, 4)
            parts.append(F.scaled_dot_product_attention(query, key, value, scale=self.scale))
        return self.proj(torch.cat(parts, dim=2)[..., :width].transpose(1, 2).flatten(2))


class ChannelAttention(nn.Module):
    """Channels are weighted by a function of their means, between 0 and 1."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(num_feat, num_feat // 16, 1),
            nn.ReLU(),
            nn.Conv2d(num_feat // 16, num_feat, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_feat, H, W) -> (N, num_feat, H, W)."""
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


class ConvReLU(nn.Module):
    """Convolution without bias, and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W), not negative."""
        return F.relu(self.conv(x))


class Scale(nn.Module):
    """Multiplication with a learned number, at first 1."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return x * self.scale


def upsampler(upscale: int, num_feat: int) -> nn.Sequential:
    """3x3 convolutions and pixel shuffles: (N, C, H, W) -> (N, C, upscale * H, upscale * W)."""
    layers: list[nn.Module] = []
    for step in (2, 2) if upscale == 4 else (upscale,):
        layers += [nn.Conv2d(num_feat, num_feat * step**2, 3, padding=1), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, corner to corner: (N, C, h, w) -> (N, C, H, W), height and width of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)
