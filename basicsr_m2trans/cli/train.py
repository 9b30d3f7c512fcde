"""`m2trans train`: what `python basicsr/train.py -opt` does, below the current directory."""

import argparse
import os

HELP = "train a network with BasicSR, as an option file says; writes below experiments/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's, with the option file first."""
    from basicsr_m2trans.training.command_line import add_arguments

    parser.add_argument("opt", metavar="OPT", help="option file, such as those in options/")
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run BasicSR's training, or its test for `m2trans test`."""
    from basicsr_m2trans.training.launch import start

    return start(args.verb, os.getcwd(), args)
