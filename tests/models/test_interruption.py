"""Signals as requests, and what is done about them between two iterations."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from basicsr_m2trans.models.interruption import STOP_REQUEST, StopRequest, TrainingStopped, start_worker, stop_if_asked


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
    assert f"{signal.Signals(number).name}: training stops after this iteration" in capfd.readouterr().err
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
    """A SIGTERM after Ctrl-C does not: `m2trans compare` sends one to a trainer that the terminal has interrupted."""
    code = f"""
import os, signal
from basicsr_m2trans.models.interruption import StopRequest
with StopRequest().listening():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.{second})
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == status


def test_without_a_signal_nothing_happens(asked, tmp_path):
    asked(0)
    model = Model(tmp_path)
    stop_if_asked(model, start_at(5), 9)
    assert model.saved == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_request_saves_and_stops(asked, number, status, tmp_path):
    asked(number)
    model = Model(tmp_path)
    with pytest.raises(TrainingStopped, match=r"after iteration 9, checkpoint saved; .*--auto_resume") as stopped:
        stop_if_asked(model, start_at(5), 9)
    assert stopped.value.status == status
    assert model.saved == [(3, 9)]


def test_beside_later_states_the_one_to_go_on_from_is_named(asked, tmp_path):
    """After `path: resume_state` of an old state, --auto_resume would go on with the branch that was left."""
    asked(signal.SIGTERM)
    (tmp_path / "20.state").touch()
    expected = rf"set path: resume_state to {tmp_path}/9\.state; --auto_resume would take a later state"
    with pytest.raises(TrainingStopped, match=expected):
        stop_if_asked(Model(tmp_path), start_at(5), 9)


@pytest.mark.parametrize(("iteration", "message"), [(5, "--auto_resume to go on"), (0, "to begin again")])
def test_a_run_that_has_not_trained_saves_nothing(asked, iteration, message, tmp_path):
    asked(signal.SIGTERM)
    model = Model(tmp_path)
    with pytest.raises(TrainingStopped, match=f"iteration {iteration}, nothing new to save; .*{message}"):
        stop_if_asked(model, start_at(iteration), iteration)
    assert model.saved == []


def test_all_processes_stop_where_one_is_asked(asked, monkeypatch, tmp_path):
    asked(0)
    waited = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flag, _operation: flag.fill_(signal.SIGTERM))
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waited.append(list(model.saved)))
    model = Model(tmp_path, dist=True)
    with pytest.raises(TrainingStopped, match="stopped by SIGTERM after iteration 2"):
        stop_if_asked(model, start_at(0), 2)
    assert waited == [[(3, 2)]]


def test_loader_processes_leave_the_signals_of_others_to_the_trainer():
    """Only a SIGTERM of the parent ends them; Python sends one when it exits, and waits."""
    code = """
import os, signal, sys
from basicsr_m2trans.models.interruption import start_worker
start_worker(lambda worker: print(worker, flush=True), 4)
for number in 2 * (signal.SIGINT, signal.SIGTERM):
    os.system(f"kill -{number} {os.getpid()}")
print("alive", flush=True)
sys.stdin.read()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as process:
        assert [process.stdout.readline() for _ in range(2)] == ["4\n", "alive\n"]
        process.terminate()
        assert process.wait(60) == 0


def test_start_worker_can_be_sent_to_a_spawned_process():
    import functools
    import pickle

    function = pickle.loads(pickle.dumps(functools.partial(start_worker, print)))
    assert (function.func, function.args) == (start_worker, (print,))
