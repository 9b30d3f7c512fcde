import json

import pytest
import safetensors
import torch

from basicsr_m2trans import Upscaler
from basicsr_m2trans.apps.export import export_safetensors
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.checkpoints.networks import load_network
from basicsr_m2trans.utils.errors import InputError

SETTINGS = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1, "img_range": 2.0}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return M2Trans(**{name: value for name, value in SETTINGS.items() if name != "type"}).eval()


def test_round_trip_with_settings_of_the_checkpoint(tmp_path, net):
    torch.save({"params_ema": net.state_dict(), "network_g": SETTINGS}, tmp_path / "net.pth")
    count = export_safetensors(tmp_path / "net.pth", tmp_path / "new/net.safetensors")
    assert count == sum(parameter.numel() for parameter in net.parameters())
    image = torch.rand(1, 3, 20, 30)
    upscaler = Upscaler.from_checkpoint(tmp_path / "new/net.safetensors")
    with torch.no_grad():
        assert torch.allclose(upscaler(image), net(image), atol=1e-5)


def test_settings_of_an_option_file(tmp_path, net):
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    options = tmp_path / "net.yml"
    options.write_text(f"network_g: {json.dumps(SETTINGS)}\n")
    export_safetensors(tmp_path / "net.pth", tmp_path / "net.safetensors", options=options)
    with safetensors.safe_open(tmp_path / "net.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["network_g"]) == SETTINGS
        assert torch.equal(file.get_tensor("head.weight"), net.head.weight)


def test_half_precision_and_notes(tmp_path, net):
    torch.save({"params": net.state_dict(), "network_g": SETTINGS}, tmp_path / "net.pth")
    path = tmp_path / "net.safetensors"
    export_safetensors(tmp_path / "net.pth", path, half=True, notes={"licence": "CC0"})
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata()["licence"] == "CC0"
        assert torch.equal(file.get_tensor("head.weight"), net.head.weight.half())
    read = load_network(path).network
    assert torch.equal(read.head.weight, net.head.weight.half().float())

    export_safetensors(path, tmp_path / "again.safetensors", notes={"data": "phantoms"})
    with safetensors.safe_open(tmp_path / "again.safetensors", framework="pt") as file:
        assert (file.metadata()["licence"], file.metadata()["data"]) == ("CC0", "phantoms")


def test_weights_too_large_for_half_precision(tmp_path, net):
    torch.save(
        {"params": {**net.state_dict(), "head.bias": torch.full((8,), 1e5)}, "network_g": SETTINGS},
        tmp_path / "net.pth",
    )
    with pytest.raises(
        InputError, match=r"net.pth: weights of head.bias do not fit into float16; leave --fp16 out"
    ):
        export_safetensors(tmp_path / "net.pth", tmp_path / "net.safetensors", half=True)
    assert not (tmp_path / "net.safetensors").exists()


def test_unknown_settings_write_nothing(tmp_path, net):
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    with pytest.raises(InputError, match="--scale and --arch"):
        export_safetensors(tmp_path / "net.pth", tmp_path / "net.safetensors")
    assert not (tmp_path / "net.safetensors").exists()
