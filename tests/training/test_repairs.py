"""What is replaced in BasicSR while a run lasts, and resuming with its own trainer."""

import importlib
import pkgutil
import socket
import sys
import types

import cv2
import numpy as np
import pytest
import torch
import yaml

from basicsr_m2trans import compat, register
from basicsr_m2trans.models.training_options import TrainingOptions
from basicsr_m2trans.models.training_run import TrainingRun
from basicsr_m2trans.training.launch import run_pipeline
from basicsr_m2trans.utils.errors import InputError


def objects_of_basicsr():
    """Every attribute of BasicSR's modules and of their classes, by its path."""
    import basicsr

    found = {}
    for module in pkgutil.walk_packages(basicsr.__path__, "basicsr."):
        if "ops" in module.name or module.name.endswith(("setup", "version")):
            continue  # compiled parts, which are not installed
        names = vars(importlib.import_module(module.name))
        for name, value in list(names.items()):
            found[module.name, name] = value
            if isinstance(value, type) and value.__module__.startswith("basicsr."):
                found |= {(module.name, name, each): item for each, item in vars(value).items()}
    return {
        key: value
        for key, value in found.items()
        if not (len(key) == 2 and key[1].startswith("__"))
        and not isinstance(value, types.ModuleType)
    }


def replaced(before):
    return {
        ".".join(key) for key, value in objects_of_basicsr().items() if before.get(key) is not value
    }


def test_registering_replaces_nothing_and_a_run_four_objects():
    compat.apply()
    before = objects_of_basicsr()
    assert len(before) > 1000
    register()
    assert replaced(before) == set()

    from basicsr_m2trans.training.repairs import repaired_trainer

    with repaired_trainer(TrainingRun()):
        assert replaced(before) == {
            "basicsr.train.EnlargedSampler",
            "basicsr.train.create_train_val_dataloader",
            "basicsr.train.load_resume_state",
            "basicsr.utils.dist_util._init_dist_pytorch",
        }
    assert replaced(before) == set()


@pytest.fixture
def _repaired():
    register()
    from basicsr_m2trans.training.repairs import repaired_trainer

    with repaired_trainer(TrainingRun()):
        yield


def prepared_by_a_model(net, dist):
    """What `M2TransModel` makes of a network before it trains it."""
    from basicsr_m2trans.models.m2trans_model import M2TransModel

    model = object.__new__(M2TransModel)
    model.opt, model.device = {"num_gpu": 0, "dist": dist}, torch.device("cpu")
    model.training_options = TrainingOptions()
    return model.model_to_device(net)


@pytest.mark.usefixtures("_repaired")
def test_processes_without_gpus_use_gloo(monkeypatch):
    from basicsr.utils import dist_util

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {
        "RANK": 0,
        "WORLD_SIZE": 1,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    dist_util._init_dist_pytorch("nccl")
    try:
        assert torch.distributed.get_backend() == "gloo"
        net = prepared_by_a_model(torch.nn.Linear(2, 2), dist=True)
        assert isinstance(net, torch.nn.parallel.DistributedDataParallel)
        assert net.device_ids is None
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_repaired")
def test_processes_with_gpus_are_left_to_basicsr(monkeypatch):
    from basicsr.utils import dist_util

    chosen = []
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend: chosen.append(backend)
    )
    dist_util._init_dist_pytorch("nccl")
    assert chosen == [1, "nccl"]


def test_single_process_model_is_not_wrapped():
    register()
    net = torch.nn.Linear(2, 2)
    assert prepared_by_a_model(net, dist=False) is net


def resume_options(root, **path):
    folder = root / "experiments" / "tiny"
    paths = {
        "training_states": str(folder / "training_states"),
        "models": str(folder / "models"),
        **path,
    }
    return {
        "name": "tiny",
        "auto_resume": "resume_state" not in path,
        "dist": False,
        "manual_seed": 0,
        "network_g": {},
        "path": paths,
    }


