"""M2Trans for BasicSR: ultrasound image super-resolution with an image-text semantic loss.

Importing this package is cheap and touches nothing. `register()` makes stock BasicSR 1.4.2 import
on today's stack and adds the plugin's networks, data set, loss, model and metrics to BasicSR's
registries, so that option files can name them. `Upscaler` enlarges images with a trained network.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from basicsr_m2trans.inference.upscaler import Upscaler as Upscaler

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load `Upscaler` when it is asked for, because it needs PyTorch."""
    if name == "Upscaler":
        from basicsr_m2trans.inference.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def register() -> None:
    """Add this plugin's classes to BasicSR's registries; calling it again changes nothing.

    After it, `build_network`, `build_dataset`, `build_loss`, `build_model` and `calculate_metric`
    of stock BasicSR know the names listed in the README, and BasicSR's PSNR and SSIM take less time
    for the same values.

    Raises:
        RuntimeError: another package has already registered a different object under one of the
            names.
    """
    from basicsr_m2trans import compat

    compat.apply()

    from basicsr.utils import registry

    from basicsr_m2trans.archs import ELAN, ESRT, Bicubic, M2Trans
    from basicsr_m2trans.archs.global_skip_arch import GlobalSkip
    from basicsr_m2trans.archs.hat_arch import HAT
    from basicsr_m2trans.archs.padding import pad_swinir_input
    from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset
    from basicsr_m2trans.losses import ImageTextSemanticLoss
    from basicsr_m2trans.metrics import basicsr_metrics, calculate_fsim, calculate_gmsd
    from basicsr_m2trans.models.m2trans_model import M2TransModel

    basicsr_metrics.accelerate()
    pad_swinir_input()

    members = {
        registry.ARCH_REGISTRY: (Bicubic, ELAN, ESRT, HAT, M2Trans, GlobalSkip),
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
