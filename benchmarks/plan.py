"""Training step and forward pass of every method of a plan, on random patches of its size.

What equal training time is: a ratio times the first method's iterations is how many another one
does in its time. Steps are those of the methods' options: model, losses, optimizer and precision;
floors are not known of them. The forward pass is that of an LR image of 160x128. A method that
fails, such as one that runs out of memory, is a line that says so.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from arguments import parse_arguments, run_script
from floors import measure_rates
from model_step import model_step
from networks import NetworkRun, forward
from reporting import Report

from basicsr_m2trans.apps.report.methods import base_files
from basicsr_m2trans.apps.report.plan import read_plan
from basicsr_m2trans.apps.report.settings import plan_runs

QUICK_SIDE = 32
LR_SIZE = (128, 160)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv, add_arguments=add_arguments)
    settings, _ = read_plan(args.plan)
    files = base_files(settings, plan_runs(settings.methods.values(), settings.scales))
    report = Report("plan", args, measure_rates(args.device, args.quick))
    # Steps before all passes, because the lengths of trainings follow from them.
    for part, make in (("training step", make_step), ("forward", make_pass)):
        for scale in settings.scales:
            makers = {
                name: functools.partial(make, file.opt, args.quick, args.device)
                for name, file in files.items()
                if file.opt["scale"] == scale
            }
            report.compare_made(f"{part} x{scale}", makers)
    return report.finish()


def make_step(opt: dict[str, Any], quick: bool, device: torch.device) -> Callable[[], None]:
    """A training step as the options have it."""
    train = opt["datasets"]["train"]
    side = QUICK_SIDE if quick else train["gt_size"] // opt["scale"]
    return model_step(opt, train["batch_size_per_gpu"], side, device)


def make_pass(opt: dict[str, Any], quick: bool, device: torch.device) -> NetworkRun:
    """A forward pass of the network in float32."""
    from basicsr.archs import build_network

    network = build_network(opt["network_g"]).to(device)
    return forward(
        network, torch.rand(1, 3, *((QUICK_SIDE, QUICK_SIDE) if quick else LR_SIZE), device=device)
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which plan."""
    parser.add_argument(
        "--plan", type=Path, required=True, metavar="PLAN.yml", help="the plan; needs no images"
    )


if __name__ == "__main__":
    run_script(main)
