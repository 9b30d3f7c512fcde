"""Signals as requests, and what is done about them between two iterations."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from basicsr_m2trans.models.training_position import TrainingPosition
from basicsr_m2trans.models.training_run import (
    StopRequest,
    TrainingRun,
    TrainingStopped,
    current_run,
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


def run_from(iteration, asked=0):
    """A run that has begun after `iteration`, in its epoch 3 now, and has received a signal."""
    run = TrainingRun()
    run.position = TrainingPosition(2, iteration, 0, 8, 1)
    run.sampler = SimpleNamespace(epoch=3)
    run.request.number = asked
    return run


def test_a_run_is_current_while_it_lasts_and_gives_the_signals_back():
    before = signal.getsignal(signal.SIGTERM)
    with TrainingRun().current() as run:
        assert current_run() is run
        assert signal.getsignal(signal.SIGTERM) == before
        run.listen()
        assert signal.getsignal(signal.SIGTERM) != before
    assert current_run() is None
    assert signal.getsignal(signal.SIGTERM) == before


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
from basicsr_m2trans.models.training_run import StopRequest
with StopRequest().listening():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.{second})
"""
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == status
    )


def test_without_a_signal_nothing_happens(tmp_path):
    model = Model(tmp_path)
    stop_if_asked(model, run_from(5), 9)
    assert model.saved == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_request_saves_and_stops(number, status, tmp_path):
    model = Model(tmp_path)
    with pytest.raises(
        TrainingStopped, match=r"after iteration 9, checkpoint saved; .*--auto_resume"
    ) as stopped:
        stop_if_asked(model, run_from(5, number), 9)
    assert stopped.value.status == status
    assert model.saved == [(3, 9)]


def test_beside_later_states_the_one_to_go_on_from_is_named(tmp_path):
    """After `path: resume_state` of an old state, --auto_resume would go on with the branch that
    was left.
    """
    (tmp_path / "20.state").touch()
    expected = (
        rf"set path: resume_state to {tmp_path}/9\.state; --auto_resume would take a later state"
    )
    with pytest.raises(TrainingStopped, match=expected):
        stop_if_asked(Model(tmp_path), run_from(5, signal.SIGTERM), 9)


@pytest.mark.parametrize(
    ("iteration", "message"), [(5, "--auto_resume to go on"), (0, "to begin again")]
)
def test_a_run_that_has_not_trained_saves_nothing(iteration, message, tmp_path):
    model = Model(tmp_path)
    with pytest.raises(
        TrainingStopped, match=f"iteration {iteration}, nothing new to save; .*{message}"
    ):
        stop_if_asked(model, run_from(iteration, signal.SIGTERM), iteration)
    assert model.saved == []


def test_all_processes_stop_where_one_is_asked(monkeypatch, tmp_path):
    waited = []
    monkeypatch.setattr(
        torch.distributed, "all_reduce", lambda flag, _operation: flag.fill_(signal.SIGTERM)
    )
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waited.append(list(model.saved)))
    model = Model(tmp_path, dist=True)
    with pytest.raises(TrainingStopped, match="stopped by SIGTERM after iteration 2"):
        stop_if_asked(model, run_from(0), 2)
    assert waited == [[(3, 2)]]
