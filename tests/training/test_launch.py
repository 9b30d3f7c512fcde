"""The checks before a run, the exit statuses, and runs of the launchers with one and with two
processes.
"""

import errno
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch._utils import ExceptionWrapper

from basicsr_m2trans import register
from basicsr_m2trans.checkpoints.networks import find_model
from basicsr_m2trans.options import checks as options
from basicsr_m2trans.training import launch
from basicsr_m2trans.utils import locking
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.yaml_file import OptionFile

ROOT = Path(__file__).resolve().parents[2]


def option_problems(opt):
    """What is wrong with options of a training, one line for each problem."""
    return [
        str(each)
        for each in options.find_problems(OptionFile(Path("tiny.yml"), opt), "train", files=False)
    ]


def write_pairs(folder):
    """Write 6 image pairs, HR 16x16 and LR 8x8."""
    rng = np.random.default_rng(0)
    for name, size in (("gt", 16), ("lq", 8)):
        (folder / name).mkdir()
        for number in range(6):
            image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.png"), image)


def training_options(folder):
    """Options of a short training of a small EDSR on the pairs of `write_pairs`; an epoch has 3
    iterations.
    """
    dataset = {
        "name": "tiny",
        "type": "PairedImageDataset",
        "dataroot_gt": str(folder / "gt"),
        "dataroot_lq": str(folder / "lq"),
        "io_backend": {"type": "disk"},
        "gt_size": 16,
        "use_hflip": False,
        "use_rot": False,
        "num_worker_per_gpu": 0,
        "batch_size_per_gpu": 2,
    }
    return {
        "name": "tiny",
        "model_type": "SRModel",
        "scale": 2,
        "num_gpu": "auto",
        "manual_seed": 1,
        "datasets": {"train": dataset},
        "network_g": {
            "type": "EDSR",
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 4,
            "num_block": 1,
            "upscale": 2,
        },
        "path": {"pretrain_network_g": None},
        "train": {
            "optim_g": {"type": "Adam", "lr": 0.001},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "total_iter": 4,
            "pixel_opt": {"type": "L1Loss"},
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 4, "use_tb_logger": False},
    }


def evaluation_options(folder, network):
    """Options of a test of `network` on the same pairs."""
    opt = training_options(folder)
    return {
        **{
            key: opt[key]
            for key in ("name", "model_type", "scale", "num_gpu", "manual_seed", "network_g")
        },
        "datasets": {"test_1": {**opt["datasets"]["train"], "name": "held_out"}},
        "path": {"pretrain_network_g": str(network)},
        "val": {
            "save_img": True,
            "suffix": None,
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 2}},
        },
    }


def write_options(folder, opt):
    path = folder / "tiny.yml"
    path.write_text(yaml.safe_dump(opt))
    return path


def set_arguments(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])


def check(root):
    """Check the options of the command line as a training's."""
    return launch.checked("train", str(root), launch.parse_arguments())


def run_launcher(folder, *command):
    """Run `command` in `folder`, with copies of the launchers there so that runs are
    written there.
    """
    shutil.copytree(
        ROOT / "basicsr", folder / "basicsr", ignore=shutil.ignore_patterns("__pycache__")
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"option file .*tiny.yml cannot be read: No such file"),
        ("name: [1, 2", r"(?s)option file .*tiny.yml is not valid YAML; .*line 1, column 7"),
        ("name: !!python/name:os.system", r"tiny.yml is not valid YAML"),
        ("just text", r"tiny.yml holds no options"),
        (
            "name: x\nnum_gpu: 0\npath: {}\nnetwork_g: {}",
            r"(?s)tiny.yml has 4 problems.*model_type is missing.*datasets is missing.*train is "
            r".*logger is missing",
        ),
    ],
)
def test_unusable_option_file_is_refused(tmp_path, content, message):
    path = tmp_path / "tiny.yml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        options.read_option_file(path, "train")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("path", "here", "path must be a section"),
        ("datasets", {"train": []}, "datasets: train must be a section"),
        ("datasets", {}, "datasets: train is missing"),
    ],
)
def test_malformed_section_is_refused(tmp_path, key, value, message):
    path = write_options(tmp_path, {**training_options(tmp_path), key: value})
    with pytest.raises(InputError, match=message):
        options.read_option_file(path, "train")


