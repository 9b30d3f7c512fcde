"""A long training from outside: memory, open files and speed of its processes by iteration.

The demo's training with both losses, a loader process and validation, on patches of 32 pixels. The
exit status is 1 where memory or open files grow. Speed is only reported, because other work on the
machine changes it too; it changes the processor time of an iteration less.
"""

import argparse
import contextlib
import itertools
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from arguments import parse_arguments, run_script
from reporting import Report

from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation
from basicsr_m2trans.apps.report.training_log import TrainingLog, read_training_log
from basicsr_m2trans.training.launch import command

OPTIONS = Path(__file__).parents[1] / "options/demo/train_M2Trans_x2.yml"
NAME = "soak"
VALIDATIONS = 20
SAMPLE_SECONDS = 0.5
# Imports, kernels and the first validations take memory once.
WARM_UP = 0.25
# What 1,000 iterations may leave behind: less than a tenth of the HR patches of their batches, or
# than a file in each validation.
MAX_MEMORY_SLOPE = 4.0
MAX_FILES_SLOPE = 1.0


class Sample(NamedTuple):
    """The processes of a training at one moment.

    Attributes:
        iteration: the last one in the log.
        memory: resident memory of all of them in MiB; pages that they share count in each.
        files: open files of all of them.
        processor: processor time in seconds that they have used so far, those that have ended
            included.
    """

    iteration: int
    memory: float
    files: int
    processor: float


def main(argv: Sequence[str] | None = None) -> int:
    """Train, watch and judge."""
    args = parse_arguments(__doc__, argv, add_arguments=_add_arguments, any_device=False)
    iterations = 2 * VALIDATIONS if args.quick else args.iterations
    report = Report("soak", args)
    with tempfile.TemporaryDirectory() as folder:
        opt = make_options(Path(folder), iterations)
        samples = train_and_watch(Path(folder), opt, args.threads)
        log = read_training_log(Path(folder, "experiments", NAME), iterations)
    growing = judge(report, iterations, samples, log)
    return report.finish() or int(bool(growing) and not args.quick)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--iterations", type=int, default=2000, metavar="N", help="of the training (default: 2000)"
    )


def make_options(folder: Path, iterations: int) -> dict[str, Any]:
    """Prepare phantoms in `folder`; returns the demo's options on small patches of them."""
    write_phantoms(folder / "images", 8, height=72, width=96)
    prepare(folder / "images", folder / "data", Preparation(scales=(2,), workers=1))
    opt = yaml.safe_load(OPTIONS.read_text(encoding="utf-8")) | {"name": NAME}
    for dataset in opt["datasets"].values():
        dataset["dataroot_gt"], dataset["dataroot_lq"] = "data/HR.lmdb", "data/LR_bicubic_X2.lmdb"
    opt["datasets"]["train"] |= {
        "captions": "data/captions.csv",
        "gt_size": 32,
        "batch_size_per_gpu": 4,
    }
    opt["train"] |= {"total_iter": iterations}
    opt["train"]["scheduler"]["periods"] = [iterations]
    every = iterations // VALIDATIONS
    opt["val"]["val_freq"] = every
    opt["logger"] |= {
        "print_freq": max(every // 10, 1),
        "save_checkpoint_freq": every,
        "keep_last": 2,
    }
    return opt


def train_and_watch(folder: Path, opt: dict[str, Any], threads: int) -> list[Sample]:
    """Train in `folder`; returns samples taken about twice a second.

    Raises:
        RuntimeError: the training has failed; the message is its output.
    """
    (folder / "soak.yml").write_text(yaml.safe_dump(opt), encoding="utf-8")
    samples = []
    with (folder / "output.txt").open("w+", encoding="utf-8") as output:
        training = subprocess.Popen(
            command("train", str(folder), "-opt", "soak.yml"),
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while training.poll() is None:
            time.sleep(SAMPLE_SECONDS)
            iteration = read_training_log(
                folder / "experiments" / NAME, opt["train"]["total_iter"]
            ).iteration
            samples.append(Sample(iteration, *usage(training.pid)))
        if training.returncode:
            output.seek(0)
            raise RuntimeError(
                f"the training ended with status {training.returncode}:\n{output.read()}"
            )
    return samples


def usage(root: int) -> tuple[float, int, float]:
    """Resident MiB, open files and processor seconds of a process and its descendants."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with _gone():
            # Behind the name, which may hold blanks: state, parent, ..., and from the twelfth on
            # the times.
            fields = path.read_text().rpartition(")")[2].split()
            process = int(path.parent.name)
            parents[process], ticks[process] = int(fields[1]), sum(map(int, fields[11:15]))
    family = {root}
    while children := {process for process, parent in parents.items() if parent in family} - family:
        family |= children
    pages = files = 0
    for process in family:
        with _gone():
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
            files += len(os.listdir(f"/proc/{process}/fd"))
    seconds = sum(ticks.get(process, 0) for process in family) / os.sysconf("SC_CLK_TCK")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files, seconds


def _gone() -> contextlib.suppress:
    """Processes may end while they are looked at."""
    return contextlib.suppress(FileNotFoundError, ProcessLookupError)


def judge(
    report: Report, iterations: int, samples: Sequence[Sample], log: TrainingLog
) -> list[str]:
    """Report figures, slopes and verdicts; returns what grows beyond its limit.

    Args:
        iterations: length of the training.
        samples: of all of it.
        log: its log.
    """
    begin = WARM_UP * iterations
    # Samples of the end, when processes are closing, say nothing.
    samples = [sample for sample in samples if begin <= sample.iteration < iterations]
    at = [sample.iteration for sample in samples]
    growing = []
    for case, unit, values, limit in (
        ("resident memory", "MiB", [sample.memory for sample in samples], MAX_MEMORY_SLOPE),
        ("open files", "", [float(sample.files) for sample in samples], MAX_FILES_SLOPE),
    ):
        rate = slope(at, values)
        report.add(case, f"of all processes, iterations {begin:.0f} to {iterations}", unit, values)
        report.add(case, f"slope per 1,000 iterations (limit {limit:g})", unit, [rate])
        if rate > limit:
            growing.append(case)
    speeds = {
        iteration: 1 / seconds
        for iteration, seconds in log.durations.items()
        if iteration >= begin and seconds
    }
    report.add("speed", "without validation", "it/s", list(speeds.values()))
    report.add(
        "speed", "slope per 1,000 iterations", "it/s", [slope(list(speeds), list(speeds.values()))]
    )
    costs = processor_times(samples)
    report.add(
        "processor time of an iteration",
        "with validations and checkpoints",
        "s",
        list(costs.values()),
    )
    report.add(
        "processor time of an iteration",
        "slope per 1,000 iterations",
        "s",
        [slope(list(costs), list(costs.values()))],
    )
    print(
        f"verdict: {' and '.join(growing)} grow"
        if growing
        else "verdict: memory and open files are flat"
    )
    return growing


def processor_times(samples: Sequence[Sample]) -> dict[int, float]:
    """Processor seconds of an iteration in ten parts of the training, by each part's end."""
    bounds = [samples[round(part * (len(samples) - 1) / 10)] for part in range(11)]
    return {
        after.iteration: (after.processor - before.processor) / (after.iteration - before.iteration)
        for before, after in itertools.pairwise(bounds)
        if after.iteration > before.iteration
    }


def slope(iterations: Sequence[int], values: Sequence[float]) -> float:
    """Growth of the values in 1,000 iterations, of the line fitted by least squares."""
    return 1000 * statistics.linear_regression(iterations, values).slope


if __name__ == "__main__":
    run_script(main)
