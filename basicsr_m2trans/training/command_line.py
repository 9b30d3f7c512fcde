"""The arguments of BasicSR's training and test; apart from the others, to answer at once."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's arguments apart from the option file's."""
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        default="none",
        help="pytorch: this is one of the processes that torchrun has started",
    )
    parser.add_argument(
        "--auto_resume", action="store_true", help="go on from the run's newest checkpoint"
    )
    parser.add_argument("--debug", action="store_true", help="log and validate every few steps")
    parser.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        "--force_yml",
        nargs="+",
        default=[],
        metavar="KEY:KEY=VALUE",
        help="options in place of the file's, such as train:total_iter=1000",
    )