def test_forced_values_are_those_of_basicsr(tmp_path):
    path = write_options(tmp_path, training_options(tmp_path))
    forced = [
        "num_gpu=0",
        "path:pretrain_network_g=none",
        "datasets:train:dataroot_gt = a b ",
        "path:new=[os.abort()]",
    ]
    opt = options.read_option_file(path, "train", forced).opt
    assert opt["num_gpu"] == 0
    assert opt["path"] == {"pretrain_network_g": None, "new": ["os.abort()"]}  # read, not executed
    assert opt["datasets"]["train"]["dataroot_gt"] == "a b"


def test_an_empty_validation_is_left_out_since_debugging_would_write_into_it(tmp_path):
    path = write_options(tmp_path, training_options(tmp_path) | {"val": None})
    assert "val" not in options.read_option_file(path, "train").opt


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("num_gpu", "write it as key:key=value"),
        ("path:x=a=b", "with one equals sign"),
        ("absent:key=1", "has no section 'absent'"),
        ("num_gpu:key=1", "has no section 'num_gpu'"),
    ],
)
def test_unusable_forced_value_is_refused(tmp_path, entry, message):
    path = write_options(tmp_path, training_options(tmp_path))
    with pytest.raises(InputError, match=rf"(?s)--force_yml {entry}: .*{message}"):
        options.read_option_file(path, "train", [entry])


def test_forced_numbers_and_flags_are_those_of_basicsr(tmp_path):
    from basicsr.utils.options import _postprocess_yml_value

    path = write_options(tmp_path, training_options(tmp_path))
    for text in (
        "true",
        "False",
        "0.5",
        ".5",
        "1.",
        "7",
        "-1",
        "1e-4",
        "1.2.3",
        "!!float 1e-4",
        "!!float1e-4",
        "[1e-4, None, 3]",
        "bf16",
    ):
        forced = options.read_option_file(path, "train", [f"train:new={text}"]).opt["train"]["new"]
        expected = _postprocess_yml_value(text)
        assert (forced, type(forced)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amp": "fp16", "accumulate": 0}, "(?s)train: amp is 'fp16'; .*train: accumulate is 0; "),
        ({"accumulate": 3}, "a batch of 2 does not divide into train: accumulate 3"),
        ({"grad_clip_norm": -1}, "train: grad_clip_norm is -1"),
    ],
)
def test_unusable_options_of_the_loop_are_refused(tmp_path, changes, message):
    opt = training_options(tmp_path) | {"model_type": "M2TransModel"}
    opt["train"] |= changes
    assert re.search(message, "\n".join(option_problems(opt)))


def test_a_tile_that_is_too_small_is_refused(tmp_path):
    opt = training_options(tmp_path) | {"val": {"tile": 8, "val_freq": 1, "save_img": False}}
    opt["model_type"] = "M2TransModel"
    assert option_problems(opt) == [
        "val: tile must be a whole number of at least 16, but is 8; raise it, or remove it for "
        "whole images"
    ]


def test_options_of_the_loop_need_a_model_that_knows_them(tmp_path):
    opt = training_options(tmp_path)
    opt["train"] |= {"amp": "bf16", "compile": False, "accumulate": None}
    assert option_problems(opt) == [
        "train: amp has no effect on SRModel; write model_type: M2TransModel"
    ]
    opt["model_type"] = "M2TransModel"
    assert option_problems(opt) == []


