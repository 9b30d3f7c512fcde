"""M2Trans for BasicSR: ultrasound image super-resolution with an image-text semantic loss.

Importing this package is cheap and touches nothing. `register()` adds the plugin's networks, data
set, loss, model and metrics to the registries of BasicSR 1.4.2, so that option files can name them.
`Upscaler` upscales images with a trained network.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from basicsr_m2trans.inference.upscaler import Upscaler as Upscaler
    from basicsr_m2trans.registration import register as register

__version__ = "0.1.0"

_LOADED_WHEN_ASKED_FOR = {"Upscaler": "inference.upscaler", "register": "registration"}


def __getattr__(name: str) -> Any:
    """Load what needs PyTorch when it is asked for."""
    if name in _LOADED_WHEN_ASKED_FOR:
        module = importlib.import_module(f"{__name__}.{_LOADED_WHEN_ASKED_FOR[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
