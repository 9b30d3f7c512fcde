"""The names that option files rely on, through stock BasicSR's own builders in a fresh process."""

import subprocess
import sys

SCRIPT = """
import basicsr_m2trans
basicsr_m2trans.register()
basicsr_m2trans.register()
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.metrics import calculate_metric
from basicsr.utils import registry
import numpy as np
options = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1}
print(type(build_network(options)).__name__)
print(type(build_network({"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "upscale": 2})).__name__)
print(type(build_loss({"type": "ImageTextSemanticLoss", "encoder": "SeededCLIPEncoder"})).__name__)
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
print(calculate_metric({"img": image, "img2": image}, {"type": "calculate_gmsd", "crop_border": 0}))
for names, name in ((registry.DATASET_REGISTRY, "PairedImageTextDataset"),
                    (registry.MODEL_REGISTRY, "M2TransModel"),
                    (registry.METRIC_REGISTRY, "calculate_fsim")):
    print(names.get(name).__name__)
"""


def test_stranger_script():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [
        "M2Trans",
        "EDSR",
        "ImageTextSemanticLoss",
        "0.0",
        "PairedImageTextDataset",
        "M2TransModel",
        "calculate_fsim",
    ]


def test_import_is_light():
    """Importing the package alone loads neither torch nor BasicSR."""
    code = (
        "import sys, basicsr_m2trans; print({'torch', 'basicsr', 'transformers', 'cv2'} & "
        "set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_registering_leaves_transformers_alone():
    code = (
        "import sys, basicsr_m2trans; basicsr_m2trans.register(); print('transformers' in "
        "sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_a_name_taken_by_another_package_is_an_error():
    code = """
from basicsr_m2trans import compat, register
compat.apply()
from basicsr.utils.registry import ARCH_REGISTRY
class M2Trans: pass
ARCH_REGISTRY.register(M2Trans)
register()
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert (
        "another package has registered its own 'M2Trans' in BasicSR's arch registry"
        in result.stderr
    )
