"""`m2trans compare`: train methods under one budget, measure them, write tables and figures."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from basicsr_m2trans.utils.errors import InputError

HELP = "train methods on the same data with the same budget, and write tables and figures"


def names(text: str) -> list[str]:
    """`a,b` as a list without repetitions."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def numbers(text: str) -> list[int]:
    """`0,1,2` as a list of whole numbers without repetitions."""
    return list(dict.fromkeys(int(number) for number in names(text)))


def lengths(text: str) -> tuple[int, dict[str, int]]:
    """`1500` or `1500,EDSR=2100`: the number for all methods, and those of single ones."""
    try:
        first, *others = names(text)
        pairs = [(name, int(number)) for name, number in (entry.split("=") for entry in others)]
        if len(dict(pairs)) < len(pairs):
            raise ValueError("one method twice")
        return int(first), dict(pairs)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: write it as N or N,METHOD=N") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Trains every method from its option file (OPTIONS/train_METHOD_xS.yml or "
        "OPTIONS/baselines/...), changed in budget, data and seed alone, measures it and writes "
        "tables and figures. The same command goes on where an earlier one was interrupted. A plan "
        "is a yml file that says all this and may define methods of its own (docs/comparison.md, "
        "plans/); arguments win over it."
    )
    parser.add_argument(
        "plan", nargs="?", type=Path, metavar="PLAN.yml", help="a comparison in a file; comes first"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would run and what is missing; train and write nothing",
    )
    parser.add_argument("--data", metavar="DIR", help="holds train and val, each prepared")
    parser.add_argument(
        "--methods",
        type=names,
        metavar="A,B,...",
        help="e.g. bicubic,EDSR,M2Trans; with a plan, some of its methods",
    )
    parser.add_argument("--scales", type=numbers, metavar="2,3,4", help="scales to compare at")
    parser.add_argument(
        "--iters",
        type=lengths,
        default=(None, {}),
        metavar="N[,METHOD=N...]",
        help="iterations of each training, and of a METHOD that needs fewer or more for the same "
        "effort",
    )
    parser.add_argument(
        "--time-budget",
        dest="minutes",
        type=float,
        metavar="MIN",
        help="minutes in training steps for each training, validations not counted; the number of "
        "iterations (N at most) follows from a short run that measures each method's speed, and "
        "the schedule of the learning rate is fitted to it, so that every method anneals fully; a "
        "run that turns out slower is stopped at its next checkpoint",
    )
    parser.add_argument("--seeds", type=numbers, metavar="0,1,...", help="default: 0")
    parser.add_argument("--out", metavar="DIR", help="folder for all that is written")
    parser.add_argument(
        "--test",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=DIR",
        help="prepared sets to measure on (default: val=DATA/val)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        dest="overrides",
        metavar="[METHOD.]key:key=value",
        help="change an option of all methods, or of one",
    )
    parser.add_argument(
        "--validations", type=int, metavar="N", help="per training, 0 for none (default: 10)"
    )
    parser.add_argument("--options", metavar="DIR", help="default: options")
    parser.add_argument(
        "--panels",
        nargs="+",
        metavar="TEST/IMAGE",
        help="images to draw (default: each set's middle one)",
    )
    parser.add_argument(
        "--reference",
        metavar="METHOD",
        help="the tables show its differences to the other methods (default: the first M2Trans of "
        "--methods, or else the last method)",
    )


def run(args: argparse.Namespace) -> int:
    """Run or continue the comparison; status 1 if a method failed."""
    from basicsr_m2trans.apps.report.comparison import run_comparison
    from basicsr_m2trans.apps.report.dry_run import describe
    from basicsr_m2trans.apps.report.plan import read_plan
    from basicsr_m2trans.apps.report.work import find_work

    settings, out = read_plan(args.plan, given(args), args.iters[1], args.overrides)
    work = find_work(settings, out)
    if args.dry_run:
        print(describe(work))
        return 0
    # As Ctrl-C does, end the trainer too: it would go on without its parent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    failures = run_comparison(work)
    if (out / "tables.md").is_file():
        print(f"{out}: tables.md, tables.csv, tables.tex and figures/")
    if failures:
        print(f"{len(failures)} runs failed; the same command tries them again:", file=sys.stderr)
        print("\n".join(failures), file=sys.stderr)
    return 1 if failures else 0


def given(args: argparse.Namespace) -> dict[str, tuple[Any, str]]:
    """The arguments that stand for keys of a plan, each with its value and its wording.

    Raises:
        InputError: an argument is an empty list, or a test set in another form than `NAME=DIR`.
    """
    from basicsr_m2trans.apps.report.methods import argument
    from basicsr_m2trans.apps.report.plan_keys import KEYS

    tests = {name: str(folder) for name, folder in named_folders(args.test).items()}
    values = {key: getattr(args, key, None) for key in KEYS}
    values |= {"iterations": args.iters[0], "tests": tests or None}
    found = {}
    for key, value in values.items():
        option = argument(key)
        if value == []:
            raise InputError(f"{option} is empty; name at least one, or leave the argument out")
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list | dict) else value
            found[key] = value, f"{option} {text}"
    return found


def named_folders(entries: Sequence[str]) -> dict[str, Path]:
    """The folders of `NAME=DIR` entries by name.

    Raises:
        InputError: an entry is of another form, or a name is given twice or is no file name.
    """
    found: dict[str, Path] = {}
    for entry in entries:
        name, equals, folder = entry.partition("=")
        if not equals or not folder or not name or Path(name).name != name:
            raise InputError(f"--test {entry}: write it as NAME=DIR, the name without slashes")
        if name in found:
            raise InputError(f"--test {entry}: the name {name} is given twice")
        found[name] = Path(folder)
    return found