def test_everything_missing_is_listed_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets/B/HR.lmdb").mkdir(parents=True)
    (tmp_path / "datasets/B/HR.lmdb/data.mdb").touch()
    lmdb = {"io_backend": {"type": "lmdb"}}
    opt = {
        "datasets": {
            "train": {
                "dataroot_gt": "datasets/A/HR",
                "dataroot_lq": "datasets/A/LR_bicubic/X2",
                "meta_info_file": "datasets/A/meta_info.txt",
                "captions": "datasets/A/captions.csv",
            },
            "val": {
                "dataroot_gt": "datasets/B/HR.lmdb",
                "dataroot_lq": "datasets/B/LR_bicubic_X2.lmdb",
                **lmdb,
            },
        },
        "path": {
            "pretrain_network_g": "net_g.pth",
            "pretrain_network_d": None,
            "strict_load_g": True,
        },
        "train": {
            "semantic_opt": {
                "encoder": {"type": "MedCLIPEncoder", "checkpoint": "models/medclip.bin"}
            }
        },
    }
    assert options.missing_files(opt) == [
        "  datasets: train: dataroot_gt names the folder datasets/A/HR, which does not exist\n"
        "  datasets: train: dataroot_lq names the folder datasets/A/LR_bicubic/X2, which does not "
        "exist\n  datasets: train: meta_info_file names the file datasets/A/meta_info.txt, which "
        "does not exist\n  datasets: train: captions names the file datasets/A/captions.csv, which "
        "does not exist\n    -> m2trans prepare YOUR_IMAGES datasets/A --scales 2 3 4",
        "  datasets: val: dataroot_gt names datasets/B/HR.lmdb, which is not an LMDB: it holds no "
        "meta_info.txt\n  datasets: val: dataroot_lq names the folder "
        "datasets/B/LR_bicubic_X2.lmdb, which does not exist\n    -> m2trans prepare YOUR_IMAGES "
        "datasets/B --scales 2 3 4",
        "  path: pretrain_network_g names the file net_g.pth, which does not exist\n"
        "    -> name a trained network (experiments/NAME/models/net_g_*.pth), make one from the "
        "authors' with m2trans convert OFFICIAL.pt net_g.pth, or write ~ for random weights",
        "  train: semantic_opt: encoder: checkpoint names the file models/medclip.bin, which does "
        "not exist\n    -> run `m2trans weights medclip`, or save "
        "https://storage.googleapis.com/pytrial/medclip-vit-pretrained.zip as models/medclip.bin",
    ]


def test_a_network_that_comes_with_the_package_is_named_by_its_file():
    (message,) = options.missing_files(
        {"datasets": {}, "path": {"pretrain_network_g": "m2trans-x2"}}
    )
    assert message.endswith(
        f"or, for the network that comes with this package, {find_model('m2trans-x2')}"
    )


def test_resumed_run_needs_its_state_but_no_pretrained_network(tmp_path):
    path = {"resume_state": str(tmp_path / "7.state"), "pretrain_network_g": "absent.pth"}
    (message,) = options.missing_files({"datasets": {}, "path": path})
    assert message.startswith(
        f"  path: resume_state names the file {tmp_path}/7.state, which does not exist\n    -> "
        "name a .state file"
    )
    (tmp_path / "7.state").touch()
    assert options.missing_files({"datasets": {}, "path": path}) == []


@pytest.mark.parametrize(
    "semantic_opt", [None, {"encoder": "SeededCLIPEncoder"}, {"encoder": {"type": "Other"}}]
)
def test_complete_options_miss_nothing(tmp_path, semantic_opt):
    write_pairs(tmp_path)
    opt = training_options(tmp_path)
    opt["train"]["semantic_opt"] = semantic_opt
    assert options.missing_files(opt) == []


def test_forced_value_mends_a_missing_file(tmp_path, monkeypatch):
    write_pairs(tmp_path)
    opt = training_options(tmp_path)
    opt["path"]["pretrain_network_g"] = "absent.pth"
    path = write_options(tmp_path, opt)
    set_arguments(monkeypatch, "-opt", path)
    with pytest.raises(
        InputError,
        match=r"tiny.yml has 1 problem\n  .*tiny.yml:\d+: path: pretrain_network_g names .*absent",
    ):
        check(tmp_path)
    set_arguments(monkeypatch, "--force_yml", "path:pretrain_network_g=~", "-opt", path)
    check(tmp_path)


def test_auto_resume_needs_no_pretrained_network_once_there_is_a_state(tmp_path, monkeypatch):
    write_pairs(tmp_path)
    opt = training_options(tmp_path)
    opt["path"]["pretrain_network_g"] = "absent.pth"
    states = tmp_path / "experiments" / "debug_tiny" / "training_states"
    states.mkdir(parents=True)
    set_arguments(monkeypatch, "-opt", write_options(tmp_path, opt), "--auto_resume", "--debug")
    with pytest.raises(InputError, match="pretrain_network_g"):
        check(tmp_path)
    (states / "8.state").touch()
    check(tmp_path)


def test_the_copy_in_the_folder_of_the_run_is_refused(tmp_path, monkeypatch):
    """BasicSR would move the folder away before it reads the file, or copy the file onto itself."""
    folder = tmp_path / "experiments/tiny"
    folder.mkdir(parents=True)
    set_arguments(
        monkeypatch, "-opt", write_options(folder, training_options(tmp_path)), "--auto_resume"
    )
    with pytest.raises(
        InputError, match="the run writes its own copy to this place; copy the file elsewhere first"
    ):
        check(tmp_path)


