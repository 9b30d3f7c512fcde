"""The report of a benchmark, as table and JSON.

Ratios are reference over measured, repetition by repetition: 2 means twice as fast, or half the
memory. Figures of one report come from one run on one machine, so ratios can be compared where
seconds cannot.
"""

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from floors import Rates, count_work
from measuring import allocator_peak, time_in_turn, warm_up
from networks import NetworkRun

from basicsr_m2trans.utils.atomic import write_atomic

PACKAGES = ("basicsr_m2trans", "basicsr", "torch", "numpy", "opencv-python", "transformers", "piq")
Run = Callable[[], object]


class Report:
    """Prints figures as they are measured and keeps them for the JSON file.

    Args:
        name: of the benchmark.
        args: from `parse_arguments`.
        rates: of the device, where figures of networks are to have their floors beside them.
    """

    def __init__(self, name: str, args: argparse.Namespace, rates: Rates | None = None) -> None:
        self.name, self.json, self.device, self.rates = name, args.json, args.device, rates
        self.repetitions, self.budget, self.with_rivals = args.repetitions, args.budget, args.rivals
        keys = ("threads", "repetitions", "budget", "quick")
        settings = {"device": str(args.device), **{key: getattr(args, key) for key in keys}}
        self.content = {
            "benchmark": name,
            "machine": machine(),
            "versions": versions(),
            "settings": settings,
        }
        self.case = ""
        self.figures: list[dict] = []
        self.failures: list[dict] = []
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in settings.items())}")
        print(", ".join(f"{key}: {value}" for key, value in self.content["machine"].items()))
        print(
            ", ".join(
                f"{package} {version}" for package, version in self.content["versions"].items()
            )
        )
        header = f"{'':46}{'median':>10}{'min':>10}{'max':>10} {'unit':10}{'ratio (min-max)':>20}"
        if rates:
            self.content["rates"] = {"copy": rates.copy, "products": dict(rates.products)}
            products = ", ".join(
                f"{key} {value / 1e12:.3g}" for key, value in rates.products.items()
            )
            print(
                f"measured rates: copy {rates.copy / 1e9:.4g} GB/s; matrix products {products} "
                "TFLOP/s"
            )
            header += f"{'by bytes':>10}{'by operations':>14}{'reached':>9}"
        print(header + (f"{'peak MiB':>10}" if self.device.type == "cuda" else ""))

    def compare(self, case: str, runs: Mapping[str, Run], items: int = 0, unit: str = "s") -> None:
        """Time all runs in turn; the first is the reference of the ratios.

        Args:
            case: what is measured.
            runs: by name, what is timed.
            items: where given, the figures are items per second instead of seconds.
            unit: of the figures.
        """
        floors = {name: self.floors(run, items) for name, run in runs.items()}
        for run in runs.values():
            warm_up(run, self.device, self.budget)
        times = time_in_turn(list(runs.values()), self.repetitions, self.device, self.budget)
        for (name, run), values in zip(runs.items(), times, strict=True):
            reference = None if values is times[0] else times[0]
            self._add_timed(
                case, name, unit, items, values, reference, floors[name] | self._peak(run)
            )
        # Figures of a benchmark that is stopped later on are not lost.
        self._write()

    def compare_rivals(
        self,
        case: str,
        makers: Mapping[str, Callable[[], Run]],
        reference: Run,
        items: int = 0,
        unit: str = "s",
    ) -> None:
        """The same as `compare_made`, unless rivals are to be left out."""
        if self.with_rivals:
            self.compare_made(case, makers, reference, items, unit)

    def compare_made(
        self,
        case: str,
        makers: Mapping[str, Callable[[], Run]],
        reference: Run | None = None,
        items: int = 0,
        unit: str = "s",
    ) -> None:
        """Make, time and forget one run after the other; a failure is reported and stops nothing.

        Args:
            case, items, unit: see `compare`.
            makers: by name, what makes a run.
            reference: of the ratios, timed in turn with each run; None for the first run that does
                not fail.
        """
        for name, make in makers.items():
            # Whatever a library raises; the other runs are still worth measuring.
            try:
                reference = self._compare_made(case, name, unit, items, reference, make)
            except Exception as error:
                self._fail(case, name, error)
            # `torch.compile` keeps few versions of one function, and a GPU's memory is for the next
            # run.
            torch.compiler.reset()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self._write()

    def _compare_made(
        self,
        case: str,
        name: str,
        unit: str,
        items: int,
        reference: Run | None,
        make: Callable[[], Run],
    ) -> Run:
        """Returns the reference, which is the run itself if there was none."""
        run = make()
        floors = self.floors(run, items)
        runs = [reference, run] if reference else [run]
        # The reference, too: its memory and what was compiled for it went with the run before.
        for each in runs:
            warm_up(each, self.device, self.budget)
        times = time_in_turn(runs, self.repetitions, self.device, self.budget)
        self._add_timed(
            case,
            name,
            unit,
            items,
            times[-1],
            times[0] if reference else None,
            floors | self._peak(run),
        )
        return runs[0]

    def _add_timed(
        self,
        case: str,
        name: str,
        unit: str,
        items: int,
        seconds: Sequence[float],
        reference: Sequence[float] | None,
        details: dict[str, float],
    ) -> None:
        # A slow run has fewer repetitions than the reference, or the other way round.
        ratios = (
            [a / b for a, b in zip(reference, seconds, strict=False)]
            if reference is not None
            else None
        )
        self.add(
            case,
            name,
            unit,
            [items / value for value in seconds] if items else seconds,
            ratios,
            details,
        )

    def floors(self, run: Run, items: int = 0) -> dict[str, float]:
        """A network's floors in the unit of its figure: least seconds, or most items per second."""
        if not self.rates or not isinstance(run, NetworkRun) or not run.floors:
            return {}
        floors = self.rates.floors(count_work(run.counted or run), run.precision == "TF32")
        by_bytes, by_operations = (items / seconds if items else seconds for seconds in floors)
        return {"by_bytes": by_bytes, "by_operations": by_operations}

    def _peak(self, run: Run) -> dict[str, float]:
        known = self.device.type == "cuda" and isinstance(run, NetworkRun) and run.peak
        return {"peak_MiB": allocator_peak(run, self.device)} if known else {}

    def add(
        self,
        case: str,
        name: str,
        unit: str,
        values: Sequence[float],
        ratios: Sequence[float] | None = None,
        details: Mapping[str, float] | None = None,
    ) -> None:
        """Print and keep one figure.

        Args:
            case, name: what was measured, and on which path.
            unit: of the values.
            values: one for each repetition.
            ratios: to the reference, one for each repetition.
            details: floors (`by_bytes`, `by_operations`) and the peak of the memory on a GPU
                (`peak_MiB`).
        """
        figure = {"case": case, "name": name, "unit": unit, **spread(values), **(details or {})}
        line = (
            f"  {name:44}{figure['median']:10.4g}{figure['min']:10.4g}{figure['max']:10.4g} "
            f"{unit:10}"
        )
        if ratios is not None:
            ratio = figure["ratio"] = spread(ratios)
            line += f"{ratio['median']:>8.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})"
        line = f"{line:107}"
        if "by_bytes" in figure:
            figure["reached"] = reached(
                figure["median"], figure["by_bytes"], figure["by_operations"], unit == "s"
            )
            line += (
                f"{figure['by_bytes']:10.4g}{figure['by_operations']:14.4g}{figure['reached']:9.1%}"
            )
        if "peak_MiB" in figure:
            line += f"{figure['peak_MiB']:10.0f}"
        self._print_case(case)
        self.figures.append(figure)
        print(line.rstrip(), flush=True)

    def _fail(self, case: str, name: str, error: Exception) -> None:
        message = (
            f"{type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        )
        self._print_case(case)
        self.failures.append({"case": case, "name": name, "failure": message})
        print(f"  {name:44}  failed: {message[:200]}", flush=True)

    def _print_case(self, case: str) -> None:
        if case != self.case:
            print(case)
        self.case = case

    def missed(
        self, case: str, name: str, least: float, unit: str, reference: str | None = None
    ) -> bool:
        """Print whether a figure reaches its goal for GPUs; True if measured on one and missed.

        Args:
            case, name: of the figure.
            least: what it should be at least.
            unit: of the figure, or of the ratio.
            reference: name of the figure, in seconds, of which the goal is a ratio; None if it is
                none.
        """
        if self.device.type != "cuda":
            return False
        medians = {
            figure["name"]: figure["median"] for figure in self.figures if figure["case"] == case
        }
        if name not in medians:
            print(f"  goal of {name}: {least:g} {unit}: MISSED, because it failed")
            return True
        value = medians[reference] / medians[name] if reference else medians[name]
        print(
            f"  goal of {name}: {least:g} {unit}: {value:.4g}, "
            f"{'reached' if value >= least else 'MISSED'}"
        )
        return value < least

    def median(self, name: str) -> float:
        """Median of the latest figure of this name."""
        return next(figure["median"] for figure in reversed(self.figures) if figure["name"] == name)

    def finish(self) -> int:
        """Write the JSON file where one was asked for; returns the exit status."""
        self._write()
        return 0

    def _write(self) -> None:
        if self.json:
            path = self.json / f"{self.name}.json" if self.json.is_dir() else self.json
            content = self.content | {"figures": self.figures, "failures": self.failures}
            write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def reached(value: float, by_bytes: float, by_operations: float, seconds: bool) -> float:
    """The share reached of the nearer limit: the larger floor of seconds, the smaller rate."""
    return max(by_bytes, by_operations) / value if seconds else value / min(by_bytes, by_operations)


def spread(values: Sequence[float]) -> dict[str, float | list[float]]:
    """Minimum, median, maximum and the values themselves."""
    return {
        "min": min(values),
        "median": statistics.median(values),
        "max": max(values),
        "values": list(values),
    }


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
    """Python's version, that of CUDA, and those of the packages whose speed counts."""
    found = {"python": platform.python_version(), "CUDA": torch.version.cuda or "none"}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found
