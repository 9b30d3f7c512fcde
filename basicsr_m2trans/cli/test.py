"""`m2trans test`: what `python basicsr/test.py -opt` does, below the current directory."""

import argparse
import os

HELP = "test a network with BasicSR, as an option file says; writes below results/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's, with the option file first."""
    from basicsr_m2trans.training.command_line import add_arguments

    parser.add_argument("opt", metavar="OPT", help="option file, such as those in options/")
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run BasicSR's test."""
    from basicsr_m2trans.training.launch import start

    return start("test", os.getcwd(), args)
