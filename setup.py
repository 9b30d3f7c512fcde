"""Installs the package `basicsr_m2trans` and the command `m2trans`."""

import itertools
import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "basicsr_m2trans/__init__.py").read_text())[
    1
]

# What only some users need; the tests need all of it and more.
EXTRAS = {
    "crop": ["imagehash>=4.3", "defusedxml>=0.7"],
    "dicom": ["pydicom>=3.0", "python-gdcm>=3.0.24"],
    "export": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"],
    "mda": ["umap-learn>=0.5.7"],
    "open-clip": ["open_clip_torch>=3.0"],
    "page": ["gradio>=6.31"],
    "video": ["av>=14"],
}
# For `pytest -m gpu` alone, where little can be carried (docs/campaign.md).
GPU_TESTS = ["hypothesis>=6", "pydicom>=3.0", "pytest>=8"]
TEST_TOOLS = [
    "hypothesis>=6",
    "jsonschema>=4.20",
    "mypy>=1.18",
    "playwright>=1.50",
    "pytest>=8",
    "pytest-cov>=6",
    "pytest-xdist>=3.6",
    "ruff>=0.14",
    "types-PyYAML>=6",
    "types-tqdm>=4.66",
]

setup(
    name="basicsr_m2trans",
    version=VERSION,
    description="M2Trans ultrasound super-resolution with its image-text semantic loss, as a "
    "plugin for BasicSR",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["basicsr_m2trans", "basicsr_m2trans.*"]),
    package_data={
        "basicsr_m2trans": ["py.typed", "pretrained/*"],
        "basicsr_m2trans.encoders": ["*.txt", "*.safetensors"],
        "basicsr_m2trans.apps.page": ["*.js"],
    },
    install_requires=[
        "basicsr==1.4.2",
        "torch>=2.6",
        "torchvision>=0.21",
        "numpy>=1.26",
        "opencv-python>=4.13",
        "pillow>=10",
        "lmdb>=1.4",
        "pyyaml>=6.0",
        "tqdm>=4.66",
        "transformers>=5.9",
        "safetensors>=0.4",
        "piq>=0.8",
        "requests>=2.31",
        "scipy>=1.11",
        "tifffile>=2024.1.30",
        "spandrel>=0.4.2",
        "matplotlib>=3.8",
        "pytorch-wavelets==1.3.0",
        "PyWavelets>=1.5",
        "setuptools<82",
    ],
    extras_require=EXTRAS
    | {"gpu-tests": GPU_TESTS, "test": [*itertools.chain(*EXTRAS.values()), *TEST_TOOLS]},
    entry_points={"console_scripts": ["m2trans=basicsr_m2trans.cli:main"]},
)
