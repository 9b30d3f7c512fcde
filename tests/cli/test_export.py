import pytest
import safetensors
import torch

from basicsr_m2trans import Upscaler
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.checkpoints.networks import build_network
from basicsr_m2trans.cli import main

SETTINGS = {"upscale": 2, "num_feat": 8, "num_block": 1}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "net_g_latest.pth"
    torch.save(
        {"params": M2Trans(**SETTINGS).state_dict(), "network_g": {"type": "M2Trans"} | SETTINGS},
        path,
    )
    return str(path)


def test_safetensors(checkpoint, tmp_path, capsys):
    out = tmp_path / "net.safetensors"
    notes = ["--note", "data=phantoms", "--note", "licence=Apache-2.0"]
    assert (
        main(["export", checkpoint, "--format", "safetensors", "--fp16", *notes, "-o", str(out)])
        == 0
    )
    assert "numbers and the network's settings" in capsys.readouterr().out
    assert Upscaler.from_checkpoint(out).scale == 2
    with safetensors.safe_open(out, framework="pt") as file:
        assert file.get_tensor("head.weight").dtype == torch.float16
        assert file.metadata()["data"] == "phantoms"


def test_torchscript_prints_difference_and_speed(checkpoint, tmp_path, capsys):
    out = tmp_path / "net.pt"
    assert main(["export", checkpoint, "--format", "torchscript", "-o", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{out}: ")
    assert "largest difference from PyTorch on 3 sizes: " in lines[0]
    assert "times as fast" in lines[1]
    assert torch.jit.load(out)(torch.rand(1, 3, 9, 5)).shape == (1, 3, 18, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "onnx", "-o", "net.pt"], "must end in .onnx"),
        (
            ["--format", "torchscript", "--fp16", "-o", "net.pt"],
            "--fp16 goes with --format onnx or safetensors",
        ),
        (
            ["--format", "onnx", "--note", "a=b", "-o", "net.onnx"],
            "--note goes with --format safetensors",
        ),
        (
            ["--format", "safetensors", "--note", "ab", "-o", "net.safetensors"],
            "--note: write it as KEY=VALUE",
        ),
        (
            ["--format", "safetensors", "--note", "use=all", "-o", "net.safetensors"],
            "the file says these itself",
        ),
        (["--format", "torchscript", "--scale", "3", "-o", "net.pt"], "upscales x2"),
    ],
)
def test_mistakes_write_nothing(checkpoint, tmp_path, monkeypatch, capsys, arguments, message):
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["export", checkpoint, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_another_network_is_refused(tmp_path, capsys):
    settings = {
        "type": "EDSR",
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 4,
        "num_block": 1,
        "upscale": 2,
    }
    source, out = tmp_path / "edsr.pth", tmp_path / "net.pt"
    torch.save(
        {"params": build_network(settings, source).state_dict(), "network_g": settings}, source
    )
    assert main(["export", str(source), "--format", "torchscript", "-o", str(out)]) == 2
    assert "only M2Trans can be exported with free image sizes, not EDSR" in capsys.readouterr().err
    assert not out.exists()