def save_state(root, iteration, epoch=0, network=True):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    compat.apply()
    from basicsr.models.lr_scheduler import MultiStepRestartLR

    scheduler = MultiStepRestartLR(optimizer, milestones=[2, 4])
    folder = root / "experiments" / "tiny"
    for name in ("training_states", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    state = {"epoch": epoch, "iter": iteration, "optimizers": [optimizer.state_dict()]}
    torch.save(
        {**state, "schedulers": [scheduler.state_dict()]},
        folder / "training_states" / f"{iteration}.state",
    )
    if network:
        torch.save({"params": {}}, folder / "models" / f"net_g_{iteration}.pth")
    return folder / "training_states" / f"{iteration}.state"


def load(opt):
    from basicsr_m2trans.training.training_start import TrainingStart

    return TrainingStart(None, TrainingRun()).load_resume_state(opt)


def test_auto_resume_takes_the_last_state_of_the_experiment(tmp_path, monkeypatch):
    for iteration in (8, 9, 10):
        path = save_state(tmp_path, iteration, epoch=2)
    path.with_name("copy of 11.state").write_bytes(b"")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    opt = resume_options(tmp_path)
    state = load(opt)
    assert (state["epoch"], state["iter"]) == (2, 10)
    assert state["optimizers"][0]["state"][0]["exp_avg"].device.type == "cpu"
    assert dict(state["schedulers"][0]["milestones"]) == {2: 1, 4: 1}
    assert opt["path"]["resume_state"] == str(path)
    assert opt["path"]["pretrain_network_g"] == str(path.parents[1] / "models" / "net_g_10.pth")


def test_new_run_has_no_resume_state(tmp_path):
    compat.apply()
    assert load(resume_options(tmp_path)) is None
    assert load(resume_options(tmp_path, resume_state=None)) is None


def test_missing_resume_state_is_named(tmp_path):
    compat.apply()
    with pytest.raises(InputError, match=r"path: resume_state: .*/7.state does not exist; give"):
        load(resume_options(tmp_path, resume_state=str(tmp_path / "7.state")))


@pytest.mark.parametrize("size", [0, 100])
def test_torn_resume_state_is_named(tmp_path, size):
    path = save_state(tmp_path, 7)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"7.state cannot be read: .*remove it"):
        load(resume_options(tmp_path))


def test_network_given_as_resume_state_is_refused(tmp_path):
    path = save_state(tmp_path, 7).parents[1] / "models" / "net_g_7.pth"
    with pytest.raises(InputError, match=r"net_g_7.pth is not a training state"):
        load(resume_options(tmp_path, resume_state=str(path)))


def test_state_without_its_network_is_refused(tmp_path):
    save_state(tmp_path, 7, network=False)
    with pytest.raises(InputError, match=r"its network .*net_g_7.pth does not exist"):
        load(resume_options(tmp_path))


def write_training(root, ratio, dataset_type):
    """Write 5 image pairs and an option file that trains a small EDSR on them; return the file's
    path.
    """
    rng = np.random.default_rng(0)
    for folder, size in (("gt", 24), ("lq", 12)):
        (root / folder).mkdir(parents=True)
        for number in range(5):
            image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            cv2.imwrite(str(root / folder / f"{number}.png"), image)
    whole = (
        dataset_type == "PairedImageDataset"
    )  # its crops come from Python's generator and cannot be resumed
    train_set = {
        "name": "tiny",
        "type": dataset_type,
        "dataroot_gt": str(root / "gt"),
        "dataroot_lq": str(root / "lq"),
        "io_backend": {"type": "disk"},
        "gt_size": 24 if whole else 16,
        "use_hflip": not whole,
        "use_rot": not whole,
        "num_worker_per_gpu": 0,
        "batch_size_per_gpu": 2,
        "dataset_enlarge_ratio": ratio,
    }
    network = {
        "type": "EDSR",
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 4,
        "num_block": 1,
        "upscale": 2,
    }
    options = {
        "name": "tiny",
        "model_type": "SRModel",
        "scale": 2,
        "num_gpu": "auto",
        "manual_seed": 3,
        "datasets": {"train": train_set},
        "network_g": network,
        "path": {"pretrain_network_g": None, "resume_state": None},
        "train": {
            "ema_decay": 0.5,
            "optim_g": {"type": "Adam", "lr": 0.01},
            "scheduler": {"type": "MultiStepLR", "milestones": [2, 4], "gamma": 0.5},
            "total_iter": 6,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False},
    }
    path = root / "tiny.yml"
    path.write_text(yaml.safe_dump(options))
    return path


@pytest.mark.parametrize("dataset_type", ["PairedImageDataset", "PairedImageTextDataset"])
@pytest.mark.parametrize(
    ("ratio", "stop"), [(1, 3), (1, 4), (7, 3)], ids=["inside", "at the end of", "upscaled"]
)
def test_resumed_training_equals_uninterrupted_training(
    tmp_path, monkeypatch, ratio, stop, dataset_type
):
    option_file = write_training(tmp_path, ratio, dataset_type)
    opt = yaml.safe_load(option_file.read_text())
    monkeypatch.chdir(tmp_path)

    def train(root, *arguments, total_iter=6):
        opt["train"]["total_iter"] = total_iter
        option_file.write_text(yaml.safe_dump(opt))
        monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(option_file), *arguments])
        (tmp_path / root).mkdir(exist_ok=True)
        run_pipeline("train", str(tmp_path / root))
        files = (tmp_path / root / "experiments" / "tiny" / "models").glob("net_g_?.pth")
        return {path.name: torch.load(path, weights_only=True) for path in files}

    whole = train("whole")
    assert len(train("parts", total_iter=stop)) == stop
    parts = train("parts", "--auto_resume")
    assert whole.keys() == parts.keys() == {f"net_g_{iteration}.pth" for iteration in range(1, 7)}
    for name, networks in whole.items():
        for key in ("params", "params_ema"):
            for parameter, values in networks[key].items():
                assert torch.equal(values, parts[name][key][parameter]), (name, key, parameter)
