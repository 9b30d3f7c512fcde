"""`m2trans complexity`: parameters, multiply-adds, latency and memory of the methods."""

import argparse
from pathlib import Path

from basicsr_m2trans.cli.compare import names, numbers

HELP = "print parameters, multiply-adds, latency and memory of networks beside the paper's"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--methods", type=names, metavar="A,B,...", help="default: all baselines and M2Trans"
    )
    parser.add_argument(
        "--scales", type=numbers, default=[2, 3, 4], metavar="2,3,4", help="default: 2,3,4"
    )
    parser.add_argument(
        "--options", type=Path, default=Path("options"), metavar="DIR", help="default: options"
    )
    parser.add_argument(
        "--no-latency", action="store_true", help="count only; do not time the networks"
    )


def run(args: argparse.Namespace) -> int:
    """Print one table for all methods and scales."""
    from basicsr_m2trans.apps.report import complexity, methods

    networks = {
        (method, scale): methods.network_options(method, scale, args.options)
        for scale in args.scales
        for method in args.methods or complexity.PAPER_FIGURES
    }
    rows = []
    for (method, scale), network_g in networks.items():
        cost = None if args.no_latency else complexity.measure_cost(network_g)
        rows.append((method, scale, complexity.complexity(network_g), cost))
    side = complexity.HR_SIDE
    print(f"One forward pass for an HR image of {side} x {side}; multiply-adds of all convolutions")
    print("and matrix products, attention included. The paper's FLOPs follow several conventions.")
    if not args.no_latency:
        print(f"Time and memory: batch of 1, float32, on {complexity.device_name()}.")
    print()
    print(complexity.complexity_table(rows))
    return 0
