"""Makes stock BasicSR 1.4.2 import on today's Python, PyTorch and torchvision.

Each repair is one function that names its defect and the upstream issue, and does nothing where the
defect is absent. No object of BasicSR is replaced.
"""

import functools
import importlib.metadata
import importlib.util
import sys
import types
from typing import Any

from torch import library

BASICSR_VERSION = "1.4.2"


@functools.cache
def apply() -> None:
    """Import BasicSR 1.4.2 with all repairs; later calls cost nothing.

    Raises:
        ImportError: BasicSR is not installed, or in another version than the repairs are written
            for.
    """
    require_basicsr()
    declare_torchvision_operators()
    provide_functional_tensor()
    provide_distutils()

    import basicsr  # noqa: F401


def require_basicsr() -> None:
    """The folder `basicsr/` of launchers is taken for the package where BasicSR is not installed
    (no upstream issue).

    Raises:
        ImportError: BasicSR is not installed, or in another version than the repairs are written
            for.
    """
    try:
        version = importlib.metadata.version("basicsr")
    except importlib.metadata.PackageNotFoundError:
        version = None
    if version != BASICSR_VERSION:
        raise ImportError(
            f"BasicSR {BASICSR_VERSION} is needed, found {version or 'none'}; install PyTorch "
            "first, then run `python -m pip install --no-build-isolation "
            f"basicsr=={BASICSR_VERSION}`"
        )


def declare_torchvision_operators() -> None:
    """torchvision does not import beside a PyTorch that it was not built for (pytorch/vision issue
    9085).

    PyPI's torchvision cannot load its compiled operators beside a CPU-only PyTorch, and then fails
    while describing the missing operators `nms` and `qnms`. Their signatures are declared here;
    nothing of BasicSR calls them.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    else:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for name in ("nms", "qnms"):
        library.define(
            f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )

    import torchvision  # noqa: F401


def provide_functional_tensor() -> None:
    """BasicSR imports a module that torchvision 0.17 removed (XPixelGroup/BasicSR issue 649).

    The repair, pull request 650, is merged upstream but not released. Only `rgb_to_grayscale` is
    used of it.
    """
    name = "torchvision.transforms.functional_tensor"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    module: Any = types.ModuleType(name)
    module.rgb_to_grayscale = rgb_to_grayscale
    sys.modules[name] = module


def provide_distutils() -> None:
    """BasicSR imports `distutils`, which Python 3.12 removed (no upstream issue known).

    setuptools brings a copy of it; without that copy, `packaging` compares the versions.
    """
    try:
        importlib.import_module("distutils.version")
    except ModuleNotFoundError:
        from packaging.version import Version

        package: Any = types.ModuleType("distutils")
        module: Any = types.ModuleType("distutils.version")
        package.version = module
        module.LooseVersion = Version
        sys.modules.update({package.__name__: package, module.__name__: module})
