"""Networks: plain PyTorch modules that know nothing of BasicSR; `basicsr_m2trans.register()` registers them."""

from basicsr_m2trans.archs.interpolation_arch import Bicubic
from basicsr_m2trans.archs.m2trans_arch import M2Trans

__all__ = ["Bicubic", "M2Trans"]
