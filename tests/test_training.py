"""Training from the launcher's side: prepared phantoms, both losses, and exact resuming."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from basicsr_m2trans.data.phantom import write_phantoms
from basicsr_m2trans.data.prepare import prepare

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a prepared set of six small phantoms."""
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder / "images", 6, height=72, width=96)
    prepare(folder / "images", folder / "set", scales=(2,), workers=1)
    return folder / "set"


def train(folder, data, name, *arguments):
    """Run the launcher as a user does, on the demo's options made tiny."""
    opt = yaml.safe_load((ROOT / "options/demo/train_M2Trans_x2.yml").read_text())
    for dataset in opt["datasets"].values():
        dataset["dataroot_gt"], dataset["dataroot_lq"] = str(data / "HR.lmdb"), str(data / "LR_bicubic_X2.lmdb")
    opt["name"] = name
    opt["datasets"]["train"] |= {
        "captions": str(data / "captions.csv"),
        "batch_size_per_gpu": 2,
        "dataset_enlarge_ratio": 2,  # 6 iterations in an epoch: the interruption falls inside one
        "gt_size": 48,
    }
    opt["network_g"] |= {"num_feat": 8, "num_block": 1}
    opt["train"] |= {"total_iter": 20}
    opt["val"]["val_freq"] = 10
    opt["logger"] |= {"print_freq": 10, "save_checkpoint_freq": 10}
    file = folder / f"{name}.yml"
    file.write_text(yaml.safe_dump(opt))
    command = [sys.executable, "-m", "basicsr_m2trans.train", "-opt", str(file), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_resume_is_exact_to_the_bit(tmp_path, data):
    assert train(tmp_path, data, "whole").returncode == 0
    assert train(tmp_path, data, "parts", "--force_yml", "train:total_iter=10").returncode == 0
    resumed = train(tmp_path, data, "parts", "--auto_resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming training from epoch: 1, iter: 10" in resumed.stderr
    whole, parts = (
        torch.load(tmp_path / f"experiments/{name}/models/net_g_20.pth", weights_only=True)
        for name in ("whole", "parts")
    )
    for key in ("params", "params_ema"):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())
    # Both losses are in the log, and the last lines of both runs show the same values.
    last = [
        max(Path(tmp_path, "experiments", name).glob("*.log"), key=lambda path: path.stat().st_mtime).read_text()
        for name in ("whole", "parts")
    ]
    for log in last:
        for part in ("l_pix", "l_sem", "# psnr", "# ssim", "# fsim", "# gmsd"):
            assert part in log
    values = [log[log.rindex("l_pix") :].split()[1:4:2] for log in last]
    assert values[0] == values[1]


def test_missing_files_before_anything_is_written(tmp_path, data):
    result = train(
        tmp_path,
        tmp_path / "nowhere",
        "lost",
        "--force_yml",
        "train:semantic_opt:encoder=~",
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for part in ("HR.lmdb", "LR_bicubic_X2.lmdb", "captions.csv", "m2trans prepare"):
        assert part in result.stderr
    assert not (tmp_path / "experiments").exists()
    assert data.exists()
