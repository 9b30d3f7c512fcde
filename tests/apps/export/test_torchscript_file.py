import pytest
import torch

from basicsr_m2trans.apps.export import export_torchscript, torchscript_file
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.utils.errors import InputError

HYBRID = {
    "norm": "none",
    "bias": False,
    "num_res_block": 2,
    "reconstruction": "conv",
    "global_skip": True,
}


@pytest.mark.parametrize(
    ("upscale", "settings"),
    [(2, {}), (3, {"global_skip": True}), (4, {}), (2, HYBRID), (4, HYBRID)],
    ids=str,
)
def test_one_file_upscales_images_of_every_size(tmp_path, upscale, settings):
    torch.manual_seed(0)
    net = M2Trans(upscale, num_feat=8, num_block=1, **settings).eval()
    # With the skip it starts at 0, and the result would be that of the skip alone.
    last = [layer for layer in net.tail if isinstance(layer, torch.nn.Conv2d)][-1]
    torch.nn.init.normal_(last.weight, std=0.05)
    path = tmp_path / "net.pt"
    assert export_torchscript(net, path).difference < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt"]
    loaded = torch.jit.load(path)
    for shape in [(1, 3, 64, 64), (2, 3, 5, 33), (1, 3, 1, 70), (3, 3, 97, 2)]:
        image = torch.rand(shape)
        with torch.no_grad():
            assert torch.allclose(loaded(image), net(image), atol=1e-5)


def test_a_file_that_differs_is_not_left(tmp_path, monkeypatch):
    monkeypatch.setattr(torchscript_file, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match=r"net\.pt was not written"):
        export_torchscript(M2Trans(2, num_feat=8, num_block=1).eval(), tmp_path / "net.pt")
    assert list(tmp_path.iterdir()) == []
