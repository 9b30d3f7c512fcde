"""Training from the launcher's side, as a user does it: prepared phantoms, both losses, and exact resuming."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from basicsr_m2trans import demo, register
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.data.phantom import write_phantoms
from basicsr_m2trans.data.prepare import prepare
from basicsr_m2trans.errors import InputError
from basicsr_m2trans.options import check_options

ROOT = Path(__file__).parents[1]
NETWORK = {"num_feat": 8, "num_block": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a prepared set of six small phantoms."""
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder / "images", 6, height=72, width=96)
    prepare(folder / "images", folder / "set", scales=(2,), workers=1)
    return folder / "set"


def tiny_options(data, name):
    """The demo's options, made tiny: 6 iterations in an epoch, so that iteration 10 is inside one."""
    opt = yaml.safe_load((ROOT / "options/demo/train_M2Trans_x2.yml").read_text())
    for dataset in opt["datasets"].values():
        dataset["dataroot_gt"], dataset["dataroot_lq"] = str(data / "HR.lmdb"), str(data / "LR_bicubic_X2.lmdb")
    opt["name"] = name
    opt["datasets"]["train"] |= {
        "captions": str(data / "captions.csv"),
        "batch_size_per_gpu": 2,
        "dataset_enlarge_ratio": 2,
        "gt_size": 48,
    }
    opt["network_g"] |= NETWORK
    opt["train"] |= {"total_iter": 20}
    opt["val"]["val_freq"] = 10
    opt["logger"] |= {"print_freq": 10, "save_checkpoint_freq": 10}
    return opt


