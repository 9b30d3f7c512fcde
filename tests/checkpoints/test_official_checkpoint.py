import re
from pathlib import Path

import numpy as np
import pytest
import torch

from basicsr_m2trans.archs import ELAN, ESRT, M2Trans
from basicsr_m2trans.checkpoints.official_checkpoint import read_official_checkpoint
from basicsr_m2trans.utils.errors import InputError

REFERENCE = Path(__file__).parents[1] / "data/reference"
CHANNELS = {"num_in_ch": 3, "num_out_ch": 3}


def reference_weights(method, upscale):
    """The weights of an official network, under the official names."""
    arrays = np.load(REFERENCE / f"{method}_small_x{upscale}.npz")
    return {
        key.removeprefix("weights/"): torch.from_numpy(arrays[key])
        for key in arrays
        if "weights/" in key
    }, arrays


def official(tmp_path, upscale=2, **changes):
    """A file as the authors' code writes it: DataParallel names, unused mean shifts, other entries
    beside.
    """
    weights, arrays = reference_weights("m2trans", upscale)
    weights = {f"module.{key}": value for key, value in weights.items()}
    for shift in ("sub_mean", "add_mean"):
        weights |= {
            f"module.{shift}.weight": torch.eye(3).view(3, 3, 1, 1),
            f"module.{shift}.bias": torch.zeros(3),
        }
    weights |= changes
    path = tmp_path / "official.pt"
    torch.save(
        {"epoch": 3, "model_state_dict": {k: v for k, v in weights.items() if v is not None}}, path
    )
    return path, arrays


def assert_equal_outputs(net, weights, arrays):
    net.eval().load_state_dict(weights)
    with torch.no_grad():
        output = net(torch.from_numpy(arrays["input"]))
    torch.testing.assert_close(output, torch.from_numpy(arrays["output"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_m2trans(upscale, tmp_path):
    path, arrays = official(tmp_path, upscale)
    weights, network_g = read_official_checkpoint(path, num_block=2)
    settings = {"upscale": upscale, **CHANNELS, "num_feat": 16, "num_block": 2, "wavelet": "haar"}
    assert network_g == {"type": "M2Trans", **settings}
    assert_equal_outputs(M2Trans(**settings), weights, arrays)


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_elan(upscale, tmp_path):
    named, arrays = reference_weights("elan", upscale)
    torch.save(
        {"model_state_dict": {f"module.{k}": v for k, v in named.items()}}, tmp_path / "elan.pt"
    )
    weights, network_g = read_official_checkpoint(tmp_path / "elan.pt")
    settings = {
        "upscale": upscale,
        **CHANNELS,
        "num_feat": 30,
        "num_block": 4,
        "num_share": 1,
        "expansion": 2,
    }
    assert network_g == {"type": "ELAN", **settings, "window_sizes": [4, 8, 16], "img_range": 255.0}
    assert_equal_outputs(ELAN(**settings), weights, arrays)


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_esrt(upscale, tmp_path):
    """Its training code writes the weights alone."""
    named, arrays = reference_weights("esrt", upscale)
    torch.save(named, tmp_path / "esrt.pth")
    weights, network_g = read_official_checkpoint(tmp_path / "esrt.pth")
    settings = {"upscale": upscale, **CHANNELS, "num_feat": 16, "num_block": 1}
    assert network_g == {"type": "ESRT", **settings}
    assert set(named) - set(weights) == {
        name for name in named if re.search(r"encoder\d\.\w+\.weight1\.scale$", name)
    }
    assert_equal_outputs(ESRT(**settings), weights, arrays)


@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        (
            "elan",
            "body.1.modules_lfe.lfe_1.conv1.shift_conv.weight",
            r"missing: body\.1\.modules_lfe\.lfe_1",
        ),
        (
            "elan",
            "tail.0.weight",
            r"does not hold the weights of ELAN: KeyError\('tail\.0\.weight'\)",
        ),
        ("esrt", "body.0.attention.norm1.bias", r"missing: body\.0\.attention\.norm1\.bias"),
        (
            "esrt",
            "head.0.weight",
            r"does not hold the weights of ESRT: KeyError\('head\.0\.weight'\)",
        ),
    ],
)
def test_what_elan_and_esrt_lack_is_named(method, name, message, tmp_path):
    weights, _ = reference_weights(method, 2)
    del weights[name]
    torch.save(weights, tmp_path / "official.pt")
    with pytest.raises(InputError, match=message):
        read_official_checkpoint(tmp_path / "official.pt")


def test_ablation_without_wavelets(tmp_path):
    weights = M2Trans(
        3, num_in_ch=1, num_out_ch=2, num_feat=8, num_block=1, wavelet="none"
    ).state_dict()
    torch.save({"model_state_dict": weights}, tmp_path / "v1.pt")
    settings = read_official_checkpoint(tmp_path / "v1.pt", num_block=1)[1]
    assert settings["wavelet"] == "none"
    assert (settings["upscale"], settings["num_in_ch"], settings["num_out_ch"]) == (3, 1, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"module.body.1.attn2.rel_h": None}, r"missing: body\.1\.attn2\.rel_h"),
        ({"module.body.1.gate": torch.zeros(1)}, r"not part of M2Trans.*: body\.1\.gate"),
        (
            {"module.body.0.attn1.rel_w": torch.zeros(2, 2)},
            r"body\.0\.attn1\.rel_w has shape \(2, 2\)",
        ),
        ({"module.head.weight": None}, "head.weight"),
        (
            {"module.body.0.attn2.qkv_conv.weight": torch.zeros(3)},
            "does not hold the weights of M2Trans",
        ),
        (
            {"module.head.bias": torch.full((16,), torch.nan)},
            r"not finite floating-point numbers: head\.bias",
        ),
        (
            {"module.head.bias": torch.zeros(16, dtype=torch.int64)},
            r"not finite floating-point numbers: head\.bias",
        ),
        ({"head.bias": torch.zeros(16)}, "twice, with and without `module.`"),
    ],
)
def test_what_does_not_fit_is_named(changes, message, tmp_path):
    with pytest.raises(InputError, match=rf"(?s)official\.pt.*{message}"):
        read_official_checkpoint(official(tmp_path, **changes)[0], num_block=2)


def test_other_checkpoints_are_told_apart(tmp_path):
    path = tmp_path / "ours.pth"
    torch.save({"params": {"a": torch.zeros(1)}}, path)
    with pytest.raises(InputError, match="already has BasicSR's layout"):
        read_official_checkpoint(path)


def test_weights_of_other_networks_are_told_apart(tmp_path):
    path = tmp_path / "edsr.pt"
    torch.save({"conv_first.weight": torch.zeros(1)}, path)
    with pytest.raises(
        InputError, match=r"none of M2Trans, ELAN, ESRT.*begin with conv_first\.weight"
    ):
        read_official_checkpoint(path)


def test_a_file_that_lacks_its_last_block_is_not_a_shallower_network(tmp_path):
    with pytest.raises(InputError, match=r"missing: body\.2\.attn1\.rel_h"):
        read_official_checkpoint(official(tmp_path)[0], num_block=3)
