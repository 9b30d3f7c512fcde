"""SIGTERM and Ctrl-C during training: the iteration is finished, a checkpoint is saved, and
training ends.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkContext, ForkProcess, SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

# Of a scheduler or `kill`, and of Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGINT)
# How often a loader process looks whether its trainer lives, as PyTorch's own watch.
_LOOK_SECONDS = 5.0


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


# A process has one set of signal handlers and trains one model.
STOP_REQUEST = StopRequest()


def stop_if_asked(model: Any, start: Any, iteration: int) -> None:
    """End training where a signal has asked any of its processes for it.

    Args:
        model: the BasicSR model, between two iterations.
        start: the run's `TrainingStart`.
        iteration: the one that has ended, with its log, checkpoint and validation.

    Raises:
        TrainingStopped: a signal has asked for it, and the checkpoint is saved.
    """
    number = STOP_REQUEST.number
    if model.opt["dist"]:
        import torch

        # A process that stops alone would leave the others waiting for its gradients.
        highest = torch.tensor(number, device=model.device)
        torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX)
        number = int(highest)
    if not number:
        return
    progress = iteration > start.iteration
    if progress:
        model.save(start.sampler.epoch, iteration)
        if model.opt["dist"]:
            # torchrun ends all processes as soon as one has ended, and the first one is still
            # saving.
            torch.distributed.barrier()
    from basicsr_m2trans.checkpoints.training_states import latest_training_state

    folder = Path(model.opt["path"]["training_states"])
    newest = latest_training_state(folder)
    later = newest is not None and int(newest.stem) > iteration
    raise TrainingStopped(
        number, iteration, progress, folder / f"{iteration}.state" if later else None
    )


class _StartedBlocked(BaseProcess):
    def start(self) -> None:
        # All threads of a new process inherit the mask of the thread that starts it. In
        # `_start_worker` it is too late: a spawned process has imported NumPy, whose pool of
        # threads would take the signal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _ForkedBlocked(_StartedBlocked, ForkProcess):
    pass


class _SpawnedBlocked(_StartedBlocked, SpawnProcess):
    pass


class _ForkContextBlocked(ForkContext):
    Process = _ForkedBlocked


class _SpawnContextBlocked(SpawnContext):
    Process = _SpawnedBlocked


def leave_signals_to_trainer(loader: Any) -> None:
    """Let a loader's processes work until the trainer ends them, because it needs their images to
    end its iteration.

    Terminals, schedulers and torchrun send a signal to all processes of a run.

    Args:
        loader: a PyTorch `DataLoader` that has not been iterated over, with or without processes.
    """
    if loader.num_workers:
        # Trainings of several processes spawn theirs (`init_dist` of BasicSR).
        spawn = multiprocessing.get_start_method() == "spawn"
        loader.multiprocessing_context = _SpawnContextBlocked() if spawn else _ForkContextBlocked()
        loader.worker_init_fn = functools.partial(_start_worker, loader.worker_init_fn)


def _start_worker(initialise: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # First of all, because a trainer whose loader process fails to start ends it, too.
    threading.Thread(target=_end_with_the_trainer, daemon=True).start()
    if initialise is not None:
        initialise(worker)


def _end_with_the_trainer() -> None:
    trainer = multiprocessing.parent_process().pid  # type: ignore[union-attr]  # loader processes have a parent
    # A killed trainer sends nothing, and PyTorch's own watch begins after this and takes any parent
    # for the trainer.
    while os.getppid() == trainer:
        # A trainer that fails sends SIGTERM, and waits. A signal handler of Python does not learn
        # who has sent it.
        received = signal.sigtimedwait([signal.SIGTERM], _LOOK_SECONDS)
        if received is not None and received.si_pid == trainer:
            break
    os._exit(0)
