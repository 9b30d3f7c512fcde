"""Puts this plugin's classes and functions into BasicSR's registries, and changes nothing else."""

from collections.abc import Iterable
from typing import Any

from basicsr_m2trans import compat


def register() -> None:
    """Add this plugin's classes to BasicSR's registries; calling it again changes nothing.

    After it, `build_network`, `build_dataset`, `build_loss`, `build_model` and `calculate_metric`
    of stock BasicSR know the names listed in the README. No object of BasicSR is replaced.

    Raises:
        ImportError: BasicSR is not installed, or in another version than the one supported.
        RuntimeError: another package has already registered a different object under one of the
            names.
    """
    compat.apply()

    from basicsr.utils import registry

    from basicsr_m2trans.archs.global_skip_arch import GlobalSkip
    from basicsr_m2trans.archs.lookup import own_networks
    from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset
    from basicsr_m2trans.losses import ImageTextSemanticLoss
    from basicsr_m2trans.metrics import calculate_fsim, calculate_gmsd
    from basicsr_m2trans.models.m2trans_model import M2TransModel

    members: dict[registry.Registry, Iterable[Any]] = {
        registry.ARCH_REGISTRY: (*own_networks().values(), GlobalSkip),
        registry.DATASET_REGISTRY: (PairedImageTextDataset,),
        registry.LOSS_REGISTRY: (ImageTextSemanticLoss,),
        registry.MODEL_REGISTRY: (M2TransModel,),
        registry.METRIC_REGISTRY: (calculate_fsim, calculate_gmsd),
    }
    for target, objects in members.items():
        for obj in objects:
            if obj.__name__ not in target:
                target.register(obj)
            elif target.get(obj.__name__) is not obj:
                raise RuntimeError(
                    f"another package has registered its own {obj.__name__!r} in BasicSR's "
                    f"{target._name} registry; import only one of the two packages in this process"
                )
