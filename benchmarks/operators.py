"""Where the time goes: operators of the literal and the fast path, by their own time.

Forward x2 at LR 192x192 and a training step x2 at batch 8, LR 64x64, as `forward` and `train` time
them. On a GPU times are those of the GPU for what an operator has started there. The profiler slows
a CPU down, small operators most, so the sums are larger than the times without it; on a GPU they
are smaller by the time that it waits.
"""

from collections.abc import Callable, Sequence

import torch
from arguments import parse_arguments, run_script
from floors import precisions
from networks import forward, named, networks, training_step
from reporting import Report
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

SHOWN = 12


def add_operators(report: Report, case: str, name: str, run: Callable[[], object]) -> None:
    """Milliseconds of the operators that take longest, the rest, and all."""
    on_gpu = report.device.type == "cuda"
    run()
    milliseconds: dict[str, list[float]] = {}
    for repetition in range(report.repetitions):
        with profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        ) as profiler:
            run()
        for event in profiler.key_averages():
            # Of a GPU there are also events for its kernels, whose time is in that of their
            # operators.
            if event.device_type != DeviceType.CPU:
                continue
            values = milliseconds.setdefault(event.key, [0.0] * report.repetitions)
            values[repetition] += (
                event.self_device_time_total if on_gpu else event.self_cpu_time_total
            ) / 1000
    ranked = sorted(milliseconds, key=lambda key: -sum(milliseconds[key]))
    for key in ranked[:SHOWN]:
        report.add(case, f"{name}: {key}", "ms", milliseconds[key])
    for label, keys in (("the rest", ranked[SHOWN:]), ("all", ranked)):
        sums = [
            sum(milliseconds[key][repetition] for key in keys)
            for repetition in range(report.repetitions)
        ]
        report.add(case, f"{name}: {label}", "ms", sums)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv, repetitions=3)
    report = Report("operators", args)
    side, batch, patch = (32, 1, 32) if args.quick else (192, 8, 64)
    literal, fast = networks(2, args.quick, args.device)
    x = torch.rand(1, 3, side, side, device=args.device)
    patches = torch.rand(batch, 3, patch, patch, device=args.device)
    case = f"forward x2, LR {side}x{side}"
    add_operators(report, case, "literal", forward(literal, x))
    for precision in precisions(args.device):
        add_operators(report, case, named("fast", precision), forward(fast, x, precision))
    case = f"training step x2, batch {batch}, LR {patch}x{patch}"
    for name, network in (("literal", literal), ("fast", fast)):
        add_operators(report, case, name, training_step(network, patches))
    return report.finish()


if __name__ == "__main__":
    run_script(main)