def test_gpu_that_is_not_there_is_refused(tmp_path, monkeypatch):
    write_pairs(tmp_path)
    path = write_options(tmp_path, {**training_options(tmp_path), "num_gpu": 1})
    set_arguments(monkeypatch, "-opt", path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        InputError, match=r"num_gpu is 1, but PyTorch finds no GPU here\n.*--force_yml num_gpu=0"
    ):
        check(tmp_path)
    set_arguments(monkeypatch, "-opt", path, "--force_yml", "num_gpu=0")
    check(tmp_path)


@pytest.mark.parametrize("rank", [None, "1"])
def test_mistake_is_printed_without_traceback(tmp_path, monkeypatch, capsys, rank):
    monkeypatch.delenv("RANK", raising=False)
    if rank:
        monkeypatch.setenv("RANK", rank)
    set_arguments(monkeypatch, "-opt", tmp_path / "absent.yml")
    assert launch.main("train", str(tmp_path)) == 2
    title = "train (rank 1)" if rank else "train"
    assert capsys.readouterr().err == (
        f"{title}: option file {tmp_path}/absent.yml cannot be read: No such file or directory; "
        "give the path of a yml file\n"
    )


def test_mistake_found_in_a_worker_is_printed_without_traceback(capsys):
    def fail():
        try:
            raise InputError("image 3 is damaged;\nmake it again")
        except InputError:
            ExceptionWrapper(where="in DataLoader worker process 0").reraise()

    assert launch.status_of("train", fail) == 2
    assert capsys.readouterr().err == "train: image 3 is damaged;\nmake it again\n"


def test_interruption_ends_with_status_130(capsys):
    def interrupt():
        raise KeyboardInterrupt

    assert launch.status_of("test", interrupt) == 130
    assert capsys.readouterr().err == "test: interrupted\n"


def test_a_failed_exchange_of_processes_is_told_in_one_line(monkeypatch, capsys):
    text = (
        "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.2]:911. Look at its "
        "logs."
    )
    errors = [
        RuntimeError(text),
        torch.distributed.DistBackendError("NCCL error\nncclRemoteError"),
        RuntimeError("shapes"),
    ]

    def fail():
        raise errors.pop(0)

    monkeypatch.setenv("RANK", "3")
    assert [launch.status_of("train", fail), launch.status_of("train", fail)] == [1, 1]
    gloo, nccl = (
        line for line in capsys.readouterr().err.splitlines() if line.startswith("train (rank 3): ")
    )
    assert "the exchange with the other processes failed; if another rank has ended" in gloo
    assert (
        "([gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.2]:911); the "
        "checkpoints are" in gloo
    )
    assert "(NCCL error)" in nccl
    with pytest.raises(RuntimeError, match="shapes"):
        launch.status_of("train", fail)


def test_a_full_disk_is_told_though_the_log_is_on_it(monkeypatch, capsys):
    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(*_, **__):
        raise InputError("the log cannot be written")

    monkeypatch.setattr(logging.getLogger("basicsr"), "error", refuse)
    assert launch.status_of("train", fill) == 1
    assert capsys.readouterr().err.startswith("train: a disk or /dev/shm is full; make room there")


def test_train_then_test_in_one_process(tmp_path, monkeypatch, capsys):
    write_pairs(tmp_path)
    set_arguments(monkeypatch, "-opt", write_options(tmp_path, training_options(tmp_path)))
    assert launch.main("train", str(tmp_path)) == 0
    models = tmp_path / "experiments" / "tiny" / "models"
    assert sorted(path.name for path in models.iterdir()) == ["net_g_4.pth", "net_g_latest.pth"]

    (tmp_path / "tb_logger/tiny").mkdir(parents=True)  # of the training, which has the same name
    opt = evaluation_options(tmp_path, models / "net_g_latest.pth")
    set_arguments(monkeypatch, "-opt", write_options(tmp_path, opt))
    assert launch.main("test", str(tmp_path)) == 0
    assert [path.name for path in (tmp_path / "tb_logger").iterdir()] == ["tiny"]
    images = tmp_path / "results" / "tiny" / "visualization" / "held_out"
    assert len(list(images.iterdir())) == 6

    capsys.readouterr()
    opt["network_g"]["type"] = "EDSRR"
    set_arguments(monkeypatch, "-opt", write_options(tmp_path, opt))
    assert launch.main("test", str(tmp_path)) == 2
    message, remedy = capsys.readouterr().err.splitlines()[-2:]
    assert message.endswith("network_g: type 'EDSRR' is unknown")
    assert remedy.startswith("    -> did you mean EDSR? choose one of ")


