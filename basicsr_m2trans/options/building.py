"""Values of the right type that their classes refuse, found by building what an
option file names.
"""

import copy
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from basicsr_m2trans.options.relations import section
from basicsr_m2trans.options.sections import optimizer_classes, scheduler_classes
from basicsr_m2trans.utils.errors import InputError, Problem

if TYPE_CHECKING:
    from torch import nn


def find_refused_values(opt: dict[str, Any]) -> Iterator[Problem]:
    """The network, the optimizer and the scheduler of which a class refuses the values.

    Args:
        opt: an option file without the sections in which something is known to be wrong.
    """
    builders = {
        ("network_g",): build_network,
        ("train", "optim_g"): _build_optimizer,
        ("train", "scheduler"): _build_scheduler,
    }
    for key, build in builders.items():
        settings = section(opt, *key)
        if "type" not in settings:
            continue
        try:
            build(settings)
        except (ImportError, OSError):  # this machine lacks something; the values may be right
            continue
        except Exception as error:  # classes raise many types for values that they do not take
            yield Problem(
                key,
                f"cannot be used: {settings['type']} says: {reason(error)}",
                "change that value",
            )


def build_network(network_g: dict[str, Any]) -> "nn.Module":
    """The network, on the meta device, where its weights need neither time nor memory, unless it
    must compute.

    Args:
        network_g: section of that name; its `type` is registered.

    Raises:
        Exception: of any type, where the class refuses a value.
    """
    import torch
    from basicsr.utils.registry import ARCH_REGISTRY

    # Not by BasicSR's build_network, which would open BasicSR's log before the run names its file.
    arguments = copy.deepcopy(network_g)
    network_class = ARCH_REGISTRY.get(arguments.pop("type"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about their own code
        try:
            with torch.device("meta"):
                return network_class(**copy.deepcopy(arguments))
        except (
            Exception
        ):  # SwinIR, HAT and GlobalSkip compute with tensors, which have no values there
            return network_class(**arguments)


def reason(error: Exception) -> str:
    """What an exception says; the type goes before, where the text was not written for users."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _build_optimizer(optim_g: dict[str, Any]) -> None:
    import torch

    arguments = dict(optim_g)
    optimizer_classes()[arguments.pop("type")]([torch.nn.Parameter(torch.zeros(1))], **arguments)


def _build_scheduler(scheduler: dict[str, Any]) -> None:
    import torch

    arguments = dict(scheduler)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    scheduler_classes()[arguments.pop("type")](optimizer, **arguments)
