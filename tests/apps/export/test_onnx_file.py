import sys

import numpy as np
import pytest
import torch

from basicsr_m2trans.apps.export import export_onnx
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.utils.errors import InputError

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")


HYBRID = {"norm": "none", "bias": False, "num_res_block": 1, "reconstruction": "conv"}


@pytest.fixture(scope="module", params=[{}, HYBRID], ids=str)
def net(request):
    """With the skip, whose graph has the one without it in it."""
    torch.manual_seed(0)
    net = M2Trans(3, num_feat=8, num_block=1, global_skip=True, **request.param).eval()
    # It starts at 0, and the result would be that of the skip alone.
    last = [layer for layer in net.tail if isinstance(layer, torch.nn.Conv2d)][-1]
    torch.nn.init.normal_(last.weight, std=0.05)
    return net


@pytest.mark.slow
def test_one_file_upscales_images_of_every_size(net, tmp_path):
    path = tmp_path / "new" / "net.onnx"
    agreement = export_onnx(net, path)
    assert agreement.difference < 1e-4
    assert [file.name for file in path.parent.iterdir()] == ["net.onnx"]
    session = onnxruntime.InferenceSession(path)
    assert session.get_modelmeta().custom_metadata_map["scale"] == "3"
    for shape in [(1, 3, 64, 64), (2, 3, 5, 33), (1, 3, 1, 70), (3, 3, 97, 2)]:
        image = torch.rand(shape)
        with torch.no_grad():
            expected = net(image).numpy()
        (result,) = session.run(None, {"image": image.numpy()})
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.slow
def test_half_precision_is_smaller_and_close(net, tmp_path):
    path = tmp_path / "half.onnx"
    agreement = export_onnx(net, path, half=True)
    assert 0 < agreement.difference < 2e-3
    assert onnxruntime.InferenceSession(path).get_inputs()[0].type == "tensor(float)"


def test_names_the_package_that_is_missing(net, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match="needs the package onnxscript; install it"):
        export_onnx(net, tmp_path / "net.onnx")
