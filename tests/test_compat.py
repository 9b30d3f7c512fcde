"""Each repair where its defect is present and where it is absent, and resuming with BasicSR's own
trainer.
"""

import importlib
import socket
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from basicsr_m2trans import compat, register
from basicsr_m2trans.utils.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def run_python(code, *path):
    """Run `code` in a new interpreter that looks for modules in the folders of `path` first."""
    setup = f"import sys; sys.path[:0] = {[str(folder) for folder in (*path, ROOT)]!r}\n"
    result = subprocess.run(
        [sys.executable, "-c", setup + code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_apply_makes_basicsr_importable_and_is_idempotent():
    compat.apply()
    basicsr_train = importlib.import_module("basicsr.train")
    repaired = vars(basicsr_train).copy()
    compat.apply()
    assert vars(basicsr_train) == repaired
    assert basicsr_train.EnlargedSampler.__name__ == "ResumableSampler"


@pytest.mark.parametrize("found", [None, "1.4.1"])
def test_another_basicsr_is_refused(monkeypatch, found):
    def version(_name):
        if found is None:
            raise importlib.metadata.PackageNotFoundError
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(
        ImportError, match=rf"BasicSR 1.4.2 is needed, found {found or 'none'}; .*pip install"
    ):
        compat.require_basicsr()


def fake_torchvision(folder, code):
    package = folder / "torchvision"
    package.mkdir()
    (package / "part.py").write_text("")
    (package / "__init__.py").write_text(
        "from torch import library\nfrom torchvision import part\n" + code
    )


def test_missing_operators_are_declared(tmp_path):
    fake_torchvision(
        tmp_path, "library.register_fake('torchvision::nms')(lambda dets, scores, iou: dets)\n"
    )
    code = """
from basicsr_m2trans import compat
compat.declare_torchvision_operators()
compat.declare_torchvision_operators()
import torch, torchvision
assert torchvision.part is sys.modules["torchvision.part"]
print(torch.ops.torchvision.nms.default, torch.ops.torchvision.qnms.default)
"""
    assert run_python(code, tmp_path).split() == [
        "torchvision.nms.default",
        "torchvision.qnms.default",
    ]


def test_operators_are_left_alone_where_torchvision_imports(tmp_path):
    fake_torchvision(tmp_path, "")
    code = """
from basicsr_m2trans import compat
compat.declare_torchvision_operators()
import torch
print(hasattr(torch.ops.torchvision, "nms"))
"""
    assert run_python(code, tmp_path).strip() == "False"


def test_other_failures_of_torchvision_are_not_hidden(tmp_path):
    fake_torchvision(tmp_path, "raise RuntimeError('a broken file')\n")
    code = """
from basicsr_m2trans import compat
try:
    compat.declare_torchvision_operators()
except RuntimeError as error:
    print(error)
"""
    assert run_python(code, tmp_path) == "a broken file\n"


def test_removed_functional_tensor_is_provided(monkeypatch):
    compat.declare_torchvision_operators()
    functional = importlib.import_module("torchvision.transforms.functional")
    name = "torchvision.transforms.functional_tensor"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    compat.provide_functional_tensor()
    assert importlib.import_module(name).rgb_to_grayscale is functional.rgb_to_grayscale


def test_existing_functional_tensor_is_left_alone(monkeypatch):
    name = "torchvision.transforms.functional_tensor"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    compat.provide_functional_tensor()
    assert name not in sys.modules


def test_missing_distutils_is_provided(monkeypatch):
    monkeypatch.setitem(sys.modules, "distutils", None)
    monkeypatch.setitem(sys.modules, "distutils.version", None)
    compat.provide_distutils()
    version = importlib.import_module("distutils.version").LooseVersion
    assert version("0.28.0+cpu") >= version("0.9.0")
    assert not version("0.8.2") >= version("0.9.0")


def test_existing_distutils_is_left_alone(monkeypatch):
    existing = types.ModuleType("distutils.version")
    monkeypatch.setitem(sys.modules, "distutils", types.ModuleType("distutils"))
    monkeypatch.setitem(sys.modules, "distutils.version", existing)
    compat.provide_distutils()
    assert sys.modules["distutils.version"] is existing


@pytest.fixture
def registry():
    compat.apply()
    from basicsr.utils.registry import Registry

    registry = Registry("arch")
    for name in ("EDSR", "RCAN", "Wavelet_basicsr"):
        registry.register(type(name, (), {}))
    return registry


def test_unknown_name_raises_with_the_nearest_names(registry, capsys):
    with pytest.raises(KeyError) as caught:
        registry.get("edrs")
    assert isinstance(caught.value, InputError)
    assert str(caught.value).startswith("'edrs' is not a registered arch; nearest names: EDSR;")
    assert capsys.readouterr().out == ""


def test_unknown_name_like_no_other_raises_with_all_names(registry):
    with pytest.raises(KeyError, match="nearest names: EDSR, RCAN, Wavelet_basicsr"):
        registry.get("42")


def test_name_of_this_plugin_points_to_register(registry):
    with pytest.raises(KeyError, match=r"after `basicsr_m2trans.register\(\)`"):
        registry.get("M2Trans")
    registry.register(type("M2Trans", (), {"__module__": "basicsr_m2trans.archs.m2trans_arch"}))
    with pytest.raises(KeyError) as caught:
        registry.get("M2Tran")
    assert str(caught.value) == "'M2Tran' is not a registered arch; nearest names: M2Trans, RCAN"


def test_known_names_are_found_as_before(registry, capsys):
    assert registry.get("EDSR").__name__ == "EDSR"
    assert capsys.readouterr().out == ""
    assert registry.get("Wavelet").__name__ == "Wavelet_basicsr"
    assert capsys.readouterr().out == "Name Wavelet is not found, use name: Wavelet_basicsr!\n"


@pytest.fixture
def base_model():
    compat.apply()
    from basicsr.models.base_model import BaseModel

    return lambda dist: BaseModel({"num_gpu": 0, "is_train": True, "dist": dist})


def test_processes_without_gpus_use_gloo(monkeypatch, base_model):
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
        net = base_model(dist=True).model_to_device(torch.nn.Linear(2, 2))
        assert isinstance(net, torch.nn.parallel.DistributedDataParallel)
        assert net.device_ids is None
    finally:
        torch.distributed.destroy_process_group()


def test_processes_with_gpus_are_left_to_basicsr(monkeypatch):
    compat.apply()
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


def test_single_process_model_is_not_wrapped(base_model):
    net = torch.nn.Linear(2, 2)
    assert base_model(dist=False).model_to_device(net) is net


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
    return importlib.import_module("basicsr.train").load_resume_state(opt)


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
    ("ratio", "stop"), [(1, 3), (1, 4), (7, 3)], ids=["inside", "at the end of", "enlarged"]
)
def test_resumed_training_equals_uninterrupted_training(
    tmp_path, monkeypatch, ratio, stop, dataset_type
):
    register()
    option_file = write_training(tmp_path, ratio, dataset_type)
    monkeypatch.chdir(tmp_path)

    def train(root, *arguments):
        monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(option_file), *arguments])
        (tmp_path / root).mkdir(exist_ok=True)
        importlib.import_module("basicsr.train").train_pipeline(str(tmp_path / root))
        files = (tmp_path / root / "experiments" / "tiny" / "models").glob("net_g_?.pth")
        return {path.name: torch.load(path, weights_only=True) for path in files}

    whole = train("whole")
    assert len(train("parts", "--force_yml", f"train:total_iter={stop}")) == stop
    parts = train("parts", "--auto_resume")
    assert whole.keys() == parts.keys() == {f"net_g_{iteration}.pth" for iteration in range(1, 7)}
    for name, networks in whole.items():
        for key in ("params", "params_ema"):
            for parameter, values in networks[key].items():
                assert torch.equal(values, parts[name][key][parameter]), (name, key, parameter)


def test_older_folders_are_kept_whatever_the_clock(tmp_path, monkeypatch, capsys):
    """Three starts in one second of the clock."""
    compat.apply()
    import basicsr.train
    from basicsr.utils import misc

    monkeypatch.setattr(misc, "get_time_str", lambda: "20260102_030405")
    for content in ("first", "second", "third"):
        basicsr.train.mkdir_and_rename(str(tmp_path / "run"))
        (tmp_path / "run/file").write_text(content)
    kept = {path.name: (path / "file").read_text() for path in tmp_path.iterdir()}
    archived = "run_archived_20260102_030405"
    assert kept == {archived: "first", f"{archived}_2": "second", "run": "third"}
    assert (
        capsys.readouterr().out.splitlines()[-1].endswith(f"Rename it to {tmp_path}/{archived}_2")
    )


def test_times_of_iterations_do_not_follow_a_clock_that_is_set_back(monkeypatch):
    compat.apply()
    from basicsr.utils.logger import AvgTimer

    timer = AvgTimer()
    monkeypatch.setattr("time.time", lambda: 0.0)
    timer.record()
    assert 0 <= timer.get_avg_time() < 3600
