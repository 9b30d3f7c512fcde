from pathlib import Path

import numpy as np
import pytest
import torch

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.archs.official_checkpoint import read_official_checkpoint
from basicsr_m2trans.errors import InputError

REFERENCE = Path(__file__).parents[1] / "data/reference"


def official(tmp_path, upscale=2, **changes):
    """A file as the authors' code writes it: DataParallel names, unused mean shifts, other entries beside."""
    arrays = np.load(REFERENCE / f"m2trans_small_x{upscale}.npz")
    weights = {f"module.{k.removeprefix('weights/')}": torch.from_numpy(arrays[k]) for k in arrays if "weights/" in k}
    for shift in ("sub_mean", "add_mean"):
        weights |= {f"module.{shift}.weight": torch.eye(3).view(3, 3, 1, 1), f"module.{shift}.bias": torch.zeros(3)}
    weights |= changes
    path = tmp_path / "official.pt"
    torch.save({"epoch": 3, "model_state_dict": {k: v for k, v in weights.items() if v is not None}}, path)
    return path, arrays


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_settings_and_weights(upscale, tmp_path):
    path, arrays = official(tmp_path, upscale)
    weights, settings = read_official_checkpoint(path, num_block=2)
    channels = {"num_in_ch": 3, "num_out_ch": 3}
    assert settings == {"upscale": upscale, **channels, "num_feat": 16, "num_block": 2, "wavelet": "haar"}
    net = M2Trans(**settings).eval()
    net.load_state_dict(weights)
    with torch.no_grad():
        output = net(torch.from_numpy(arrays["input"]))
    torch.testing.assert_close(output, torch.from_numpy(arrays["output"]), atol=1e-5, rtol=0)


def test_ablation_without_wavelets(tmp_path):
    weights = M2Trans(3, num_in_ch=1, num_out_ch=2, num_feat=8, num_block=1, wavelet="none").state_dict()
    torch.save({"model_state_dict": weights}, tmp_path / "v1.pt")
    settings = read_official_checkpoint(tmp_path / "v1.pt", num_block=1)[1]
    assert settings["wavelet"] == "none"
    assert (settings["upscale"], settings["num_in_ch"], settings["num_out_ch"]) == (3, 1, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"module.body.1.attn2.rel_h": None}, r"missing: body\.1\.attn2\.rel_h"),
        ({"module.body.1.gate": torch.zeros(1)}, r"not part of M2Trans.*: body\.1\.gate"),
        ({"module.body.0.attn1.rel_w": torch.zeros(2, 2)}, r"body\.0\.attn1\.rel_w has shape \(2, 2\)"),
        ({"module.head.weight": None}, "head.weight"),
        ({"module.body.0.attn2.qkv_conv.weight": torch.zeros(3)}, "does not hold the weights of an M2Trans"),
        ({"module.head.bias": torch.full((16,), torch.nan)}, r"not finite floating-point numbers: head\.bias"),
        ({"module.head.bias": torch.zeros(16, dtype=torch.int64)}, r"not finite floating-point numbers: head\.bias"),
        ({"head.bias": torch.zeros(16)}, "twice, with and without `module.`"),
    ],
)
def test_what_does_not_fit_is_named(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_official_checkpoint(official(tmp_path, **changes)[0], num_block=2)


def test_other_checkpoints_are_told_apart(tmp_path):
    path = tmp_path / "ours.pth"
    torch.save({"params": {"a": torch.zeros(1)}}, path)
    with pytest.raises(InputError, match="no `model_state_dict`, but params"):
        read_official_checkpoint(path)


def test_a_file_that_lacks_its_last_block_is_not_a_shallower_network(tmp_path):
    with pytest.raises(InputError, match=r"missing: body\.2\.attn1\.rel_h"):
        read_official_checkpoint(official(tmp_path)[0], num_block=3)
