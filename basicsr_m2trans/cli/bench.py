"""`m2trans bench`: the scripts of the folder `benchmarks/`, each in a process of its own."""

import argparse

HELP = "measure speed and memory against reference paths in one run, as table and JSON (needs a checkout)"

# Script in benchmarks/ -> what it measures.
BENCHMARKS = {
    "forward": "inference by the fast path against the literal computation",
    "operators": "where the time of both goes, by operator",
    "train": "a training step on the fast path against the literal computation",
    "options": "a training step with each option of the loop, such as bfloat16, against the plain step",
    "loader": "pairs per second from PNG files, PNG LMDB and raw LMDB, and what the network consumes",
    "semantic": "the semantic loss alone and its share of a training step",
    "gradient": "size and direction of the gradient of each term of the loss (not a speed)",
    "validate": "the metrics of validation against BasicSR's and piq's",
    "memory": "peak memory of inference bounded by a setting against the whole image",
    "scaling": "time and memory against image area and batch",
    "plan": "training step and forward pass of every method of a plan: what equal training time is",
    "dim": "PSNR of networks minus bicubic interpolation on images of low contrast (not a speed)",
    "tiles": "how far tiles with margins are from the whole image (not a speed)",
    "soak": "memory, open files and speed of a training of 2,000 iterations (status 1 where the first two grow)",
    "cine": "frames per second of a cine loop of 640x480 at x2",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name of the benchmark; what follows it goes to its script."""
    parser.add_argument("benchmark", nargs="?", choices=tuple(BENCHMARKS), help="without one: list them")
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="of the benchmark: --threads, --repetitions, --json FILE; see `m2trans bench NAME --help`",
    )


def run(args: argparse.Namespace) -> int:
    """Run one benchmark, or list them all; returns the script's exit status."""
    import subprocess
    import sys
    from pathlib import Path

    import basicsr_m2trans
    from basicsr_m2trans.errors import InputError

    if args.benchmark is None:
        print("\n".join(f"m2trans bench {name:10}{meaning}" for name, meaning in BENCHMARKS.items()))
        return 0
    script = Path(basicsr_m2trans.__file__).parents[1] / "benchmarks" / f"{args.benchmark}.py"
    if not script.is_file():
        raise InputError(
            f"{script} does not exist: the benchmarks are scripts of the project's repository and are not installed "
            "with the package; clone the repository, run `make install` there and use its m2trans"
        )
    return subprocess.run([sys.executable, str(script), *args.arguments], check=False).returncode
