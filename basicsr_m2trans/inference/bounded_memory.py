"""M2Trans on images of any size: the whole image's result in memory that a setting bounds.

Tiles would change the result, because InstanceNorm takes its statistics from the whole map and
attention reaches some 100 pixels further with each module. So the network is computed layer by
layer on one map of features that stays in memory: each layer replaces it strip by strip, with the
margin that it needs. The reconstruction, whose features are the largest, is local and runs on
tiles.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from basicsr_m2trans.archs.m2trans_arch import M2Trans
from basicsr_m2trans.archs.padding import pad_to_multiple
from basicsr_m2trans.archs.wavelet import HaarTransform
from basicsr_m2trans.inference.regions import Region, strip_region, with_margin
from basicsr_m2trans.inference.strips import ALIGNMENT, apply_in_strips, working_memory
from basicsr_m2trans.utils.errors import InputError

MEBIBYTE = 2**20
DEFAULT_MEMORY = 2048
# Longer strips repeat less at their edges, but from here on that gains no time.
LONGEST_STRIP = 256
# Rows and columns of the low-resolution map that are reconstructed at once.
TILE = (64, 128)
# What PyTorch loads and keeps at its first use, and freed memory not given back.
OVERHEAD = 96 * MEBIBYTE


def upscale_image(net: M2Trans, images: Tensor, max_memory: int = DEFAULT_MEMORY) -> Tensor:
    """`net(images)` one image after the other, in bounded memory.

    Args:
        net: with wavelet 'haar' or 'none'.
        images: (N, num_in_ch, H, W), RGB in [0, 1], any H, W >= 1, on the device of `net`.
        max_memory: most memory in MiB to take beyond the network and `images`, the result included.

    Returns:
        (N, num_out_ch, upscale * H, upscale * W) in [0, 1], with the type of `images`.

    Raises:
        InputError: `max_memory` is too small, and the message says what is needed; the network's
            wavelet reaches too far; or `images` does not fit the network.
    """
    _check(net, images, "(N, C, H, W)")
    n, _, height, width = images.shape
    shape = (n, net.num_out_ch, height * net.upscale, width * net.upscale)
    reserved = math.prod(shape) * images.element_size()
    strip = _strip_length(net, images, max_memory, reserved)
    out = images.new_empty(shape)
    for image, result in zip(images, out, strict=True):
        bottom = 0
        for rows in _StripwiseForward(net, image, strip).run():
            top, bottom = bottom, bottom + rows.shape[1]
            result[:, top:bottom] = rows
    return out


def upscale_in_strips(
    net: M2Trans, image: Tensor, max_memory: int = DEFAULT_MEMORY
) -> Iterator[Tensor]:
    """Strips of `net(image[None])[0]`, for writing the result somewhere while it is made.

    Args:
        net, max_memory: see `upscale_image`; strips that the caller keeps come on top.
        image: (num_in_ch, H, W), otherwise as there.

    Returns:
        An iterator of tensors (num_out_ch, rows, upscale * W) of the type of `image`, from the top
        of the result to its bottom. For autocast, call and iteration must be under it.

    Raises:
        InputError: see `upscale_image`; raised by the call, not by the iterator.
    """
    _check(net, image, "(C, H, W)")
    return _StripwiseForward(net, image, _strip_length(net, image, max_memory)).run()


def _check(net: M2Trans, images: Tensor, shape: str) -> None:
    """Refuse networks and images that cannot be computed in strips; `shape` is for the message."""
    if not isinstance(net, M2Trans):
        raise InputError(
            f"only M2Trans can be computed in strips; use upscale_in_tiles for {type(net).__name__}"
        )
    if any(not isinstance(block.wavelet, HaarTransform) for block in net.blocks):
        raise InputError(
            "only wavelet 'haar' or 'none' can be computed in strips; use upscale_in_tiles for "
            "others"
        )
    channels = net.head.in_channels
    if images.dim() != len(shape.split(",")) or images.shape[-3] != channels or 0 in images.shape:
        raise InputError(
            f"images must have the shape {shape} with C = {channels}, but have "
            f"{tuple(images.shape)}"
        )
    if not images.is_floating_point():
        raise InputError(f"images must be floating-point numbers in [0, 1], but are {images.dtype}")


def _strip_length(net: M2Trans, images: Tensor, max_memory: int, reserved: int = 0) -> int:
    """The longest strip, a multiple of 32, that stays in `max_memory` MiB less `reserved` bytes."""
    available = max_memory * MEBIBYTE - reserved
    lengths = range(ALIGNMENT, LONGEST_STRIP + 1, ALIGNMENT)
    needed = {length: _memory(net, images, length) for length in lengths}
    if needed[ALIGNMENT] > available:
        least = -(-(needed[ALIGNMENT] + reserved) // MEBIBYTE)
        height, width = images.shape[-2:]
        raise InputError(
            f"max_memory is {max_memory} MiB, but {width}x{height} pixels need {least}; set it to "
            f"{least}, or upscale parts of the image"
        )
    return max(length for length in lengths if needed[length] <= available)


def _memory(net: M2Trans, images: Tensor, strip: int) -> int:
    """Bytes that one image takes at the peak, without its result: an estimate from above."""
    height, width = (-(-side // ALIGNMENT) * ALIGNMENT for side in images.shape[-2:])
    features = net.head.out_channels * _feature_type(net).itemsize
    # The padded image, and a copy in another order.
    image = 2 * images.shape[-3] * images.element_size()
    shorter, longer = sorted((height, width))
    working = working_memory(net.blocks[0], shorter, longer, strip, _feature_type(net).itemsize)
    # One row of tiles of the result; features at high resolution that are read, written, padded.
    pixels = net.upscale**2
    result = TILE[0] * width * pixels * net.num_out_ch * images.element_size()
    tile = 3 * (TILE[0] + 4) * (TILE[1] + 4) * pixels * features
    return OVERHEAD + height * width * (features + image) + max(working, result + tile)


def _feature_type(net: M2Trans) -> torch.dtype:
    """Type of what convolutions return here: the weights', or autocast's."""
    device = net.head.weight.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return net.head.weight.dtype


class _StripwiseForward:
    """The state of one image's forward: the padded image and the map of features."""

    def __init__(self, net: M2Trans, image: Tensor, strip: int) -> None:
        self.net, self.image, self.strip = net, image, strip

    @torch.no_grad()
    def run(self) -> Iterator[Tensor]:
        """Strips (num_out_ch, rows, upscale * W) of the result."""
        self.order = torch.channels_last if self.net.fast else torch.contiguous_format
        self.padded = pad_to_multiple(self.image[None], ALIGNMENT) * self.net.img_range
        self.padded = self.padded.contiguous(memory_format=self.order)
        self.size = self.padded.shape[-2:]
        self._compute_features()
        height, width = self.image.shape[-2:]
        scale, channels = self.net.upscale, self.net.num_out_ch
        for top in range(0, height, TILE[0]):
            rows = slice(top, min(top + TILE[0], height))
            result = self.image.new_empty(channels, (rows.stop - rows.start) * scale, width * scale)
            for left in range(0, width, TILE[1]):
                columns = slice(left, min(left + TILE[1], width))
                result[..., columns.start * scale : columns.stop * scale] = self._reconstructed(
                    (rows, columns)
                )[0]
            yield result

    def _compute_features(self) -> None:
        """Head and body (Eq. 1-3), without the sum of both."""
        features = torch.empty(
            (1, self.net.head.out_channels, *self.size),
            dtype=_feature_type(self.net),
            device=self.padded.device,
            memory_format=self.order,
        )
        # Strips along the longer side are the smallest and have the least edge to repeat.
        dim = -2 if self.size[0] >= self.size[1] else -1
        for start in range(0, self.size[dim], self.strip):
            region = strip_region(start, min(start + self.strip, self.size[dim]), self.size, dim)
            features[(..., *region)] = self._shallow(region)
        for block in self.net.blocks:
            apply_in_strips(block, features, self.strip, dim)
        self.features = features

    def _shallow(self, region: Region) -> Tensor:
        """The head's output, computed again wherever it is needed."""
        return with_margin(
            lambda larger: self.net.head(self.padded[(..., *larger)]), region, self.size, margin=1
        )

    def _reconstructed(self, region: Region) -> Tensor:
        """The result for a region of the low-resolution map (Eq. 4)."""

        def reconstruct(larger: Region) -> Tensor:
            return self.net.reconstruct(self.features[(..., *larger)] + self._shallow(larger))

        def interpolate(larger: Region) -> Tensor:
            return self.net.interpolate(self.image[None][(..., *larger)])

        scale, size = self.net.upscale, self.image.shape[-2:]
        out = with_margin(reconstruct, region, self.size, margin=2, scale=scale)
        out = out / self.net.img_range
        if self.net.global_skip:
            out = out + with_margin(interpolate, region, size, margin=2, scale=scale)
        return out.clamp(0, 1)
