import subprocess
import sys
from pathlib import Path

import pytest
import torch

from basicsr_m2trans import compat
from basicsr_m2trans.apps.export import export_safetensors
from basicsr_m2trans.archs import M2Trans

compat.apply()
spandrel = pytest.importorskip("spandrel")
HYBRID = {
    "norm": "none",
    "bias": False,
    "num_res_block": 2,
    "reconstruction": "conv",
    "global_skip": True,
}


def test_the_lines_of_the_documentation_in_a_process_of_their_own():
    text = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")
    code = next(
        block for block in text.split("```")[1::2] if "add_to_spandrel()" in block
    ).removeprefix("python")
    lines, load = code.strip().rsplit("\n", 1)
    assert load.startswith("model = spandrel.ModelLoader()")
    subprocess.run(
        [sys.executable, "-c", f"{lines}\nprint(spandrel.ModelLoader())"],
        check=True,
        capture_output=True,
    )


@pytest.fixture(autouse=True)
def known():
    from basicsr_m2trans.checkpoints.spandrel_support import add_to_spandrel

    add_to_spandrel()
    add_to_spandrel()


@pytest.mark.parametrize(
    "settings",
    [
        {"upscale": 2, "num_feat": 8, "num_block": 2},
        {"upscale": 3, "num_feat": 16, "num_block": 1, "wavelet": "none"},
        {
            "upscale": 4,
            "num_feat": 16,
            "num_block": 1,
            "num_in_ch": 1,
            "num_out_ch": 1,
            "global_skip": True,
        },
        *({"upscale": upscale, "num_feat": 8, "num_block": 2, **HYBRID} for upscale in (2, 3, 4)),
        {"upscale": 2, "num_feat": 8, "num_block": 1, "num_res_block": 1, "bias": False},
    ],
)
def test_loads_checkpoints_and_safetensors(tmp_path, settings):
    net = M2Trans(**settings).eval()
    checkpoint, exported = tmp_path / "net_g_latest.pth", tmp_path / "net.safetensors"
    torch.save(
        {"params": net.state_dict(), "network_g": {"type": "M2Trans"} | settings}, checkpoint
    )
    export_safetensors(checkpoint, exported)
    image = torch.rand(1, settings.get("num_in_ch", 3), 40, 33)
    with torch.no_grad():
        expected = net(image)
    for path in (checkpoint, exported):
        model = spandrel.ModelLoader().load_from_file(path)
        assert model.architecture.id == "M2Trans"
        channels = settings.get("num_in_ch", 3), settings.get("num_out_ch", 3)
        assert (model.scale, model.input_channels, model.output_channels) == (
            settings["upscale"],
            *channels,
        )
        assert model.tags == [f"{settings['num_feat']}nf", f"{settings['num_block']}nb"]
        # Tiles would have statistics of their own.
        normalised = settings.get("norm") != "none"
        tiling = spandrel.ModelTiling.DISCOURAGED if normalised else spandrel.ModelTiling.SUPPORTED
        assert (model.purpose, model.tiling) == ("SR", tiling)
        assert torch.equal(model(image), expected)


def test_loads_the_authors_checkpoints(tmp_path):
    net = M2Trans(4, num_feat=8, num_block=1)
    weights = net.state_dict() | {"sub_mean.weight": torch.eye(3), "add_mean.weight": torch.eye(3)}
    torch.save(
        {"model_state_dict": {f"module.{k}": v for k, v in weights.items()}},
        tmp_path / "official.pt",
    )
    model = spandrel.ModelLoader().load_from_file(tmp_path / "official.pt")
    assert model.scale == 4
    assert all(
        torch.equal(value, weights[name]) for name, value in model.model.state_dict().items()
    )


def test_a_scale_that_no_weight_tells_is_not_guessed():
    net = M2Trans(4, num_out_ch=1, num_feat=8, num_block=1, reconstruction="conv")
    with pytest.raises(
        ValueError, match="num_out_ch other than num_in_ch: load it by its own package"
    ):
        spandrel.ModelLoader().load_from_state_dict(net.state_dict())


def test_other_networks_stay_what_they_are():
    from spandrel.architectures.SwinIR import SwinIR

    network = SwinIR(
        depths=[1], num_heads=[2], embed_dim=8, window_size=4, upscale=2, upsampler="pixelshuffle"
    )
    assert (
        spandrel.ModelLoader().load_from_state_dict(network.state_dict()).architecture.id
        == "SwinIR"
    )
