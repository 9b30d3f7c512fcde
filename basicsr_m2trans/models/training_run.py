"""A training under way: where it began, and the signals that stop it with a checkpoint."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

from basicsr_m2trans.checkpoints.training_states import latest_training_state
from basicsr_m2trans.models.training_position import TrainingPosition

# Of a scheduler or `kill`, and of Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class TrainingStopped(Exception):
    """A signal has ended training between two iterations; the message says how to go on.

    Args:
        number: the signal.
        iteration: the last one that was trained.
        saved: whether a checkpoint of it had to be saved, because the run has trained since its
            beginning.
        state: the state of that iteration, if the run's folder holds a later one, of a branch that
            was left.

    Attributes:
        status: the exit status by the convention of shells: 143 after SIGTERM, 130 after Ctrl-C.
    """

    def __init__(self, number: int, iteration: int, saved: bool, state: Path | None = None) -> None:
        done = "checkpoint saved" if saved else "nothing new to save"
        again = (
            "repeat the command with --auto_resume to go on"
            if iteration
            else "repeat the command to begin again"
        )
        if state is not None:
            again = (
                f"to go on here, set path: resume_state to {state}; --auto_resume would take a "
                "later state"
            )
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name} after iteration {iteration}, {done}; {again}")
        self.status = 128 + number


class StopRequest:
    """The signal that has asked this process to stop training.

    Attributes:
        number: the signal, 0 for none.
    """

    def __init__(self) -> None:
        self.number = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take signals as requests; a second Ctrl-C ends the process at once, in the middle of
        whatever it does.
        """
        self.number = 0
        previous = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in previous.items():
            # Shells make processes in the background ignore Ctrl-C, which is meant for others.
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._receive)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        message = (
            f"{signal.Signals(number).name}: training stops after this iteration and its validation"
        )
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            message += "; Ctrl-C again ends it at once"
        # `print` cannot be entered again where a signal has interrupted it.
        os.write(2, f"\n{message}\n".encode())


class TrainingRun:
    """What the parts of one training know of each other, which BasicSR builds one by one.

    Attributes:
        request: the signal that has asked it to stop.
        position: where it began; None before its loaders are made.
        sampler: the training sampler, which knows the epoch; None before.
    """

    def __init__(self) -> None:
        self.request = StopRequest()
        self.position: TrainingPosition | None = None
        self.sampler: Any = None
        self._handlers = contextlib.ExitStack()

    @contextlib.contextmanager
    def current(self) -> Iterator["TrainingRun"]:
        """Be the run that `current_run` gives; at the end the process handles signals as before."""
        token = _current.set(self)
        try:
            with self._handlers:
                yield self
        finally:
            _current.reset(token)

    def listen(self) -> None:
        """Take signals as requests from now on, for a model that will ask `stop_if_asked`."""
        self._handlers.enter_context(self.request.listening())


_current: ContextVar[TrainingRun | None] = ContextVar("current training run", default=None)


def current_run() -> TrainingRun | None:
    """The run that the launcher has begun; None in a program that trains by itself."""
    return _current.get()


def stop_if_asked(model: Any, run: TrainingRun, iteration: int) -> None:
    """End training where a signal has asked any of its processes for it.

    Args:
        model: the BasicSR model, between two iterations.
        run: the model's.
        iteration: the one that has ended, with its log, checkpoint and validation.

    Raises:
        TrainingStopped: a signal has asked for it, and the checkpoint is saved.
    """
    number = run.request.number
    if model.opt["dist"]:
        import torch

        # A process that stops alone would leave the others waiting for its gradients.
        highest = torch.tensor(number, device=model.device)
        torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX)
        number = int(highest)
    if not number:
        return
    assert run.position is not None  # BasicSR makes the loaders before it trains
    progress = iteration > run.position.iteration
    if progress:
        model.save(run.sampler.epoch, iteration)
        if model.opt["dist"]:
            # torchrun ends all processes as soon as one has ended, and the first is still saving.
            torch.distributed.barrier()
    folder = Path(model.opt["path"]["training_states"])
    newest = latest_training_state(folder)
    later = newest is not None and int(newest.stem) > iteration
    state = folder / f"{iteration}.state" if later else None
    raise TrainingStopped(number, iteration, progress, state)
