"""Frozen image-text encoders behind one interface, chosen by name in option files."""

import importlib
from collections.abc import Mapping
from typing import Any

from basicsr_m2trans.encoders.base import ImageTextEncoder
from basicsr_m2trans.utils.errors import InputError

# Class name -> module, imported when it is asked for, since some need transformers.
ENCODERS = {
    "MedCLIPEncoder": "basicsr_m2trans.encoders.medclip",
    "OpenCLIPEncoder": "basicsr_m2trans.encoders.open_clip",
    "QualityCLIPEncoder": "basicsr_m2trans.encoders.quality_clip",
    "SeededCLIPEncoder": "basicsr_m2trans.encoders.seeded_clip",
}


def build_encoder(options: str | Mapping[str, Any]) -> ImageTextEncoder:
    """Make an encoder from an option file's entry.

    Args:
        options: the class name, or a mapping of `type` and the class's arguments.

    Raises:
        InputError: no `type`, an unknown one, or arguments that the encoder does not have.
    """
    settings = {"type": options} if isinstance(options, str) else dict(options)
    name = settings.pop("type", None)
    if name not in ENCODERS:
        raise InputError(f"encoder type {name!r} is unknown; choose one of {', '.join(ENCODERS)}")
    encoder_class = getattr(importlib.import_module(ENCODERS[name]), name)
    try:
        return encoder_class(**settings)
    except TypeError as error:
        raise InputError(f"encoder {name}: {error}") from error


__all__ = ["ENCODERS", "ImageTextEncoder", "build_encoder"]