def test_other_settings_than_those_of_the_resumed_run_are_refused(tmp_path, monkeypatch, capsys):
    """A finished run, once longer and once with another network: nothing is written."""
    write_pairs(tmp_path)
    opt = training_options(tmp_path) | {"model_type": "M2TransModel"}
    opt["train"]["scheduler"] = {
        "type": "CosineAnnealingRestartLR",
        "periods": [4],
        "eta_min": 0.0001,
    }
    set_arguments(monkeypatch, "-opt", write_options(tmp_path, opt))
    assert launch.main("train", str(tmp_path)) == 0
    folder = tmp_path / "experiments/tiny"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    longer = opt["train"] | {
        "total_iter": 8,
        "scheduler": opt["train"]["scheduler"] | {"periods": [8]},
    }
    for changes, problem in (
        (
            {"train": longer},
            "train: total_iter is 8, but the run began with the learning rate of scheduler",
        ),
        ({"network_g": opt["network_g"] | {"num_feat": 6}}, "network_g: num_feat is 6, but was 4"),
    ):
        set_arguments(monkeypatch, "-opt", write_options(tmp_path, opt | changes), "--auto_resume")
        capsys.readouterr()
        assert launch.main("train", str(tmp_path)) == 2
        error = capsys.readouterr().err
        assert f"train: cannot resume tiny: {problem}" in error
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("mode", "folder"), [("train", "experiments"), ("test", "results")])
def test_a_second_run_of_one_name_is_refused_and_leaves_the_first_alone(
    mode, folder, tmp_path, monkeypatch, capsys
):
    write_pairs(tmp_path)
    opt = training_options(tmp_path) if mode == "train" else evaluation_options(tmp_path, "unused")
    opt["path"] = {"pretrain_network_g": None}
    set_arguments(monkeypatch, "-opt", write_options(tmp_path, opt))
    monkeypatch.setattr(locking, "PATIENCE", 0.1)
    first = tmp_path / folder / "tiny"
    first.mkdir(parents=True)
    with launch.alone_in(first):
        assert launch.main(mode, str(tmp_path)) == 2
    assert (
        f"{mode}: another run is writing {first}; wait for it or stop it" in capsys.readouterr().err
    )
    assert sorted(path.name for path in first.parent.iterdir()) == [".tiny.lock", "tiny"]
    assert not list(first.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "experiments").touch()
    with pytest.raises(
        InputError, match=r"experiments cannot be made \(File exists\); start where you may write"
    ):
        launch.alone_in(tmp_path / "experiments/tiny")


def test_of_several_processes_the_first_holds_the_folder(tmp_path, monkeypatch):
    for variable in ("RANK", "SLURM_PROCID"):
        with launch.alone_in(tmp_path / "run"), monkeypatch.context() as context:
            context.setenv(variable, "1")
            with launch.alone_in(tmp_path / "run"):
                pass


def test_a_gpu_that_fails_leaves_a_message_in_the_log_and_the_checkpoints(
    tmp_path, monkeypatch, capfd
):
    """Simulated: the third step raises PyTorch's error; the run then goes on from the second."""
    register()
    from basicsr_m2trans.models.m2trans_model import M2TransModel

    # As in a process that has not trained before, whose log is somewhere else.
    monkeypatch.setattr(logging.getLogger("basicsr"), "handlers", [])
    monkeypatch.setattr("basicsr.utils.logger.initialized_logger", {})
    write_pairs(tmp_path)
    opt = training_options(tmp_path) | {"model_type": "M2TransModel"}
    opt["logger"]["save_checkpoint_freq"] = 1
    set_arguments(monkeypatch, "-opt", write_options(tmp_path, opt), "--auto_resume")
    step = M2TransModel.optimize_parameters

    def fail_at_the_third(self, current_iter):
        if current_iter == 3:
            raise torch.AcceleratorError(
                "CUDA error: unspecified launch failure\nCUDA kernel errors might be"
            )
        step(self, current_iter)

    with monkeypatch.context() as unplugged:
        unplugged.setattr(M2TransModel, "optimize_parameters", fail_at_the_third)
        assert launch.main("train", str(tmp_path)) == 1
    message = "the GPU failed; see nvidia-smi"
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"train: {message}")
    experiment = tmp_path / "experiments/tiny"
    (log,) = experiment.glob("*.log")
    assert f"ERROR: {message}" in log.read_text()
    assert sorted(path.name for path in (experiment / "training_states").iterdir()) == [
        "1.state",
        "2.state",
    ]
    assert launch.main("train", str(tmp_path)) == 0
    assert f"Set pretrain_network_g to {experiment}/models/net_g_2.pth" in capfd.readouterr().out


