"""Networks: plain PyTorch modules; `basicsr_m2trans.register()` gives them to BasicSR.

`hat_arch.HAT` is not imported here, because spandrel imports torchvision, which may need a repair
first.
"""

from basicsr_m2trans.archs.elan_arch import ELAN
from basicsr_m2trans.archs.esrt_arch import ESRT
from basicsr_m2trans.archs.interpolation_arch import Bicubic
from basicsr_m2trans.archs.m2trans_arch import M2Trans

__all__ = ["ELAN", "ESRT", "Bicubic", "M2Trans"]
