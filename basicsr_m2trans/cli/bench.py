"""`m2trans bench`: the scripts of the folder `benchmarks/`, each in a process of its own."""

import argparse
from pathlib import Path

HELP = "measure speed and memory against reference paths in one run (needs a checkout)"

# Script in benchmarks/ -> what it measures.
BENCHMARKS = {
    "forward": "inference by the fast path against the literal computation",
    "operators": "where the time of both goes, by operator",
    "train": "a training step on the fast path against the literal computation",
    "attention": "the implementations of the window attention, at the sizes of the networks",
    "options": "a training step with each option, such as bfloat16, against the plain step",
    "loader": "pairs per second from PNG files, PNG LMDB and raw LMDB, and what the network takes",
    "semantic": "the semantic loss alone and its share of a training step",
    "gradient": "size and direction of the gradient of each term of the loss (not a speed)",
    "validate": "the metrics of validation against BasicSR's and piq's",
    "memory": "peak memory of inference bounded by a setting against the whole image",
    "scaling": "time and memory against image area and batch",
    "plan": "training step and forward pass of every method of a plan: what equal training time is",
    "dim": "PSNR of networks minus bicubic interpolation on images of low contrast (not a speed)",
    "tiles": "how far tiles with margins are from the whole image (not a speed)",
    "soak": "memory, open files (status 1 where one of them grows) and speed of 2,000 iterations",
    "cine": "frames per second of a cine loop of 640x480 at x2",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Names of benchmarks; what follows them goes to their scripts."""
    names = "one or more; without one: list them"
    parser.add_argument("benchmarks", nargs="*", type=_name, metavar="NAME", help=names)
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="of each benchmark: --device cpu|cuda (not of gradient, dim, tiles and soak), "
        "--threads, --repetitions, --budget SECONDS, --quick, --no-rivals, --json FILE (with "
        "several benchmarks a folder, for a file of each); see `m2trans bench NAME --help`",
    )


def _name(text: str) -> str:
    if text not in BENCHMARKS:
        raise argparse.ArgumentTypeError(
            f"there is no benchmark {text!r}; choose from {', '.join(BENCHMARKS)}"
        )
    return text


def run(args: argparse.Namespace) -> int:
    """Run benchmarks in turn, or list them; returns the first exit status that is not 0."""
    import subprocess
    import sys

    import basicsr_m2trans
    from basicsr_m2trans.utils.errors import InputError

    if not args.benchmarks:
        for name, meaning in BENCHMARKS.items():
            print(f"m2trans bench {name:10}{meaning}")
        return 0
    folder = Path(basicsr_m2trans.__file__).parents[1] / "benchmarks"
    if not folder.is_dir():
        raise InputError(
            f"{folder} does not exist: the benchmarks are scripts of the project's repository and "
            "are not installed with the package; clone the repository, run `make install` there "
            "and use its m2trans"
        )
    file = _json_file(args.arguments)
    if len(args.benchmarks) > 1 and file and not file.is_dir():
        raise InputError(
            f"--json {file}: name a folder that exists, for a file of each of the benchmarks"
        )
    failures: dict[str, int] = {}
    for name in args.benchmarks:
        command = [sys.executable, str(folder / f"{name}.py"), *args.arguments]
        if status := subprocess.run(command, check=False).returncode:
            failures[name] = status
            print(f"m2trans bench: {name} failed with status {status}", file=sys.stderr)
    return next(iter(failures.values()), 0)


def _json_file(arguments: list[str]) -> Path | None:
    """Where the scripts write their figures."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--json", type=Path)
    return parser.parse_known_args(arguments)[0].json
