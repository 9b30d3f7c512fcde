"""How an `Upscaler` computes."""

import dataclasses
from typing import Any

import torch

from basicsr_m2trans.inference.bounded_memory import DEFAULT_MEMORY
from basicsr_m2trans.utils.errors import InputError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COLOURS = ("luma", "rgb")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpscalerSettings:
    """What `Upscaler` and `Upscaler.from_checkpoint` take by name.

    Args:
        device: 'cpu', 'cuda', 'cuda:1', ...; by default the GPU if there is one.
        precision: 'float32', or 'bfloat16' or 'float16' for the network's layers (autocast).
        self_ensemble: average over the 8 flips and rotations of the image, which takes 8 times as
            long.
        colour: how arrays and Pillow images with colours are upscaled. 'luma': the network upscales
            their luma, and their colour differences are interpolated (bicubic), so that a colour
            Doppler box keeps its colours even with a network that was trained on grey images.
            'rgb': the network upscales the three colours.
        max_memory: most memory in MiB that M2Trans takes for one image where it is computed in
            strips; see `upscale_image`.
        compile: compile the network for the first sizes of images (`CompiledNetwork`), which takes
            up to minutes and is worth it for many images of one size. The CPU then computes whole
            images as well, so that `max_memory` does not bound them.

    Raises:
        InputError: `precision` or `colour` is none of these.
    """

    device: str | None = None
    precision: str = "float32"
    self_ensemble: bool = False
    colour: str = "luma"
    max_memory: int = DEFAULT_MEMORY
    compile: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("precision", PRECISIONS), ("colour", COLOURS)):
            if (value := getattr(self, name)) not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}, but is {value!r}")

    @classmethod
    def named(cls, values: dict[str, Any]) -> "UpscalerSettings":
        """The settings by their names; a TypeError lists them where one is unknown."""
        names = [field.name for field in dataclasses.fields(cls)]
        if unknown := values.keys() - names:
            raise TypeError(
                f"Upscaler has no setting {', '.join(sorted(unknown))}; it has {', '.join(names)}"
            )
        return cls(**values)
