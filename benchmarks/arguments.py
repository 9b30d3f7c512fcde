"""The command line of the benchmarks: what all of them take, and how a script ends."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import cv2
import torch

from basicsr_m2trans.utils.errors import InputError

MEMORY = Path("/proc/meminfo")


def parse_arguments(
    description: str,
    argv: Sequence[str] | None,
    repetitions: int = 7,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None,
    any_device: bool = True,
) -> argparse.Namespace:
    """The arguments that all benchmarks have, and those of one; also sets up threads and GPU.

    Args:
        description: the script's docstring.
        argv: the command line without the program; None for that of the process.
        repetitions: default of the option of that name.
        add_arguments: declares the script's own options.
        any_device: whether the benchmark has the option `--device`; without it `device` is the CPU.

    Returns:
        `device` (a `torch.device`), `threads`, `repetitions`, `budget` (seconds), `quick`, `rivals`
        (False where they are to be left out), `json` (a path or None), and what `add_arguments` has
        declared.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if any_device:
        parser.add_argument(
            "--device",
            metavar="cpu|cuda|cuda:1",
            help="what computes (default: the GPU if there is one)",
        )
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else 2,
        help="processor threads (default: OMP_NUM_THREADS, or else 2)",
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        default=repetitions,
        metavar="N",
        help=f"of each figure (default: {repetitions})",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=20,
        metavar="SECONDS",
        help="a figure has no further repetition after this time (default: 20)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE|DIR",
        help="also write every figure to this file, or to DIR/NAME.json",
    )
    parser.add_argument(
        "--no-rivals", dest="rivals", action="store_false", help="measure no other networks"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes: shows in seconds that the benchmark runs, and nothing else",
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    if min(args.threads, args.repetitions) < 1:
        parser.error("--threads and --repetitions must be at least 1")
    if not args.budget > 0:
        parser.error("--budget must be above 0")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist; make it first")
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    args.device = _usable(args.device) if any_device else torch.device("cpu")
    # As BasicSR's trainer does.
    torch.backends.cudnn.benchmark = args.device.type == "cuda"
    return args


def _limit_memory() -> None:
    """Let an allocation beyond the free memory fail instead of ending the whole run."""
    import resource

    free = 1024 * int(re.search(r"MemAvailable:\s+(\d+) kB", MEMORY.read_text())[1])
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(
        resource.RLIMIT_DATA, (free if hard == resource.RLIM_INFINITY else min(free, hard), hard)
    )


def _device_name(name: str | None) -> str:
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def _usable(name: str | None) -> torch.device:
    """The device of this name, which 'cuda' means from now on if it is a GPU.

    Raises:
        InputError: PyTorch cannot use it.
    """
    try:
        device = torch.device(_device_name(name))
        if device.type not in ("cpu", "cuda"):
            raise InputError(
                f"--device {name}: benchmarks run on cpu, cuda or one of several GPUs, such as "
                "cuda:1"
            )
        torch.zeros(1, device=device)
        if device.index is not None and device.type == "cuda":
            torch.cuda.set_device(device)
    # PyTorch's messages of several types for devices that are not there
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def run_script(main: Callable[[], int]) -> NoReturn:
    """Run a benchmark as a program, on a CPU in the memory that is free now.

    A mistake in its input is told in one message, with status 2.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--device")
    # A driver of a GPU reserves far more addresses than there is memory.
    if _device_name(parser.parse_known_args()[0].device).startswith("cpu") and MEMORY.is_file():
        _limit_memory()
    try:
        sys.exit(main())
    except InputError as error:
        print(f"m2trans bench: {error}", file=sys.stderr)
        sys.exit(2)
