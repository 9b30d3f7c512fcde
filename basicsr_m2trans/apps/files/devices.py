"""Several devices side by side: one process each, which gets the next file when it has room."""

import contextlib
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from basicsr_m2trans.apps.files.batch import Result, run_jobs
from basicsr_m2trans.apps.files.jobs import Job
from basicsr_m2trans.apps.files.media import Report
from basicsr_m2trans.inference.upscaler import Upscaler
from basicsr_m2trans.utils.atomic import partial_path
from basicsr_m2trans.utils.errors import InputError

# Seconds in which a process that was interrupted must say something.
PATIENCE = 10


def split_devices(text: str) -> list[str]:
    """The devices of a list such as `cuda:0,cuda:1`.

    Raises:
        InputError: an entry is empty.
    """
    devices = [device.strip() for device in text.split(",")]
    if "" in devices:
        raise InputError(f"--device {text}: has an empty entry; write for example cuda:0,cuda:1")
    return devices


class Devices:
    """Processes that upscale files, one for each device, each with the network.

    A context manager; leaving it ends the processes and removes what they have half written.

    Args:
        make: called as `make(device=...)` in each process; can be pickled.
        devices: as `Upscaler` takes them; processes on the CPU share its threads.
        options: further arguments of `run_jobs`; can be pickled.

    Attributes:
        name: that of the upscalers.

    Raises:
        InputError: an upscaler cannot be made.
    """

    def __init__(
        self, make: Callable[..., Upscaler], devices: Sequence[str], options: dict[str, Any]
    ) -> None:
        sharing = sum(device.startswith("cpu") for device in devices)
        threads = max(1, torch.get_num_threads() // sharing) if sharing else None
        # Ctrl-C reaches all processes; this one alone decides what becomes of the work. The others
        # inherit this.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._workers = [_Worker(make, device, threads, options) for device in devices]
        finally:
            signal.signal(signal.SIGINT, handler)
        try:
            self.name, *_ = [worker.ready() for worker in self._workers]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Devices":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._interrupt()
        for worker in self._workers:
            worker.connection.close()

    def _interrupt(self) -> dict[Job, Result]:
        """Stop the processes as Ctrl-C does; what they had finished."""
        results: dict[Job, Result] = {}
        for worker in self._workers:
            worker.interrupt()
        for worker in self._workers:
            while (message := worker.receive(PATIENCE)) is not None:
                results |= _react(worker, message, deque(), lambda _: lambda *_: None)
        return results

    def run_jobs(
        self, jobs: Sequence[Job], report: Callable[[Job], Report] = lambda _: lambda *_: None
    ) -> Generator[Result, None, None]:
        """Upscale files as `run_jobs` of one device does; can be called once.

        The files of a process that is killed are marked as failed, and the other processes go on.
        If none is left, so are the files that were not tried.
        """
        waiting, results, reported = deque(jobs), dict[Job, Result](), 0
        try:
            while working := [worker for worker in self._workers if not worker.ended]:
                speaking = wait([worker.connection for worker in working])
                for worker in working:
                    if worker.connection in speaking:
                        results |= _react(worker, worker.receive(), waiting, report)
                while reported < len(jobs) and jobs[reported] in results:
                    yield results[jobs[reported]]
                    reported += 1
        except KeyboardInterrupt:
            results |= self._interrupt()
            yield from (results[job] for job in jobs[reported:] if job in results)
            raise
        results |= {job: _failed(job, "no process is left to upscale it") for job in waiting}
        yield from (results[job] for job in jobs[reported:])


def _react(
    worker: "_Worker",
    message: tuple[Any, ...] | None,
    waiting: deque[Job],
    report: Callable[[Job], Report],
) -> dict[Job, Result]:
    """Do what a message asks for; returns the results that it brings, or the process's end."""
    match message:
        case None:
            return {job: _failed(job, f"not done, because {worker.end()}") for job in worker.held}
        case ("next",):
            worker.give(waiting.popleft() if waiting else None)
        case ("progress", job, done, total):
            report(job)(done, total)
        case ("result", result):
            return {worker.held.popleft(): result}
    return {}


def _failed(job: Job, reason: str) -> Result:
    return Result(str(job.source), str(job.target), "failed", f"{job.source}: {reason}")


class _Worker:
    """One process, seen from outside.

    Attributes:
        ended: whether all that it said was received, and it says no more.
        held: the files that it has, in the order in which their results come.
    """

    def __init__(
        self,
        make: Callable[..., Upscaler],
        device: str,
        threads: int | None,
        options: dict[str, Any],
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.device, self.ended, self.held = device, False, deque[Job]()
        self.connection, other = context.Pipe()
        self._process = context.Process(
            target=_work, args=(other, make, device, threads, options), daemon=True
        )
        self._process.start()
        other.close()

    def ready(self) -> str:
        """Wait for the upscaler; returns its name."""
        match self.receive():
            case ("ready", name):
                return name
            case ("refused", reason):
                raise InputError(reason)
        raise InputError(f"device {self.device!r} cannot be used: {self.end()}")

    def receive(self, patience: float | None = None) -> tuple[Any, ...] | None:
        """The next message of `_work`; after `patience` seconds without one the process is killed.

        None when the process has ended; nothing is left then of what it has half written.
        """
        if self.ended:
            return None
        try:
            if not self.connection.poll(patience):
                self._process.kill()
            return self.connection.recv()
        except (EOFError, OSError):
            self.ended = True
            self._process.join()
            for job in self.held:
                for path in (job.target, job.comparison):
                    partial_path(path).unlink(missing_ok=True)
            return None

    def give(self, job: Job | None) -> None:
        """Answer the question for the next file; None if there is none."""
        if job is not None:
            self.held.append(job)
        with contextlib.suppress(OSError):  # the process has ended, which `receive` will report
            self.connection.send(job)

    def interrupt(self) -> None:
        """Stop the process as Ctrl-C does; `receive` gives what it still says, and its end."""
        self._process.terminate()

    def end(self) -> str:
        """How the process has ended."""
        status = self._process.exitcode or 0
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"the process for {self.device} {how}"


def _work(
    connection: Connection,
    make: Callable[..., Upscaler],
    device: str,
    threads: int | None,
    options: dict[str, Any],
) -> None:
    """What a process does: ask for files and say what becomes of them."""
    if threads and device.startswith("cpu"):
        torch.set_num_threads(threads)
    lock = threading.Lock()

    def say(*message: object) -> None:
        with lock:
            connection.send(message)

    def jobs() -> Iterator[Job]:
        say("next")
        while (job := connection.recv()) is not None:
            yield job
            say("next")

    def report(job: Job) -> Report:
        return lambda done, total: say("progress", job, done, total)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `_Worker.interrupt`
    # Without the main process nobody takes results: the file that is being written is given up.
    with contextlib.suppress(KeyboardInterrupt, EOFError, OSError):
        try:
            upscaler = make(device=device)
        except (InputError, OSError) as error:
            say("refused", str(error))
            return
        say("ready", upscaler.name)
        for result in run_jobs(upscaler, jobs(), report=report, **options):
            say("result", result)
