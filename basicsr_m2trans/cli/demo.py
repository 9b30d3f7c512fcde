"""`m2trans demo`: the main job from end to end on synthetic data."""

import argparse

HELP = (
    "train, resume, test and compare a small M2Trans on synthetic phantoms, in the project's folder"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo has no arguments; its settings are the files in options/demo."""


def run(args: argparse.Namespace) -> int:  # noqa: ARG001
    """Run the demo."""
    from basicsr_m2trans.cli.demo_run import run_demo

    run_demo()
    return 0
