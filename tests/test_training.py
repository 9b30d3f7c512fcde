"""Training from the launcher's side, as a user does it: prepared phantoms, both losses, and exact
resuming.
"""

import logging
import multiprocessing
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import pytest
import torch
import yaml

from basicsr_m2trans import register
from basicsr_m2trans.apps.preparation import demo_data
from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation
from basicsr_m2trans.apps.report.training_log import parse_training_log
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.checkpoints.training_states import (
    latest_training_state,
    read_training_state,
    read_whole_checkpoint,
    training_states,
)
from basicsr_m2trans.cli import demo, main
from basicsr_m2trans.data.lmdb_store import LmdbReader, write_lmdb
from basicsr_m2trans.training import launch
from basicsr_m2trans.utils.errors import InputError

ROOT = Path(__file__).parents[1]
NETWORK = {"num_feat": 8, "num_block": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a prepared set of six small phantoms."""
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder / "images", 6, height=72, width=96)
    prepare(folder / "images", folder / "set", Preparation(scales=(2,), workers=1))
    return folder / "set"


def tiny_options(data, name):
    """The demo's options, made tiny: 6 iterations in an epoch, so that iteration 10
    is inside one.
    """
    opt = yaml.safe_load((ROOT / "options/demo/train_M2Trans_x2.yml").read_text())
    for dataset in opt["datasets"].values():
        dataset["dataroot_gt"], dataset["dataroot_lq"] = (
            str(data / "HR.lmdb"),
            str(data / "LR_bicubic_X2.lmdb"),
        )
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
    command = training_command(folder, opt, *arguments, processes=processes)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def training_command(folder, opt, *arguments, processes=1, root=None):
    file = folder / f"{opt['name']}.yml"
    file.write_text(yaml.safe_dump(opt))
    if "--launcher" not in arguments:
        return launch.command("train", str(root or folder), "-opt", str(file), *arguments)
    torchrun = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    verb = ["-m", "basicsr_m2trans.cli", "train", str(file)]
    return [sys.executable, *torchrun, *verb, *arguments]


@pytest.fixture
def _new_log(monkeypatch):
    """As in a process that has not trained before, whose log is somewhere else."""
    register()
    monkeypatch.setattr(logging.getLogger("basicsr"), "handlers", [])
    monkeypatch.setattr("basicsr.utils.logger.initialized_logger", {})


def weights(folder, name, iteration):
    return torch.load(
        folder / f"experiments/{name}/models/net_g_{iteration}.pth", weights_only=True
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_without_gpus")
def test_resume_is_exact_to_the_bit(tmp_path, data):
    assert train(tmp_path, tiny_options(data, "whole")).returncode == 0
    assert (
        train(
            tmp_path, tiny_options(data, "parts"), "--force_yml", "train:total_iter=10"
        ).returncode
        == 0
    )
    resumed = train(tmp_path, tiny_options(data, "parts"), "--auto_resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming training from epoch: 1, iter: 10" in resumed.stderr
    whole, parts = (weights(tmp_path, name, 20) for name in ("whole", "parts"))
    for key in ("params", "params_ema"):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())
    # Both losses are in the log, and the last lines of both runs show the same values.
    logs = [
        max(
            Path(tmp_path, "experiments", name).glob("*.log"), key=lambda path: path.stat().st_mtime
        ).read_text()
        for name in ("whole", "parts")
    ]
    for log in logs:
        for part in ("l_pix", "l_sem", "# psnr", "# ssim", "# fsim", "# gmsd"):
            assert part in log
    values = [log[log.rindex("l_pix") :].split()[1:4:2] for log in logs]
    assert values[0] == values[1]


LAUNCHER_THAT_DIES_IN_A_SAVE = """
import os, signal
from basicsr_m2trans.training import launch

flush = os.fsync

def flush_or_die(descriptor):
    global flushes_left
    flushes_left -= 1
    if flushes_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(descriptor)

os.fsync = flush_or_die
launch.main("train", folder)
"""


def start_fork(folder, opt, monkeypatch, *arguments, flushes_left=0):
    """Begin a training in a process that is forked from one that has imported everything.

    It kills itself before it flushes a checkpoint file (odd numbers) or its folder (even ones) for
    the n-th time.
    """
    (folder / "tiny.yml").write_text(yaml.safe_dump(opt))
    (folder / "launcher.py").write_text(LAUNCHER_THAT_DIES_IN_A_SAVE)
    monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(folder / "tiny.yml"), *arguments])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "basicsr_m2trans.training.loader_processes",
            "basicsr.train",
            "basicsr_m2trans.models.m2trans_model",
        ]
    )
    settings = {"folder": str(folder), "flushes_left": flushes_left}
    process = context.Process(target=runpy.run_path, args=(str(folder / "launcher.py"), settings))
    process.start()
    return process


def newest_log(folder):
    return (
        max(folder.glob("experiments/tiny/*.log"), key=lambda path: path.stat().st_mtime)
        .read_text()
        .splitlines()
    )


def without_loader_processes(data):
    """Tiny options that log, save and validate as often as possible."""
    opt = tiny_options(data, "tiny")
    opt["datasets"]["train"] |= {"num_worker_per_gpu": 0, "persistent_workers": False}
    opt["train"]["total_iter"] = 1000
    opt["val"] |= {
        "val_freq": 3,
        "metrics": {name: opt["val"]["metrics"][name] for name in ("psnr", "gmsd")},
    }
    opt["logger"] |= {
        "print_freq": 1,
        "save_checkpoint_freq": 1,
        "keep_last": 3,
        "keep_best": "gmsd",
    }
    return opt


@pytest.mark.slow
@pytest.mark.usefixtures("_without_gpus")
def test_a_run_that_is_killed_twenty_times_ends_like_one_that_is_not(tmp_path, data, monkeypatch):
    """SIGKILL in the middle of a save and at random moments; weights, optimizer and metrics are
    equal to the bit.
    """
    opt = without_loader_processes(data)
    rng = random.Random(0)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    states = killed / "experiments/tiny/training_states"
    lines = []
    for kill in range(20):
        if kill % 2:
            in_a_file = kill % 4 == 1
            flushes_left = 2 * rng.randrange(1, 5) - in_a_file
            process = start_fork(
                killed, opt, monkeypatch, "--auto_resume", flushes_left=flushes_left
            )
            process.join()
            assert any(killed.rglob("*.partial")) == in_a_file
        else:
            before = latest_training_state(states)
            process = start_fork(killed, opt, monkeypatch, "--auto_resume")
            while latest_training_state(states) == before:
                assert process.is_alive()
                time.sleep(1e-3)
            time.sleep(rng.uniform(0, 0.2))
            process.kill()
            process.join()
        assert process.exitcode == -signal.SIGKILL
        lines += newest_log(killed)
        for torn in killed.rglob("*.partial"):
            torn.unlink()
    total = int(latest_training_state(states).stem) + 4
    opt["train"]["total_iter"] = total
    for folder in (killed, whole):
        process = start_fork(folder, opt, monkeypatch, "--auto_resume")
        process.join()
    lines += newest_log(killed)

    first, second = (folder / "experiments/tiny" for folder in (killed, whole))
    for name in ("latest", "best", total - 2):
        networks = [
            torch.load(folder / f"models/net_g_{name}.pth", weights_only=True)
            for folder in (first, second)
        ]
        assert networks[0].pop("network_g") == networks[1].pop("network_g")
        torch.testing.assert_close(*networks, rtol=0, atol=0)
    for folder in ("models", "training_states"):
        kept = [sorted(path.name for path in (each / folder).iterdir()) for each in (first, second)]
        assert kept[0] == kept[1]
        assert len(kept[0]) == (5 if folder == "models" else 3)
    saved = [
        read_training_state(folder / f"training_states/{total}.state") for folder in (first, second)
    ]
    torch.testing.assert_close(*(state.pop("optimizers") for state in saved), rtol=0, atol=0)
    assert saved[0] == saved[1]
    assert saved[0]["best_metric_results"]["phantoms_val"].keys() == {"psnr", "gmsd"}
    logs = [lines, newest_log(whole)]
    validations = [parse_training_log(log, total).validations for log in logs]
    assert validations[0] == validations[1]
    assert validations[0].keys() == {*range(3, total + 1, 3), total}
    losses = [dict(re.findall(r"iter: *(\d+),.* (l_pix: .*)", "\n".join(log))) for log in logs]
    assert losses[0] == losses[1]
    assert len(losses[0]) == total


def started(folder, opt, *arguments, processes=1):
    """A training in a process group of its own that is in its third iteration, and where its
    messages go.
    """
    output = folder / "output.txt"
    with output.open("w") as stream:
        command = training_command(folder, opt, *arguments, processes=processes)
        process = subprocess.Popen(
            command, cwd=folder, stdout=stream, stderr=stream, start_new_session=True
        )
    while "iter:       2," not in output.read_text():
        assert process.poll() is None, output.read_text()
        time.sleep(0.05)
    return process, output


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_all_processes_of_a_training_saves_and_stops(tmp_path, data, number, status):
    """As a terminal or a scheduler sends it, loader processes included; the run can be resumed
    there.
    """
    opt = tiny_options(data, "tiny")
    opt["train"]["total_iter"] = 1000
    opt["val"]["val_freq"] = 1000
    opt["logger"] |= {"print_freq": 1, "save_checkpoint_freq": 1000}
    process, output = started(tmp_path, opt)
    os.killpg(process.pid, number)
    assert process.wait(300) == status
    text = output.read_text()
    assert "Traceback" not in text
    last = int(
        re.search(
            rf"train: stopped by {number.name} after iteration (\d+), checkpoint saved; ", text
        )[1]
    )
    experiment = tmp_path / "experiments/tiny"
    assert [path.name for path in (experiment / "models").iterdir()] == [f"net_g_{last}.pth"]
    assert [path.name for path in (experiment / "training_states").iterdir()] == [f"{last}.state"]
    resumed = train(tmp_path, opt, "--auto_resume", "--force_yml", f"train:total_iter={last + 1}")
    assert resumed.returncode == 0, resumed.stderr
    assert f"iter: {last}." in resumed.stderr
    assert f"iter:{last + 1:8,d}, lr" in resumed.stderr


@pytest.fixture
def _without_gpus(monkeypatch):
    """Hides the GPUs: two processes cannot share one through NCCL, and none repeats its results to
    the bit.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.slow
@pytest.mark.usefixtures("_without_gpus")
def test_two_processes_stop_at_the_same_iteration(tmp_path, data, monkeypatch):
    """SIGTERM to torchrun, which passes it on to both trainers and their loader processes."""
    monkeypatch.setenv(
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "240"
    )  # seconds; a busy machine needs more than 30
    opt = tiny_options(data, "tiny")
    opt["datasets"]["train"]["batch_size_per_gpu"] = 1
    opt["train"]["total_iter"] = 1000
    opt["val"]["val_freq"] = 1000
    opt["logger"] |= {"print_freq": 1, "save_checkpoint_freq": 1000}
    process, output = started(tmp_path, opt, "--launcher", "pytorch", processes=2)
    process.terminate()
    assert process.wait(300) != 0
    stops = dict(
        re.findall(
            r"train \(rank (\d)\): stopped by SIGTERM after iteration (\d+)", output.read_text()
        )
    )
    assert stops.keys() == {"0", "1"}
    assert stops["0"] == stops["1"]
    assert latest_training_state(tmp_path / "experiments/tiny/training_states").stem == stops["0"]


@pytest.mark.usefixtures("_new_log")
def test_a_full_disk_ends_training_with_the_checkpoint_before(
    tmp_path, data, monkeypatch, capfd, files_no_larger_than
):
    """The network of iteration 2 fits on the disk, its state does not."""
    opt = without_loader_processes(data)
    opt["val"]["val_freq"] = 1000
    opt["train"]["total_iter"] = 1
    (tmp_path / "tiny.yml").write_text(yaml.safe_dump(opt))
    monkeypatch.setattr(
        sys, "argv", ["train.py", "-opt", str(tmp_path / "tiny.yml"), "--auto_resume"]
    )
    assert launch.main("train", str(tmp_path)) == 0
    experiment = tmp_path / "experiments/tiny"
    opt["train"]["total_iter"] = 3
    (tmp_path / "tiny.yml").write_text(yaml.safe_dump(opt))
    with files_no_larger_than((experiment / "models/net_g_1.pth").stat().st_size):
        assert launch.main("train", str(tmp_path)) == 2
    error = capfd.readouterr().err
    assert (
        f"train: training stopped: {experiment}/training_states/2.state cannot be written (File "
        "too large)" in error
    )
    assert [path.name for path in (experiment / "training_states").iterdir()] == ["1.state"]
    assert launch.main("train", str(tmp_path)) == 0
    assert f"Set pretrain_network_g to {experiment}/models/net_g_1.pth" in capfd.readouterr().out


@pytest.mark.usefixtures("_new_log")
def test_a_finished_run_is_not_trained_again(tmp_path, data, monkeypatch, capfd):
    """Its last iteration has a state, though none was due; a later end goes on from there."""
    opt = without_loader_processes(data)
    opt["logger"] |= {"save_checkpoint_freq": 1000}
    monkeypatch.setattr(
        sys, "argv", ["train.py", "-opt", str(tmp_path / "tiny.yml"), "--auto_resume"]
    )
    trained = []
    for total_iter in (8, 8, 9):  # 6 iterations in an epoch
        opt["train"]["total_iter"] = total_iter
        (tmp_path / "tiny.yml").write_text(yaml.safe_dump(opt))
        assert launch.main("train", str(tmp_path)) == 0
        trained.append(
            [int(number) for number in re.findall(r"iter: +(\d+),", capfd.readouterr().err)]
        )
    assert trained == [[1, 2, 3, 4, 5, 6, 7, 8], [], [9]]
    assert not list((tmp_path / "experiments").glob("*archived*"))
    state = read_training_state(tmp_path / "experiments/tiny/training_states/8.state")
    assert (state["epoch"], state["samples_done"]) == (1, 4)


def options_for_processes(data, validation, processes):
    """Two images in each iteration, whatever the number of processes; iteration 4 is inside an
    epoch, 8 in the next.
    """
    opt = tiny_options(data, f"by_{processes}")
    opt["datasets"]["train"] |= {"batch_size_per_gpu": 2 // processes, "num_worker_per_gpu": 0}
    opt["datasets"]["val"] = tiny_options(validation, "")["datasets"]["val"]
    # Adam divides by the root of the squared gradient: where that is rounding noise, its whole step
    # is. Beside an epsilon of 1 the step is the averaged gradient times `lr`, and its rounding
    # stays as small as the gradient's.
    opt["train"]["optim_g"] |= {"lr": 0.02, "eps": 1.0}
    opt["train"] |= {"total_iter": 8, "ema_decay": 0.5}
    opt["train"]["semantic_opt"]["loss_weight"] = 0.1  # not much less than the fidelity term
    opt["logger"] |= {"print_freq": 1, "save_checkpoint_freq": 4}
    opt["val"] |= {
        "val_freq": 4,
        "metrics": {name: opt["val"]["metrics"][name] for name in ("psnr", "gmsd")},
    }
    return opt


@pytest.fixture(scope="module")
def odd_data(tmp_path_factory):
    """Three images for validation, which two processes cannot share equally."""
    folder = tmp_path_factory.mktemp("odd")
    write_phantoms(folder / "images", 3, seed=1, height=40, width=48)
    prepare(folder / "images", folder / "set", Preparation(scales=(2,), workers=1))
    return folder / "set"


def records(result):
    """Losses and validation metrics of every iteration that a run has logged."""
    assert result.returncode == 0, result.stderr
    losses = re.findall(r"iter: *(\d+),.*l_pix: (\S+) l_sem: (\S+)", result.stderr)
    validations = parse_training_log(result.stderr.splitlines(), 8).validations
    return {
        int(number): (float(l_pix), float(l_sem)) for number, l_pix, l_sem in losses
    }, validations


def test_an_image_that_a_loader_process_cannot_read_ends_training_and_is_named(tmp_path, data):
    """What the checks before a training cannot see: the list is right, the images are damaged."""
    broken = tmp_path / "HR.lmdb"
    reader = LmdbReader(data / "HR.lmdb")
    write_lmdb(
        broken, [(key, reader.get(key)[:500], shape) for key, shape in reader.shapes.items()]
    )
    opt = tiny_options(data, "tiny")
    opt["datasets"]["train"]["dataroot_gt"] = str(broken)
    result = train(tmp_path, opt)
    assert result.returncode == 2
    assert re.search(
        r"^train: .*HR\.lmdb, key '\w+': cannot be read as an image", result.stderr, re.MULTILINE
    )


def run_mounted(script, *arguments, **settings):
    """Run a shell script in a process that may mount what no other process sees; its arguments are
    `$0`, `$1`, ...
    """
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


def may_mount():
    return (
        bool(shutil.which("unshare"))
        and run_mounted("mount -t tmpfs tmpfs /dev/shm").returncode == 0
    )


mounting = pytest.mark.skipif(
    not may_mount(), reason="the kernel does not permit user namespaces that mount a tmpfs"
)


@pytest.mark.slow
@mounting
@pytest.mark.parametrize("size", ["4k", "128k"])
def test_without_space_in_shared_memory_training_says_what_to_do_and_ends(tmp_path, data, size):
    """Too little for the loader's semaphores, and too little for its batches."""
    command = training_command(tmp_path, tiny_options(data, "tiny"))
    result = run_mounted(
        'mount -t tmpfs -o size=$0 tmpfs /dev/shm && exec "$@"', size, *command, cwd=tmp_path
    )
    assert result.returncode == 1
    message = r"^train: .*/dev/shm.* num_worker_per_gpu: 0.*No space left on device.*--auto_resume"
    assert re.search(message, result.stderr, re.MULTILINE)


@pytest.mark.slow
@mounting
@pytest.mark.parametrize(
    ("size", "save_freq", "file"),
    [("512k", 1, r"models/net_g_\d\.pth"), ("180k", 25, r"train_tiny_\w+\.log")],
)
def test_a_disk_that_training_itself_fills_keeps_the_checkpoints_before(
    tmp_path, data, size, save_freq, file
):
    """A checkpoint takes 164 KiB; the first disk has no room for the fourth, the second none for
    the log after one.
    """
    opt = without_loader_processes(data)
    opt["val"]["val_freq"] = 1000
    opt["logger"] |= {"save_checkpoint_freq": save_freq, "keep_last": 1000}
    (tmp_path / "disk").mkdir()
    script = (
        'mount -t tmpfs -o size=$0 tmpfs disk && (cd disk && "$@"); '
        "status=$?; cp -r disk kept; exit $status"
    )
    command = training_command(tmp_path, opt, root=tmp_path / "disk")
    result = run_mounted(script, size, *command, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    place = rf"{tmp_path}/disk/experiments/tiny/{file}"
    reason = r"\(.*No space left on device\); the checkpoints "
    message = rf"^train: training stopped: .*{place} cannot be written {reason}"
    assert re.search(message, result.stderr, re.MULTILINE)
    experiment = tmp_path / "kept/experiments/tiny"
    assert not list(experiment.rglob("*.partial"))
    states = training_states(experiment / "training_states")
    assert [state.stem for state in states] == (["3", "2", "1"] if save_freq == 1 else ["25"])
    for state in states:
        assert read_training_state(state)["iter"] == int(state.stem)
        assert "params" in read_whole_checkpoint(experiment / f"models/net_g_{state.stem}.pth")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpus", "tolerance"),
    [
        pytest.param("", 1e-6, id="gloo"),
        # Not tried yet: cuDNN may choose another algorithm for another batch size.
        pytest.param(
            "0,1",
            1e-4,
            id="nccl",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(torch.cuda.device_count() == 1, reason="needs two GPUs"),
            ],
        ),
    ],
)
def test_two_processes_train_like_one_also_after_a_change_of_their_number(
    gpus, tolerance, tmp_path, data, odd_data, monkeypatch
):
    """torchrun: losses, weights and metrics of one process with the doubled batch, to rounding.

    Then each run goes on from iteration 4 with the other number of processes, and ends where it
    would have ended.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)

    def run(experiment, processes, *arguments):
        opt = options_for_processes(data, odd_data, processes) | {"name": experiment}
        opt["num_gpu"] = processes if gpus else 0
        launcher = ["--launcher", "pytorch"] if processes > 1 else []
        result = train(tmp_path, opt, *launcher, *arguments, processes=processes)
        network = weights(tmp_path, experiment, 8)
        del network["network_g"]
        return result.stderr, *records(result), network

    runs = {processes: run(f"by_{processes}", processes) for processes in (1, 2)}
    _, losses, validations, network = runs[1]
    halfway = weights(tmp_path, "by_1", 4)["params"]
    assert all(
        (network["params"][name] - halfway[name]).abs().max() > 1e-3
        for name in ("head.weight", "tail.3.weight")
    )
    for processes, finished in runs.items():
        for file in ("training_states/8.state", "models/net_g_8.pth"):
            (tmp_path / f"experiments/by_{processes}" / file).unlink()
        resumed = run(f"by_{processes}", 3 - processes, "--auto_resume")
        assert "Resuming training from epoch: 0, iter: 4." in resumed[0]
        assert list(resumed[1]) == [5, 6, 7, 8]
        for _, other_losses, other_validations, other_network in (finished, resumed):
            for number, values in other_losses.items():
                assert values == pytest.approx(losses[number], rel=2e-4)
            for number, metrics in other_validations.items():
                assert metrics == pytest.approx(validations[number], abs=2e-4)
            torch.testing.assert_close(other_network, network, atol=tolerance, rtol=0)


@pytest.fixture
def train_here(tmp_path, monkeypatch, _new_log):
    """Runs the launcher in this process, which has begun to use the GPU already; returns the last
    network.
    """
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # BasicSR switches it on for good

    def run(opt, *arguments):
        file = tmp_path / f"{opt['name']}.yml"
        file.write_text(yaml.safe_dump(opt))
        monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(file), *arguments])
        assert launch.main("train", str(tmp_path)) == 0
        return weights(tmp_path, opt["name"], 8)["params"]

    return run


@pytest.mark.gpu
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_gpu_resumes_to_rounding(tmp_path, data, odd_data, train_here, deterministic):
    """Through pinned memory and BasicSR's CUDA prefetcher; reflection padding has no deterministic
    gradient there.
    """
    opt = options_for_processes(data, odd_data, processes=1)
    opt["datasets"]["train"] |= {"pin_memory": True, "prefetch_mode": "cuda"}
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        whole = train_here(opt)
        for file in ("training_states/8.state", "models/net_g_8.pth"):
            (tmp_path / "experiments/by_1" / file).unlink()
        resumed = train_here(opt, "--auto_resume")
    finally:
        torch.use_deterministic_algorithms(False)
    halfway = weights(tmp_path, "by_1", 4)["params"]
    assert (whole["head.weight"] - halfway["head.weight"]).abs().max() > 1e-3
    torch.testing.assert_close(resumed, whole, atol=1e-4, rtol=0)


@pytest.mark.gpu
def test_a_gpu_trains_through_nccl_as_without(tmp_path, data, odd_data, train_here):
    opt = options_for_processes(data, odd_data, processes=1)
    expected = train_here(opt)
    result = train(tmp_path, opt | {"name": "nccl"}, "--launcher", "pytorch")
    assert result.returncode == 0, result.stderr
    torch.testing.assert_close(weights(tmp_path, "nccl", 8)["params"], expected, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.usefixtures("_without_gpus")
def test_a_process_that_fails_ends_the_others_with_its_message(tmp_path, data):
    """The first image of rank 1 is damaged."""
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shutil.copytree(data, tmp_path / "set")
    with (
        lmdb.open(str(tmp_path / "set/HR.lmdb"), map_size=2**24) as store,
        store.begin(write=True) as transaction,
    ):
        key = f"phantom_{order[1] % 6 + 1:04}"
        assert transaction.replace(key.encode(), b"torn")
    opt = options_for_processes(tmp_path / "set", data, processes=2)
    result = train(tmp_path, opt, "--launcher", "pytorch", processes=2)
    assert result.returncode != 0
    assert f"train (rank 1): {tmp_path}/set/HR.lmdb, key '{key}': cannot be read" in result.stderr
    assert re.search(
        r"train \(rank 0\): the exchange with the other processes failed; .*by peer", result.stderr
    )
    assert "[rank" not in result.stderr  # no tracebacks but torchrun's
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.slow
@pytest.mark.usefixtures("_without_gpus")
def test_a_process_that_is_killed_ends_the_others(tmp_path, data):
    opt = options_for_processes(data, data, processes=2)
    opt["train"]["total_iter"] = 1000
    opt["val"]["val_freq"] = 1000
    process, output = started(tmp_path, opt, "--launcher", "pytorch", processes=2)
    (killed,) = (
        pid
        for pid in children_of(process.pid)
        if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
    )
    others = children_of(process.pid) - {killed}
    os.kill(killed, signal.SIGKILL)
    assert process.wait(120) != 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in others)
    root_cause = output.read_text().partition("Root Cause")[2]
    assert re.search(r"rank +: 1 .*\n.*SIGKILL", root_cause)


def children_of(pid):
    """Process numbers of the direct children of a process."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


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
    opt["train"] |= {
        "pixel_opt": None,
        "semantic_opt": {"type": "ImageTextSemanticLoss", "encoder": "MedClip"},
    }
    opt["datasets"]["val"]["io_backend"] = "lmdb"
    result = train(tmp_path, opt)
    assert result.returncode == 2
    for part in (
        "network_g: upscale is 3, but scale is 2",
        "pixel_opt",
        "'MedClip' is unknown",
        "val: io_backend",
    ):
        assert part in result.stderr
    assert not (tmp_path / "experiments").exists()


def test_converted_weights_are_tested(tmp_path, data):
    """`m2trans convert`, then `options/test_M2Trans_x2.yml` with it."""
    official = {
        f"module.{name}": value for name, value in M2Trans(2, **NETWORK).state_dict().items()
    }
    torch.save({"model_state_dict": official}, tmp_path / "official.pt")
    convert = [
        sys.executable,
        "-m",
        "basicsr_m2trans.cli",
        "convert",
        "--num-block",
        "1",
        "official.pt",
        "out.pth",
    ]
    subprocess.run(convert, cwd=tmp_path, check=True, capture_output=True)
    opt = yaml.safe_load((ROOT / "options/test_M2Trans_x2.yml").read_text())
    opt["datasets"]["test_1"] |= {
        "dataroot_gt": str(data / "HR.lmdb"),
        "dataroot_lq": str(data / "LR_bicubic_X2.lmdb"),
    }
    opt["network_g"] |= NETWORK
    opt["path"]["pretrain_network_g"] = "out.pth"
    (tmp_path / "test.yml").write_text(yaml.safe_dump(opt))
    command = launch.command("test", str(tmp_path), "-opt", "test.yml")
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
    """The whole demo with two images and a few iterations, in a folder laid out like
    the project's.
    """
    shutil.copytree(
        ROOT / "basicsr", tmp_path / "basicsr", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "options/demo", tmp_path / "options/demo")
    file = tmp_path / demo.TRAIN_OPTIONS
    opt = yaml.safe_load(file.read_text())
    opt["train"]["total_iter"] = 8
    opt["datasets"]["train"] |= {"batch_size_per_gpu": 2, "num_worker_per_gpu": 0}
    opt["logger"] |= {"print_freq": 2, "save_checkpoint_freq": 2}
    file.write_text(yaml.safe_dump(opt))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo_data, "SPLITS", {"train": (2, 0), "val": (1, 1000)})
    assert main(["demo"]) == 0
    out, err = capfd.readouterr()
    assert "Resuming training from epoch: 0, iter: 4" in err
    rows = {
        row.split()[0]: row.split()[1:] for row in out[out.index("=== Done") :].splitlines() if row
    }
    assert len(rows["bicubic"]) == len(rows["M2Trans"]) == 4
    assert (tmp_path / "experiments/demo_M2Trans_x2/comparison.png").is_file()


def test_the_demo_names_a_step_that_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # which has no basicsr/train.py
    with pytest.raises(
        InputError,
        match=r"basicsr/train.py -opt a.yml` ended with status 2; its messages are above",
    ):
        demo._launch("Training", "train", Path("a.yml"))


def test_the_demo_needs_the_project_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="run the demo in the project's folder"):
        demo.run(None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train": {"optim_g": {"type": "Adam", "lr": "1e-4"}}},
            "train: optim_g: lr is the text '1e-4'",
        ),
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
        launch.checked("train", str(tmp_path), launch.parse_arguments())
    assert message in str(error.value)
