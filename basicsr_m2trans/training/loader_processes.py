"""Processes that load images for a training, and end with it."""

import functools
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.context import ForkContext, ForkProcess, SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

from basicsr_m2trans import compat
from basicsr_m2trans.utils.processes import end_with_parent

# A process that is spawned imports this module first, and then BasicSR's data set.
compat.apply()


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
    end_with_parent()
    if initialise is not None:
        initialise(worker)