@pytest.mark.parametrize("mode", ["train", "test"])
def test_launcher_names_missing_files_before_it_writes_anything(tmp_path, mode):
    opt = (
        training_options(Path("nowhere"))
        if mode == "train"
        else evaluation_options(Path("nowhere"), "net_g.pth")
    )
    write_options(tmp_path, opt)
    result = run_launcher(tmp_path, f"basicsr/{mode}.py", "-opt", "tiny.yml")
    assert result.returncode == 2
    assert re.match(
        rf"{mode}: option file tiny.yml has [23] problems\n  tiny.yml:\d+: datasets: ",
        result.stderr,
    )
    assert result.stderr.count("nowhere/") == 2
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["basicsr", "tiny.yml"]


@pytest.mark.parametrize("mode", ["train", "test"])
def test_verb_works_like_the_launcher(tmp_path, mode):
    result = run_launcher(tmp_path, "-m", "basicsr_m2trans.cli", mode, "absent.yml")
    assert result.returncode == 2
    assert result.stderr.startswith(f"{mode}: option file absent.yml cannot be read")


@pytest.mark.parametrize("mode", ["train", "test"])
def test_launcher_uses_the_package_beside_it(tmp_path, mode):
    package = tmp_path / "basicsr_m2trans/training"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "launch.py").write_text(
        "def main(*arguments):\n    print(*arguments)\n    return 7\n"
    )
    result = run_launcher(tmp_path, f"basicsr/{mode}.py")
    assert (result.returncode, result.stdout) == (7, f"{mode} {tmp_path}\n")


def require_that_two_processes_train_like_one(folder, force):
    """Train by `tiny.yml` in two processes with overrides, then in one without; compare weights."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = ["basicsr/train.py", "-opt", "tiny.yml"]
    two = run_launcher(folder, *torchrun, *arguments, "--launcher", "pytorch", *force)
    assert two.returncode == 0, two.stderr
    shutil.rmtree(folder / "basicsr")
    one = run_launcher(folder, *arguments)
    assert one.returncode == 0, one.stderr
    networks = [
        torch.load(folder / "experiments" / name / "models" / "net_g_4.pth", weights_only=True)[
            "params"
        ]
        for name in ("tiny", "two")
    ]
    assert networks[0].keys() == networks[1].keys()
    for key, values in networks[0].items():
        torch.testing.assert_close(networks[1][key], values, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path):
    """Two processes on half batches, their workers spawned, must give the network of
    one process.
    """
    write_pairs(tmp_path)
    write_options(tmp_path, training_options(tmp_path) | {"model_type": "M2TransModel"})
    dataset = ("batch_size_per_gpu=1", "num_worker_per_gpu=1", "persistent_workers=true")
    force = [
        "--force_yml",
        "num_gpu=0",
        "name=two",
        *(f"datasets:train:{option}" for option in dataset),
    ]
    require_that_two_processes_train_like_one(tmp_path, force)


@pytest.mark.slow
def test_two_processes_with_options_of_the_loop_train_like_one(tmp_path):
    """Micro-batches, checkpointing and compiling in two processes give the network of one process
    without them.
    """
    write_pairs(tmp_path)
    opt = training_options(tmp_path) | {"model_type": "M2TransModel"}
    opt["datasets"]["train"]["batch_size_per_gpu"] = 4
    opt["network_g"]["num_block"] = 2
    loop = {"accumulate": 2, "checkpointing": True, "compile": "aot_eager", "channels_last": True}
    opt["train"] |= {"grad_clip_norm": 0.5}
    write_options(tmp_path, opt)
    force = ["--force_yml", "num_gpu=0", "name=two", "datasets:train:batch_size_per_gpu=2"]
    force += [f"train:{key}={value}" for key, value in loop.items()]
    require_that_two_processes_train_like_one(tmp_path, force)


@pytest.mark.slow
def test_training_that_diverges_stops_in_every_process(tmp_path):
    """The message names iteration, images and the last good checkpoint; later ones are
    not written.
    """
    write_pairs(tmp_path)
    opt = training_options(tmp_path) | {"model_type": "M2TransModel"}
    opt["train"]["optim_g"]["lr"] = 1e30
    opt["logger"]["save_checkpoint_freq"] = 1
    write_options(tmp_path, opt)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = ["basicsr/train.py", "-opt", "tiny.yml", "--launcher", "pytorch", "--force_yml"]
    result = run_launcher(tmp_path, *torchrun, *arguments, "datasets:train:batch_size_per_gpu=1")
    assert result.returncode != 0
    assert (
        "training stopped at iteration 2: the loss or its gradient is not finite (l_pix "
        in result.stderr
    )
    assert str(tmp_path / "gt") in result.stderr or str(tmp_path / "lq") in result.stderr
    models = tmp_path / "experiments" / "tiny" / "models"
    assert f"Last good checkpoint: {models / 'net_g_1.pth'}" in result.stderr
    assert [path.name for path in models.iterdir()] == ["net_g_1.pth"]


def test_failing_process_of_torchrun_says_why(tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    result = run_launcher(
        tmp_path, *torchrun, "basicsr/train.py", "-opt", "absent.yml", "--launcher", "pytorch"
    )
    assert result.returncode != 0
    assert ": option file absent.yml cannot be read: No such file or directory" in result.stderr
    assert "train (rank " in result.stderr


def parse_as_basicsr(monkeypatch, tmp_path, *arguments):
    """What BasicSR's own `parse_options` makes of the command line that it is handed."""
    from basicsr.utils.options import parse_options

    handed_over = []

    def execute(_program, command):
        handed_over.extend(command)
        raise SystemExit

    register()
    monkeypatch.setattr(os, "execv", execute)
    with pytest.raises(SystemExit):
        launch.start("train", str(tmp_path), launch.parse_arguments([*map(str, arguments)]))
    set_arguments(monkeypatch, *handed_over[3:])
    return parse_options(str(tmp_path))


