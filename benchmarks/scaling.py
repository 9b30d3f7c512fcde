"""Time and peak memory of the forward pass by image area and batch, with log-log slopes.

A slope of 1 is proportional growth. Ratios compare time or memory per pixel with that of the
smallest size.
"""

import math
import statistics
from collections.abc import Sequence

import torch
from arguments import parse_arguments, run_script
from floors import measure_rates
from measuring import peak_memory, time_in_turn, warm_up
from networks import NetworkRun, forward, networks
from reporting import Report

SCALE = 2
Shape = tuple[int, int, int, int]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    report = Report("scaling", args, measure_rates(args.device, args.quick))
    sides, batches, side = (
        ((32, 64), (1, 2), 32) if args.quick else ((96, 128, 192, 256, 384), (1, 2, 4, 8), 96)
    )
    measure(report, "image area", [(1, 3, length, length) for length in sides], args.quick)
    measure(report, "batch", [(batch, 3, side, side) for batch in batches], args.quick)
    return report.finish()


def measure(report: Report, variable: str, shapes: Sequence[Shape], quick: bool) -> None:
    """Figures of one series of shapes."""
    runs = [make_forward(shape, quick, report.device) for shape in shapes]
    for run in runs:
        warm_up(run, report.device, report.budget)
    times = time_in_turn(runs, report.repetitions, report.device, report.budget)
    memory = [
        [peak_memory(report.device, make_forward, shape, quick, report.device)] for shape in shapes
    ]
    sizes = [math.prod(shape) / math.prod(shapes[0]) for shape in shapes]
    floors = [report.floors(run) for run in runs]
    none: list[dict[str, float]] = [{}] * len(runs)
    for quantity, unit, series, details in (
        ("time", "s", times, floors),
        ("peak memory", "MiB", memory, none),
    ):
        case = f"{quantity} of the forward pass x{SCALE} against {variable}"
        for shape, size, values, detail in zip(shapes, sizes, series, details, strict=True):
            # A large image may have fewer repetitions than the first.
            ratios = [size * first / value for first, value in zip(series[0], values, strict=False)]
            report.add(case, f"LR {shape[0]}x{shape[2]}x{shape[3]}", unit, values, ratios, detail)
        medians = [statistics.median(values) for values in series]
        slope = statistics.linear_regression(
            [math.log(s) for s in sizes], [math.log(m) for m in medians]
        ).slope
        report.add(case, "log-log slope", "", [slope])


def make_forward(shape: Shape, quick: bool, device: torch.device) -> NetworkRun:
    """The fast path on random input."""
    network = networks(SCALE, quick, device)[1]
    # The first pass of a process loads libraries, which does not grow with the image.
    forward(network, torch.rand(1, 3, 32, 32, device=device))()
    return forward(network, torch.rand(shape, device=device))


if __name__ == "__main__":
    run_script(main)
