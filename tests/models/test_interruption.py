"""Signals as requests, and what is done about them between two iterations."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from basicsr_m2trans.models.interruption import (
    STOP_REQUEST,
    StopRequest,
    TrainingStopped,
    leave_signals_to_trainer,
    stop_if_asked,
)


class Model:
    """Records what is saved."""

    def __init__(self, folder, dist=False):
        self.opt = {"dist": dist, "path": {"training_states": str(folder)}}
        self.device = torch.device("cpu")
        self.saved = []

    def save(self, epoch, iteration):
        self.saved.append((epoch, iteration))


def start_at(iteration, epoch=3):
    return SimpleNamespace(iteration=iteration, sampler=SimpleNamespace(epoch=epoch))


@pytest.fixture
def asked(monkeypatch):
    return lambda number: monkeypatch.setattr(STOP_REQUEST, "number", number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_and_handlers_come_back(number, capfd):
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    request = StopRequest()
    with request.listening():
        assert request.number == 0
        os.kill(os.getpid(), number)
        assert request.number == number
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
    assert (
        f"{signal.Signals(number).name}: training stops after this iteration"
        in capfd.readouterr().err
    )
    with request.listening():
        assert request.number == 0


def test_an_ignored_signal_stays_ignored():
    """As in a shell's background process."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest().listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("second", "status"), [("SIGINT", -signal.SIGINT), ("SIGTERM", 0)])
def test_a_second_ctrl_c_ends_at_once(second, status):
    """A SIGTERM after Ctrl-C does not: `m2trans compare` sends one to a trainer that the terminal
    has interrupted.
    """
    code = f"""
import os, signal
from basicsr_m2trans.models.interruption import StopRequest
with StopRequest().listening():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.{second})
"""
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == status
    )


def test_without_a_signal_nothing_happens(asked, tmp_path):
    asked(0)
    model = Model(tmp_path)
    stop_if_asked(model, start_at(5), 9)
    assert model.saved == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_request_saves_and_stops(asked, number, status, tmp_path):
    asked(number)
    model = Model(tmp_path)
    with pytest.raises(
        TrainingStopped, match=r"after iteration 9, checkpoint saved; .*--auto_resume"
    ) as stopped:
        stop_if_asked(model, start_at(5), 9)
    assert stopped.value.status == status
    assert model.saved == [(3, 9)]


def test_beside_later_states_the_one_to_go_on_from_is_named(asked, tmp_path):
    """After `path: resume_state` of an old state, --auto_resume would go on with the branch that
    was left.
    """
    asked(signal.SIGTERM)
    (tmp_path / "20.state").touch()
    expected = (
        rf"set path: resume_state to {tmp_path}/9\.state; --auto_resume would take a later state"
    )
    with pytest.raises(TrainingStopped, match=expected):
        stop_if_asked(Model(tmp_path), start_at(5), 9)


@pytest.mark.parametrize(
    ("iteration", "message"), [(5, "--auto_resume to go on"), (0, "to begin again")]
)
def test_a_run_that_has_not_trained_saves_nothing(asked, iteration, message, tmp_path):
    asked(signal.SIGTERM)
    model = Model(tmp_path)
    with pytest.raises(
        TrainingStopped, match=f"iteration {iteration}, nothing new to save; .*{message}"
    ):
        stop_if_asked(model, start_at(iteration), iteration)
    assert model.saved == []


def test_all_processes_stop_where_one_is_asked(asked, monkeypatch, tmp_path):
    asked(0)
    waited = []
    monkeypatch.setattr(
        torch.distributed, "all_reduce", lambda flag, _operation: flag.fill_(signal.SIGTERM)
    )
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waited.append(list(model.saved)))
    model = Model(tmp_path, dist=True)
    with pytest.raises(TrainingStopped, match="stopped by SIGTERM after iteration 2"):
        stop_if_asked(model, start_at(0), 2)
    assert waited == [[(3, 2)]]


LOADER = """
import os, sys, torch
from basicsr_m2trans.models.interruption import leave_signals_to_trainer

class Images:
    def __len__(self):
        return 4

    def __getitem__(self, number):
        for signal in ("INT", "TERM"):
            os.system(f"kill -{signal} {os.getpid()}")
        return number

if __name__ == "__main__":
    torch.multiprocessing.set_start_method(sys.argv[1])
    loader = torch.utils.data.DataLoader(Images(), num_workers=1, persistent_workers=True)
    leave_signals_to_trainer(loader)
    print([int(number) for number in loader])
"""


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_loader_processes_leave_the_signals_of_others_to_the_trainer(
    tmp_path, monkeypatch, start_method
):
    """Only a SIGTERM of the parent ends them, which Python sends when it exits, and waits."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # pools of threads, which would take the signals
    (tmp_path / "loader.py").write_text(LOADER)
    command = [sys.executable, str(tmp_path / "loader.py"), start_method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3]\n"), done.stderr


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_loader_processes_of_a_trainer_that_is_killed_while_they_start_end(tmp_path, start_method):
    """One that goes on would keep the lock of the run, and no SIGTERM would end it."""
    (tmp_path / "loader.py").write_text(
        LOADER.replace(
            "print([int(number) for number in loader])", "iter(loader); os.kill(os.getpid(), 9)"
        )
    )
    command = [sys.executable, str(tmp_path / "loader.py"), start_method]
    # Ends when all processes have closed their output.
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == -9


def test_a_loader_process_that_fails_to_start_ends_the_trainer(tmp_path):
    (tmp_path / "loader.py").write_text(
        LOADER.replace("num_workers=1", "num_workers=1, worker_init_fn=(1).__floordiv__")
    )
    command = [sys.executable, str(tmp_path / "loader.py"), "fork"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "Caught ZeroDivisionError in DataLoader worker process 0" in done.stderr


def test_a_loader_without_processes_stays_as_it_is():
    loader = torch.utils.data.DataLoader([1, 2])
    leave_signals_to_trainer(loader)
    assert (loader.multiprocessing_context, loader.worker_init_fn) == (None, None)
