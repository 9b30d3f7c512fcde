"""Each repair where its defect is present and where it is absent."""

import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

from basicsr_m2trans import compat

ROOT = Path(__file__).resolve().parents[1]


def run_python(code, *path):
    """Run `code` in a new interpreter that looks for modules in the folders of `path` first."""
    setup = f"import sys; sys.path[:0] = {[str(folder) for folder in (*path, ROOT)]!r}\n"
    result = subprocess.run(
        [sys.executable, "-c", setup + code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_apply_makes_basicsr_importable_and_is_idempotent():
    compat.apply()
    basicsr_train = importlib.import_module("basicsr.train")
    before = vars(basicsr_train).copy()
    compat.apply()
    assert vars(basicsr_train) == before


@pytest.mark.parametrize("found", [None, "1.4.1"])
def test_another_basicsr_is_refused(monkeypatch, found):
    def version(_name):
        if found is None:
            raise importlib.metadata.PackageNotFoundError
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(
        ImportError, match=rf"BasicSR 1.4.2 is needed, found {found or 'none'}; .*pip install"
    ):
        compat.require_basicsr()


def fake_torchvision(folder, code):
    package = folder / "torchvision"
    package.mkdir()
    (package / "part.py").write_text("")
    (package / "__init__.py").write_text(
        "from torch import library\nfrom torchvision import part\n" + code
    )


def test_missing_operators_are_declared(tmp_path):
    fake_torchvision(
        tmp_path, "library.register_fake('torchvision::nms')(lambda dets, scores, iou: dets)\n"
    )
    code = """
from basicsr_m2trans import compat
compat.declare_torchvision_operators()
compat.declare_torchvision_operators()
import torch, torchvision
assert torchvision.part is sys.modules["torchvision.part"]
print(torch.ops.torchvision.nms.default, torch.ops.torchvision.qnms.default)
"""
    assert run_python(code, tmp_path).split() == [
        "torchvision.nms.default",
        "torchvision.qnms.default",
    ]


def test_operators_are_left_alone_where_torchvision_imports(tmp_path):
    fake_torchvision(tmp_path, "")
    code = """
from basicsr_m2trans import compat
compat.declare_torchvision_operators()
import torch
print(hasattr(torch.ops.torchvision, "nms"))
"""
    assert run_python(code, tmp_path).strip() == "False"


def test_other_failures_of_torchvision_are_not_hidden(tmp_path):
    fake_torchvision(tmp_path, "raise RuntimeError('a broken file')\n")
    code = """
from basicsr_m2trans import compat
try:
    compat.declare_torchvision_operators()
except RuntimeError as error:
    print(error)
"""
    assert run_python(code, tmp_path) == "a broken file\n"


def test_removed_functional_tensor_is_provided(monkeypatch):
    compat.declare_torchvision_operators()
    functional = importlib.import_module("torchvision.transforms.functional")
    name = "torchvision.transforms.functional_tensor"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    compat.provide_functional_tensor()
    assert importlib.import_module(name).rgb_to_grayscale is functional.rgb_to_grayscale


def test_existing_functional_tensor_is_left_alone(monkeypatch):
    name = "torchvision.transforms.functional_tensor"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    compat.provide_functional_tensor()
    assert name not in sys.modules


def test_missing_distutils_is_provided(monkeypatch):
    monkeypatch.setitem(sys.modules, "distutils", None)
    monkeypatch.setitem(sys.modules, "distutils.version", None)
    compat.provide_distutils()
    version = importlib.import_module("distutils.version").LooseVersion
    assert version("0.28.0+cpu") >= version("0.9.0")
    assert not version("0.8.2") >= version("0.9.0")


def test_existing_distutils_is_left_alone(monkeypatch):
    existing = types.ModuleType("distutils.version")
    monkeypatch.setitem(sys.modules, "distutils", types.ModuleType("distutils"))
    monkeypatch.setitem(sys.modules, "distutils.version", existing)
    compat.provide_distutils()
    assert sys.modules["distutils.version"] is existing