def train(folder, opt, *arguments, processes=1):
    """Run the launcher in `folder`."""
    file = folder / f"{opt['name']}.yml"
    file.write_text(yaml.safe_dump(opt))
    start = ["-m"] if processes == 1 else ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "-m"]
    command = [sys.executable, *start, "basicsr_m2trans.train", "-opt", str(file), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def weights(folder, name, iteration):
    return torch.load(folder / f"experiments/{name}/models/net_g_{iteration}.pth", weights_only=True)


@pytest.mark.slow
def test_resume_is_exact_to_the_bit(tmp_path, data):
    assert train(tmp_path, tiny_options(data, "whole")).returncode == 0
    assert train(tmp_path, tiny_options(data, "parts"), "--force_yml", "train:total_iter=10").returncode == 0
    resumed = train(tmp_path, tiny_options(data, "parts"), "--auto_resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming training from epoch: 1, iter: 10" in resumed.stderr
    whole, parts = (weights(tmp_path, name, 20) for name in ("whole", "parts"))
    for key in ("params", "params_ema"):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())
    # Both losses are in the log, and the last lines of both runs show the same values.
    logs = [
        max(Path(tmp_path, "experiments", name).glob("*.log"), key=lambda path: path.stat().st_mtime).read_text()
        for name in ("whole", "parts")
    ]
    for log in logs:
        for part in ("l_pix", "l_sem", "# psnr", "# ssim", "# fsim", "# gmsd"):
            assert part in log
    values = [log[log.rindex("l_pix") :].split()[1:4:2] for log in logs]
    assert values[0] == values[1]


@pytest.mark.slow
def test_two_processes_train_like_one_with_both_losses(tmp_path, data):
    """torchrun with gloo: the weights of one process with the doubled batch, l_sem summed over all images."""
    results = {}
    for name, processes in (("one", 1), ("two", 2)):
        opt = tiny_options(data, name)
        opt["datasets"]["train"]["batch_size_per_gpu"] = 2 // processes
        opt["datasets"]["train"]["num_worker_per_gpu"] = 0
        opt["train"] |= {"total_iter": 4}
        # The whole image is the only patch: random crops would differ between one process and two.
        opt["train"]["semantic_opt"] |= {"num_patches": 1, "loss_weight": 10.0}
        opt["logger"] |= {"print_freq": 4, "save_checkpoint_freq": 4}
        opt["val"]["val_freq"] = 100
        launcher = ["--launcher", "pytorch"] if processes > 1 else []
        result = train(tmp_path, opt, *launcher, processes=processes)
        assert result.returncode == 0, result.stderr
        log = result.stderr[result.stderr.rindex("l_pix:") :].split()
        results[name] = weights(tmp_path, name, 4)["params"], float(log[1]), float(log[3])
    for name, value in results["one"][0].items():
        torch.testing.assert_close(results["two"][0][name], value, atol=2e-4, rtol=0, msg=name)
    assert results["two"][1:] == pytest.approx(results["one"][1:], rel=1e-2)


def test_missing_files_before_anything_is_written(tmp_path, data):
    opt = tiny_options(data / "nowhere", "lost")
    result = train(tmp_path, opt)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for part in ("HR.lmdb", "LR_bicubic_X2.lmdb", "captions.csv", "m2trans prepare"):
        assert part in result.stderr
    assert not (tmp_path / "experiments").exists()


def test_options_that_do_not_fit_before_anything_is_written(tmp_path, data):
    opt = tiny_options(data, "odd")
    opt["network_g"]["upscale"] = 3
    opt["train"] |= {"pixel_opt": None, "semantic_opt": {"type": "ImageTextSemanticLoss", "encoder": "MedClip"}}
    opt["datasets"]["val"]["io_backend"] = "lmdb"
    result = train(tmp_path, opt)
    assert result.returncode == 2
    for part in ("scale is 2, but network_g: upscale is 3", "pixel_opt", "'MedClip' is unknown", "val: io_backend"):
        assert part in result.stderr
    assert not (tmp_path / "experiments").exists()


def test_converted_weights_are_tested(tmp_path, data):
    """`m2trans convert`, then `options/test_M2Trans_x2.yml` with it."""
    official = {f"module.{name}": value for name, value in M2Trans(2, **NETWORK).state_dict().items()}
    torch.save({"model_state_dict": official}, tmp_path / "official.pt")
    convert = [sys.executable, "-m", "basicsr_m2trans.cli", "convert", "--num-block", "1", "official.pt", "out.pth"]
    subprocess.run(convert, cwd=tmp_path, check=True, capture_output=True)
    opt = yaml.safe_load((ROOT / "options/test_M2Trans_x2.yml").read_text())
    opt["datasets"]["test_1"] |= {
        "dataroot_gt": str(data / "HR.lmdb"),
        "dataroot_lq": str(data / "LR_bicubic_X2.lmdb"),
    }
    opt["network_g"] |= NETWORK
    opt["path"]["pretrain_network_g"] = "out.pth"
    (tmp_path / "test.yml").write_text(yaml.safe_dump(opt))
    command = [sys.executable, "-m", "basicsr_m2trans.test", "-opt", "test.yml"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "# gmsd" in result.stderr
    images = list((tmp_path / "results/test_M2Trans_x2/visualization/ultrasound_val").glob("*.png"))
    assert len(images) == 6


def test_stock_builder_makes_the_data_set(data):
    register()
    from basicsr.data import build_dataset

    opt = tiny_options(data, "stock")["datasets"]["train"] | {"phase": "train", "scale": 2}
    item = build_dataset(opt)[0]
    assert item["gt"].shape == (3, 48, 48)
    assert "ultrasound" in item["text"]


@pytest.mark.slow
def test_the_demo_runs_and_ends_with_its_figures(tmp_path, monkeypatch, capfd):
    """The whole demo with two images and a few iterations, in a folder laid out like the project's."""
    shutil.copytree(ROOT / "basicsr", tmp_path / "basicsr", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "options/demo", tmp_path / "options/demo")
    file = tmp_path / demo.TRAIN_OPTIONS
    opt = yaml.safe_load(file.read_text())
    opt["train"]["total_iter"] = 8
    opt["datasets"]["train"] |= {"batch_size_per_gpu": 2, "num_worker_per_gpu": 0}
    opt["logger"] |= {"print_freq": 2, "save_checkpoint_freq": 2}
    file.write_text(yaml.safe_dump(opt))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "SPLITS", {"train": (2, 0), "val": (1, 1000)})
    demo.run_demo()
    out, err = capfd.readouterr()
    assert "Resuming training from epoch: 0, iter: 4" in err
    rows = {row.split()[0]: row.split()[1:] for row in out[out.index("=== Done") :].splitlines() if row}
    assert len(rows["bicubic"]) == len(rows["M2Trans"]) == 4
    assert (tmp_path / "experiments/demo_M2Trans_x2/comparison.png").is_file()


def test_the_demo_needs_the_project_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="run the demo in the project's folder"):
        demo.run_demo()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"optim_g": {"type": "Adam", "lr": "1e-4"}}}, "train: optim_g: lr is the text '1e-4'"),
        ({"train": {"total_iter": 2000}}, "total_iter 2000 goes beyond scheduler: periods [1000]"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"val": "/home/me"}, "val must be a section"),
        ({"path": {"pretrain_network_g": "official.pt"}}, "m2trans convert official.pt"),
        ({"path": {"pretrain_network_g": "other.pth"}}, "other.pth has no entry 'params'"),
        ({"path": {"pretrain_network_g": "text.pth"}}, "text.pth cannot be read"),
    ],
)
def test_options_that_would_fail_later(changes, message, tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model_state_dict": {}}, "official.pt")
    torch.save({"weights": {}}, "other.pth")
    Path("text.pth").write_text("not found")
    opt = tiny_options(data, "later")
    for key, value in changes.items():
        opt[key] = opt[key] | value if isinstance(value, dict) else value
    Path("odd.yml").write_text(yaml.safe_dump(opt))
    monkeypatch.setattr(sys, "argv", ["train.py", "-opt", "odd.yml"])
    with pytest.raises(InputError) as error:
        check_options("train", str(tmp_path))
    assert message in str(error.value)
