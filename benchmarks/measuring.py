"""How the benchmarks measure: synchronised times, in turn and after a warm-up, and peak memory."""

import math
import multiprocessing
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

# A run is warm when two times in succession differ by no more than this share, or after this many
# runs or this share of the budget; on a GPU not before this many runs after the first, because a
# CUDA graph is recorded in the second.
STABLE = 0.05
MOST_WARM_UPS = 10
WARM_UP_SHARE = 0.1
LEAST_WARM_UPS = {"cpu": 1, "cuda": 3}


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run, until the device has finished it."""
    _wait_for(device)
    start = time.perf_counter()
    run()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def warm_up(run: Callable[[], object], device: torch.device, budget: float = math.inf) -> None:
    """Run until two times in succession agree, at least twice, and on a GPU four times.

    Args:
        run: what will be timed.
        device: that computes it.
        budget: seconds for the repetitions of the run. After a tenth of it no further run starts
            but the least that there must be; the first, which may compile, does not count.
    """
    latest, total = seconds_of(run, device), 0.0
    for count in range(1, MOST_WARM_UPS):
        previous, latest = latest, seconds_of(run, device)
        total += latest
        warm = abs(latest - previous) <= STABLE * previous or total > WARM_UP_SHARE * budget
        if warm and count >= LEAST_WARM_UPS[device.type]:
            return


def time_in_turn(
    runs: Sequence[Callable[[], object]],
    repetitions: int,
    device: torch.device,
    budget: float = math.inf,
) -> list[list[float]]:
    """Seconds of each run; they take turns, so that a busy machine slows all alike.

    Args:
        runs: warm already.
        repetitions: of each run.
        device: that computes them.
        budget: seconds after which a run gets no further repetition; the first one it always gets.
    """
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repetitions):
        for run, values in zip(runs, times, strict=True):
            if sum(values) < budget:
                values.append(seconds_of(run, device))
    return times


def peak_memory(
    device: torch.device, make_run: Callable[..., Callable[[], object]], *arguments: object
) -> float:
    """MiB that one run adds to the peak: of the allocator on a GPU, of a process on a CPU.

    Args:
        device: that computes the run.
        make_run: a function of a module; what it returns is the run. What is in memory before the
            run (the network, its input) does not count. For a CPU it is called in a fresh process.
        *arguments: its arguments.
    """
    if device.type == "cuda":
        return allocator_peak(make_run(*arguments), device)
    # Each is forked from one that has loaded what all of them need, which takes seconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "basicsr_m2trans.archs", "basicsr_m2trans.encoders.medclip"]
    )
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_process_peak, torch.get_num_threads(), make_run, *arguments).result()


def allocator_peak(run: Callable[[], object], device: torch.device) -> float:
    """MiB by which one run raises what PyTorch has allocated on a GPU at its peak."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    _wait_for(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _process_peak(
    threads: int, make_run: Callable[..., Callable[[], object]], *arguments: object
) -> float:
    torch.set_num_threads(threads)
    run = make_run(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _resident_peak()
    run()
    return _resident_peak() - before


def _resident_peak() -> float:
    """Peak resident memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