def test_basicsr_gets_the_options_that_are_checked(tmp_path, monkeypatch):
    """Overrides included; the rest of its command line and what it adds are as before."""
    write_pairs(tmp_path)
    path = write_options(tmp_path, training_options(tmp_path) | {"manual_seed": None})
    forced = ["--force_yml", "name=other", "train:optim_g:lr=0.5"]
    opt, args = parse_as_basicsr(
        monkeypatch, tmp_path, "--auto_resume", "-opt", path, "--debug", *forced
    )
    assert (Path(args.opt).name, args.auto_resume, opt["auto_resume"]) == (path.name, True, True)
    assert opt["train"]["optim_g"] == {"type": "Adam", "lr": 0.5}
    assert opt["path"]["training_states"] == f"{tmp_path}/experiments/debug_other/training_states"
    assert (opt["datasets"]["train"]["phase"], opt["datasets"]["train"]["scale"]) == ("train", 2)
    assert (opt["dist"], opt["world_size"], opt["is_train"]) == (False, 1, True)
    assert 1 <= yaml.safe_load(Path(args.opt).read_text())["manual_seed"] <= 10000
    assert Path(args.opt) == tmp_path / "experiments/.debug_other.options/0/tiny.yml"


def test_a_resumed_run_keeps_its_seed_in_the_file_too(tmp_path, monkeypatch):
    write_pairs(tmp_path)
    path = write_options(tmp_path, training_options(tmp_path) | {"manual_seed": None})
    states = tmp_path / "experiments/tiny/training_states"
    states.mkdir(parents=True)
    state = {"epoch": 0, "iter": 1, "optimizers": [], "schedulers": [], "manual_seed": 20001}
    torch.save(state, states / "1.state")
    opt, _ = parse_as_basicsr(monkeypatch, tmp_path, "-opt", path, "--auto_resume")
    assert opt["manual_seed"] == 20001


def test_the_file_that_is_handed_over_is_ascii_whatever_was_typed(tmp_path, monkeypatch):
    write_pairs(tmp_path)
    path = write_options(tmp_path, training_options(tmp_path))
    forced = ["--force_yml", "name=ü", "datasets:train:name=a\nscale: 3"]
    monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(path), *forced])
    opt, args = parse_as_basicsr(monkeypatch, tmp_path, *sys.argv[1:])
    assert Path(args.opt).read_bytes().isascii()
    assert (opt["name"], opt["scale"]) == ("ü", 2)
    assert opt["datasets"]["train"]["name"] == "a\nscale: 3"


