"""Training step and forward pass of every method of a plan of `m2trans compare`, on random patches of its size.

What equal training time is: a ratio times the first method's iterations is how many another one does in its time.
Steps have the L1 loss and Adam; the forward pass is that of an LR image of 160x128.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from arguments import parse_arguments, run_script
from floors import measure_rates
from networks import forward, training_step
from reporting import Report

from basicsr_m2trans.report.methods import base_files
from basicsr_m2trans.report.plan import read_plan
from basicsr_m2trans.report.settings import plan_runs

LR_SIZE = (128, 160)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv, add_arguments=add_arguments)
    settings, _ = read_plan(args.plan)
    files = base_files(settings, plan_runs(settings.methods.values(), settings.scales))
    from basicsr.archs import build_network

    logging.disable(logging.INFO)  # BasicSR tells of every network
    report = Report("plan", args, measure_rates(args.device, args.quick))
    for scale in settings.scales:
        options = {name: file.opt for name, file in files.items() if file.opt["scale"] == scale}
        nets = {name: build_network(opt["network_g"]).to(args.device) for name, opt in options.items()}
        steps, passes = {}, {}
        for name, opt in options.items():
            train = opt["datasets"]["train"]
            side = 32 if args.quick else train["gt_size"] // scale
            patches = torch.rand(train["batch_size_per_gpu"], 3, side, side, device=args.device)
            image = torch.rand(1, 3, *((32, 32) if args.quick else LR_SIZE), device=args.device)
            steps[name], passes[name] = training_step(nets[name], patches), forward(nets[name], image)
        report.compare(f"training step x{scale}", steps)
        report.compare(f"forward x{scale}", passes)
    return report.finish()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which plan."""
    parser.add_argument("--plan", type=Path, required=True, metavar="PLAN.yml", help="the plan; needs no images")


if __name__ == "__main__":
    run_script(main)
