"""What the benchmarks share: their arguments, paired timing, peak memory, and a report as table and JSON.

Ratios are reference over measured, repetition by repetition: 2 means twice as fast, or half the memory. Figures of one
report come from one run on one machine, so ratios can be compared where seconds cannot.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NoReturn

import cv2
import torch

from basicsr_m2trans.atomic import write_atomic
from basicsr_m2trans.errors import InputError

PACKAGES = ("basicsr_m2trans", "basicsr", "torch", "numpy", "opencv-python", "transformers", "piq")
WARM_UPS = 1


def parse_arguments(
    description: str,
    argv: Sequence[str] | None,
    repetitions: int = 7,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> argparse.Namespace:
    """The arguments that all benchmarks have, and those of one; also sets the number of threads.

    Returns:
        `threads`, `repetitions`, `quick`, `json` (a path or None), and what `add_arguments` has declared.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else 2,
        help="processor threads (default: OMP_NUM_THREADS, or else 2)",
    )
    parser.add_argument(
        "--repetitions", type=int, default=repetitions, metavar="N", help=f"of each figure (default: {repetitions})"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure to a JSON file")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows in seconds that the benchmark runs, and nothing else"
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    if min(args.threads, args.repetitions) < 1:
        parser.error("--threads and --repetitions must be at least 1")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist; make it first")
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    return args


def run_script(main: Callable[[], int]) -> NoReturn:
    """Run a benchmark as a program; a mistake in its input is told in one message, with status 2."""
    try:
        sys.exit(main())
    except InputError as error:
        print(f"m2trans bench: {error}", file=sys.stderr)
        sys.exit(2)


def evenly_chosen(
    folder: Path | None, scale: int, count: int, phantom_side: int = 256
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """LR (1, 3, h, w) and HR (1, 3, scale * h, scale * w), RGB in [0, 1], of up to `count` images of a prepared set.

    Args:
        folder: what `m2trans prepare` wrote; None for phantoms.
        scale: of the LR images.
        count: how many at most, evenly chosen.
        phantom_side: side of the phantoms' HR images.
    """
    from basicsr_m2trans.data.images import to_tensor
    from basicsr_m2trans.data.phantom import make_phantom
    from basicsr_m2trans.report.evaluation import build_set

    if folder is None:
        for seed in range(count):
            hr = to_tensor(make_phantom(seed, phantom_side, phantom_side)).expand(3, -1, -1)[None]
            lr = torch.nn.functional.interpolate(hr, scale_factor=1 / scale, mode="bicubic", antialias=True)
            yield lr.clamp(0, 1), hr
        return
    dataset = build_set(folder, scale)
    for index in torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().int().tolist():
        yield dataset[index]["lq"][None], dataset[index]["gt"][None]


def time_in_turn(runs: Sequence[Callable[[], object]], repetitions: int) -> list[list[float]]:
    """Seconds of each run, `repetitions` times; they take turns, so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in runs]
    for repetition in range(-WARM_UPS, repetitions):
        for run, values in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            if repetition >= 0:
                values.append(time.perf_counter() - start)
    return times


def peak_memory(make_run: Callable[..., Callable[[], object]], *arguments: object) -> float:
    """MiB by which one run raises a process's memory at its peak.

    Args:
        make_run: a function of a module, called in a fresh process; what it returns is the run. What is in memory
            before the run (the network, its input) does not count.
        *arguments: its arguments.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_memory, torch.get_num_threads(), make_run, *arguments).result()


def _peak_memory(threads: int, make_run: Callable[..., Callable[[], object]], *arguments: object) -> float:
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


class Report:
    """Prints figures as they are measured and keeps them for the JSON file.

    Args:
        name: of the benchmark.
        args: from `parse_arguments`.
    """

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.json = args.json
        self.repetitions = args.repetitions
        settings = {"threads": args.threads, "repetitions": args.repetitions, "quick": args.quick}
        self.content = {"benchmark": name, "machine": machine(), "versions": versions(), "settings": settings}
        self.figures: list[dict] = []
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in settings.items())}")
        print(", ".join(f"{key}: {value}" for key, value in self.content["machine"].items()))
        print(", ".join(f"{package} {version}" for package, version in self.content["versions"].items()))
        print(f"{'':46}{'median':>10}{'min':>10}{'max':>10} {'unit':10}{'ratio (min-max)':>20}")

    def compare(self, case: str, runs: Mapping[str, Callable[[], object]], items: int = 0, unit: str = "s") -> None:
        """Time all runs in turn; the first is the reference of the ratios.

        Args:
            case: what is measured.
            runs: by name, what is timed.
            items: where given, the figures are items per second instead of seconds.
            unit: of the figures.
        """
        times = time_in_turn(list(runs.values()), self.repetitions)
        for name, values in zip(runs, times, strict=True):
            figures = [items / value for value in values] if items else values
            ratios = None if values is times[0] else [a / b for a, b in zip(times[0], values, strict=True)]
            self.add(case, name, unit, figures, ratios)

    def add(
        self, case: str, name: str, unit: str, values: Sequence[float], ratios: Sequence[float] | None = None
    ) -> None:
        """Print and keep one figure.

        Args:
            case, name: what was measured, and on which path.
            unit: of the values.
            values: one for each repetition.
            ratios: to the reference, one for each repetition.
        """
        figure = {"case": case, "name": name, "unit": unit, **spread(values)}
        if ratios is not None:
            figure["ratio"] = spread(ratios)
        if not self.figures or self.figures[-1]["case"] != case:
            print(case)
        self.figures.append(figure)
        line = f"  {name:44}{figure['median']:10.4g}{figure['min']:10.4g}{figure['max']:10.4g} {unit:10}"
        if ratios is not None:
            ratio = figure["ratio"]
            line += f"{ratio['median']:>8.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})"
        print(line, flush=True)

    def median(self, name: str) -> float:
        """Median of the latest figure of this name."""
        return next(figure["median"] for figure in reversed(self.figures) if figure["name"] == name)

    def finish(self) -> int:
        """Write the JSON file where one was asked for; returns the exit status."""
        if self.json:
            content = self.content | {"figures": self.figures}
            write_atomic(self.json, (json.dumps(content, indent=1) + "\n").encode())
        return 0


def spread(values: Sequence[float]) -> dict[str, float | list[float]]:
    """Minimum, median, maximum and the values themselves."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "values": list(values)}


def machine() -> dict[str, str]:
    """Processor, cores, and GPU if there is one."""
    cpu_info = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*: (.*)", cpu_info.read_text()) if cpu_info.is_file() else None
    return {
        "processor": match[1] if match else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def versions() -> dict[str, str]:
    """Python's version and those of the packages whose speed counts."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found
