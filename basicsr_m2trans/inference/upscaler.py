"""Upscaling images from Python: one object for arrays, Pillow images and tensors."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from basicsr_m2trans.archs import Bicubic
from basicsr_m2trans.checkpoints.networks import find_model, load_network
from basicsr_m2trans.data.pillow_images import from_array, to_array
from basicsr_m2trans.inference.compiled import CompiledNetwork
from basicsr_m2trans.inference.less_memory import NetworkRunner
from basicsr_m2trans.inference.settings import PRECISIONS, UpscalerSettings
from basicsr_m2trans.utils.device import default_device
from basicsr_m2trans.utils.errors import InputError

Picture = TypeVar("Picture", np.ndarray, Image.Image, Tensor)

DISCLAIMER = "research use, not for diagnosis"
# ITU-R BT.601, the luma of the field's PSNR.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


class Upscaler:
    """A trained network that upscales images of any size. For research, not for diagnosis.

    >>> upscaler = Upscaler.from_checkpoint("experiments/NAME/models/net_g_latest.pth")
    >>> upscaled = upscaler(image)

    On the CPU, M2Trans is computed exactly and in bounded memory, other networks in overlapping
    tiles. On a GPU every network gets the whole image, and parts of it only where they are all that
    fits, with a warning.

    Args:
        network: maps (N, channels, h, w) in [0, 1] to (N, channels, scale * h, scale * w).
        scale: how many times it upscales.
        channels: 3 (RGB) or 1 (grey).
        name: what the results say that they were made by.
        settings: those of `UpscalerSettings`, by name.

    Raises:
        InputError: see `UpscalerSettings`; PyTorch cannot use the device, or `compile` finds no
            compiler.
        TypeError: there is no setting of a name.
    """

    def __init__(
        self, network: nn.Module, scale: int, channels: int = 3, *, name: str = "", **settings: Any
    ) -> None:
        self.settings = UpscalerSettings.named(settings)
        device = self.settings.device or default_device()
        try:
            self.device = torch.device(device)
            self.network = network.eval().to(self.device)
        # PyTorch's messages of several types for devices that are not there
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"device {device!r} cannot be used: {str(error).splitlines()[0]}"
            ) from error
        self.scale, self.channels = scale, channels
        self.name = name or f"{type(network).__name__} x{scale}"
        self._bicubic = Bicubic(scale)
        # Made once: a copy to a GPU would wait for it.
        self._luma_weights = torch.tensor(LUMA_WEIGHTS, device=self.device).view(3, 1, 1)
        whole: Callable[[Tensor], Tensor] | None = (
            None if self.device.type == "cpu" else self.network
        )
        if self.settings.compile:
            whole = CompiledNetwork(self.network, self.device)
        self._upscale = NetworkRunner(
            self.network, scale, warnings.warn, whole, self.settings.max_memory
        )

    @classmethod
    def from_checkpoint(
        cls,
        model: str | Path,
        *,
        scale: int | None = None,
        arch: str | None = None,
        options: str | Path | None = None,
        **settings: Any,
    ) -> "Upscaler":
        """An upscaler with the network of a checkpoint.

        Args:
            model: a file that BasicSR has saved, or the name of a network that comes with this
                package.
            scale, arch, options: what the network is, where the file does not say it; see
                `load_network`.
            settings: see the class.

        Raises:
            InputError: there is no such file or name, it cannot be read, or what the network is
                remains open; or see the class.
        """
        path = find_model(model)
        trained = load_network(path, scale, arch, Path(options) if options else None)
        name = f"{trained.architecture} x{trained.scale} ({path.name})"
        return cls(trained.network, trained.scale, trained.channels, name=name, **settings)

    def __call__(self, image: Picture) -> Picture:
        """Upscale one image; the result has the type, depth and number of channels of `image`.

        Args:
            image: one of
                - an array (h, w) or (h, w, c) in the order RGB (for OpenCV's BGR give `image[...,
                  ::-1]`), c = 1 (grey), 2 (grey and alpha), 3 or 4 (with alpha); uint8, uint16, or
                  floating-point in [0, 1];
                - a Pillow image of 8 bits, or 16 bits and grey; its colour profile is kept, its
                  orientation tag applied, and a palette becomes RGB;
                - a tensor (N, channels, h, w) or (channels, h, w), floating-point, RGB in [0, 1]:
                  the result is what the network itself makes of it, whatever `colour` is, on the
                  tensor's device.

        Raises:
            InputError: the image is of another kind, or the network needs more than `max_memory`
                for it.
        """
        if isinstance(image, Tensor):
            return self._upscale_tensor(image)
        if isinstance(image, Image.Image):
            result = from_array(self.upscale_many([to_array(image)])[0])
            result.info = {key: image.info[key] for key in ("icc_profile",) if key in image.info}
            return result
        if isinstance(image, np.ndarray):
            return self.upscale_many([image])[0]
        raise InputError(f"give an array, a Pillow image or a tensor, not a {type(image).__name__}")

    @property
    def note(self) -> Callable[[str], object]:
        """Called with a line for the user when a GPU lacks memory; a warning unless set."""
        return self._upscale.note

    @note.setter
    def note(self, note: Callable[[str], object]) -> None:
        self._upscale.note = note

    def upscale_many(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Upscale arrays of one shape and type together, which on a GPU is faster than one by one.

        Args:
            images: at least one; each as in `__call__`.

        Returns:
            What `__call__` makes of each, to the rounding of the network's arithmetic: on the CPU
            M2Trans computes them one by one, so that they are equal.

        Raises:
            InputError: see `__call__`; or they differ in shape or type.
        """
        return self._through_planes(images, self._upscale_planes)

    def bicubic(self, image: np.ndarray) -> np.ndarray:
        """The image upscaled by bicubic interpolation, to compare with; see `__call__`."""
        return self._through_planes([image], self._bicubic)[0]

    @torch.no_grad()
    def _through_planes(
        self, images: Sequence[np.ndarray], compute: Callable[[Tensor], Tensor]
    ) -> list[np.ndarray]:
        first = images[0]
        for image in images:
            _check_array(image)
            if (image.shape, image.dtype) != (first.shape, first.dtype):
                raise InputError("images that are upscaled together must have one shape and type")
        white = 1.0 if first.dtype.kind == "f" else float(np.iinfo(first.dtype).max)
        stacked = np.stack([np.atleast_3d(image) for image in images])
        if white == 1:
            stacked = stacked.astype(np.float32)
        # They cross to a GPU and back as they are stored, which is less to copy and to do here.
        stored = torch.from_numpy(stacked).to(self.device)
        planes = stored.permute(0, 3, 1, 2).contiguous().float() / white
        result = compute(planes).clamp_(0, 1).mul_(white)
        result = (result if white == 1 else result.round_()).to(stored.dtype).permute(0, 2, 3, 1)
        pixels = result.contiguous().cpu().numpy().astype(first.dtype, copy=False)
        return [image if first.ndim == 3 else image[..., 0] for image in pixels]

    def _upscale_planes(self, planes: Tensor) -> Tensor:
        """(N, c, h, w) -> (N, c, scale * h, scale * w), c = 1 to 4 as in `__call__`."""
        colours = planes.shape[1] - (planes.shape[1] in (2, 4))
        picture, alpha = planes[:, :colours], planes[:, colours:]
        if colours == 1:
            result = self._upscale_luma(picture)
        elif self.settings.colour == "rgb":
            # A network for grey images takes the colours one by one.
            result = self._upscale_batch(picture.reshape(-1, self.channels, *picture.shape[-2:]))
            result = result.reshape(-1, colours, *result.shape[-2:])
        else:
            interpolated = self._bicubic(picture)
            difference = self._upscale_luma(self._luma(picture)) - self._luma(interpolated)
            result = interpolated.add_(difference)
        return torch.cat([result, self._bicubic(alpha)], dim=1) if alpha.shape[1] else result

    def _upscale_luma(self, luma: Tensor) -> Tensor:
        """(N, 1, h, w) -> (N, 1, scale * h, scale * w)."""
        result = self._upscale_batch(luma.expand(-1, self.channels, -1, -1))
        return result if self.channels == 1 else self._luma(result)

    def _luma(self, picture: Tensor) -> Tensor:
        """(N, 3, h, w) -> (N, 1, h, w)."""
        return (picture * self._luma_weights).sum(1, keepdim=True)

    def _upscale_tensor(self, images: Tensor) -> Tensor:
        if images.dim() not in (3, 4) or images.shape[-3] != self.channels or 0 in images.shape:
            raise InputError(
                f"give a tensor (N, {self.channels}, H, W) or ({self.channels}, H, W), not "
                f"{tuple(images.shape)}"
            )
        if not images.is_floating_point():
            raise InputError(
                f"give a tensor of floating-point numbers in [0, 1], not {images.dtype}"
            )
        _check_range(images)
        batch = images if images.dim() == 4 else images[None]
        result = self._upscale_batch(batch.to(self.device, torch.float32)).to(images)
        return result if images.dim() == 4 else result[0]

    @torch.no_grad()
    def _upscale_batch(self, images: Tensor) -> Tensor:
        """The network's result, averaged over flips and rotations with `self_ensemble`."""
        if not self.settings.self_ensemble:
            return self._forward(images)
        total = torch.zeros((), device=images.device)
        for turns in range(4):
            for flip in (False, True):
                turned = images.rot90(turns, (2, 3))
                result = self._forward(turned.flip(3) if flip else turned)
                total = total + (result.flip(3) if flip else result).rot90(-turns, (2, 3))
        return total / 8

    def _forward(self, images: Tensor) -> Tensor:
        if self.settings.precision == "float32":
            return self._upscale(images)
        with torch.autocast(self.device.type, PRECISIONS[self.settings.precision]):
            return self._upscale(images)


def _check_range(image: np.ndarray | Tensor) -> None:
    low, high = image.min(), image.max()
    if not (low >= 0 and high <= 1):  # neither holds of NaN
        raise InputError(
            f"floating-point images must have values in [0, 1], but these are from {low:g} to "
            f"{high:g}"
        )


def _check_array(image: np.ndarray) -> None:
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or 0 in image.shape:
        raise InputError(f"give an array (h, w) or (h, w, 1 to 4), not {image.shape}")
    if image.dtype.kind == "f":
        _check_range(image)
    elif image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"give an array of uint8, uint16 or floating-point numbers, not {image.dtype}"
        )
