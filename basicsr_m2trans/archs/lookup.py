"""Networks by the names and settings that option files and checkpoints give them."""

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from torch import nn

from basicsr_m2trans import compat
from basicsr_m2trans.archs.elan_arch import ELAN
from basicsr_m2trans.archs.esrt_arch import ESRT
from basicsr_m2trans.archs.interpolation_arch import Bicubic
from basicsr_m2trans.archs.m2trans_arch import M2Trans
from basicsr_m2trans.utils.errors import InputError

_WITHOUT_BASICSR: dict[str, type[nn.Module]] = {
    each.__name__: each for each in (Bicubic, ELAN, ESRT, M2Trans)
}


@functools.cache
def own_networks() -> dict[str, type[nn.Module]]:
    """This package's networks but GlobalSkip, which wraps others, by their registered names.

    BasicSR is imported, which some of them need.
    """
    compat.apply()

    from basicsr_m2trans.archs.hat_arch import HAT
    from basicsr_m2trans.archs.swinir_arch import PaddedSwinIR

    return _WITHOUT_BASICSR | {each.__name__: each for each in (HAT, PaddedSwinIR)}


def network_class(name: Any) -> type[nn.Module]:
    """The network of that name, of this package or of those registered with BasicSR.

    `SwinIR` means `PaddedSwinIR`, which has its weights and takes images of any size.

    Raises:
        InputError: there is none; similar names are given.
    """
    if name in _WITHOUT_BASICSR:
        return _WITHOUT_BASICSR[name]
    name = "PaddedSwinIR" if name == "SwinIR" else name
    if name in own_networks():
        return own_networks()[name]

    from basicsr.utils.registry import ARCH_REGISTRY

    registered = dict(iter(ARCH_REGISTRY))
    for known in (name, f"{name}_basicsr"):
        if known in registered:
            return registered[known]
    names = sorted(own_networks() | registered)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    raise InputError(
        f"{name!r} is not a registered network; choose from {', '.join(near or names)}"
    )


def input_channels(network_g: Mapping[str, Any]) -> int:
    """Channels of the input image of a section `network_g`, under the architectures' names."""
    settings = network_g.get("network", network_g)  # what GlobalSkip wraps
    return settings.get("num_in_ch", settings.get("in_chans", 3))