def test_a_file_that_is_complete_is_handed_over_as_it_is(tmp_path, monkeypatch):
    """In this process, with its own command line."""
    write_pairs(tmp_path)
    path = write_options(tmp_path, training_options(tmp_path))
    set_arguments(monkeypatch, "--auto_resume", "-opt", path)
    runs = []
    monkeypatch.setattr(launch, "run_pipeline", lambda *arguments: runs.append(arguments))
    monkeypatch.setattr(os, "execv", None)
    assert launch.main("train", str(tmp_path)) == 0
    assert runs == [("train", str(tmp_path))]
    assert sys.argv == ["train.py", "--auto_resume", "-opt", str(path)]


@pytest.mark.slow
def test_the_resolved_file_is_kept_in_the_folder_of_the_run(tmp_path):
    write_pairs(tmp_path)
    path = write_options(tmp_path, training_options(tmp_path))
    forced = ["--force_yml", "train:total_iter=1", "train:optim_g:lr=0.5"]
    result = run_launcher(tmp_path, "basicsr/train.py", "-opt", path, *forced)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "experiments/tiny/tiny.yml").read_text()
    assert yaml.safe_load(text)["train"]["optim_g"]["lr"] == 0.5
    assert f"basicsr/train.py -opt {path} --force_yml train:total_iter=1" in text


@pytest.mark.parametrize(
    "entry",
    [
        "train:optim_g:betas=[__import__('os').mkdir('ran')]",
        """name"];__import__("os").mkdir("ran");opt["name=x""",
    ],
)
def test_nothing_on_the_command_line_is_executed(tmp_path, monkeypatch, entry):
    monkeypatch.chdir(tmp_path)
    path = write_options(tmp_path, training_options(tmp_path))
    arguments = launch.parse_arguments(["-opt", str(path), "--force_yml", entry])
    assert launch.start("train", str(tmp_path), arguments) == 2
    assert not Path("ran").exists()


def test_nothing_in_an_option_file_is_executed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("evil.yml").write_text("name: !!python/object/apply:os.mkdir [ran]")
    set_arguments(monkeypatch, "-opt", "evil.yml")
    assert launch.main("train", str(tmp_path)) == 2
    assert "evil.yml is not valid YAML" in capsys.readouterr().err
    assert not Path("ran").exists()


def test_missing_option_file_prints_the_usage(monkeypatch, capsys):
    set_arguments(monkeypatch, "--debug")
    with pytest.raises(SystemExit) as end:
        launch.main("train", "")
    assert end.value.code == 2
    assert "--force_yml" in capsys.readouterr().err


def test_processes_that_torchrun_has_not_started_need_a_seed(tmp_path, monkeypatch, capsys):
    write_pairs(tmp_path)
    opt = training_options(tmp_path) | {"manual_seed": None, "model_type": "M2TransModel"}
    set_arguments(monkeypatch, "-opt", write_options(tmp_path, opt), "--launcher", "slurm")
    assert launch.main("train", str(tmp_path)) == 2
    assert "manual_seed is missing: the processes of a run need the same" in capsys.readouterr().err


def test_several_processes_without_gpus_need_a_model_of_this_package(tmp_path, monkeypatch):
    write_pairs(tmp_path)
    path = write_options(tmp_path, training_options(tmp_path) | {"num_gpu": 0})
    set_arguments(monkeypatch, "-opt", path, "--launcher", "pytorch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"SRModel needs a GPU for each .*: M2TransModel"):
        check(tmp_path)


def test_processes_of_torchrun_agree_on_a_seed(tmp_path):
    (tmp_path / "draw.py").write_text(
        "from basicsr_m2trans.training import launch\n"
        "print(f'seed {launch._draw_seed(\"pytorch\")}.')\n"
    )
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "draw.py"]
    result = run_launcher(tmp_path, *torchrun)
    first, second = re.findall(r"seed (\d+)\.", result.stdout)
    assert first == second


def test_older_folders_are_kept_whatever_the_clock(tmp_path, monkeypatch, capsys):
    """Three starts in one second of the clock."""
    monkeypatch.setattr(launch.time, "strftime", lambda _format: "20260102_030405")
    for content in ("first", "second", "third"):
        launch.keep_earlier_run(tmp_path / "run")
        (tmp_path / "run").mkdir()
        (tmp_path / "run/file").write_text(content)
    kept = {path.name: (path / "file").read_text() for path in tmp_path.iterdir()}
    archived = "run_archived_20260102_030405"
    assert kept == {archived: "first", f"{archived}_2": "second", "run": "third"}
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"renamed to {tmp_path}/{archived}_2")
