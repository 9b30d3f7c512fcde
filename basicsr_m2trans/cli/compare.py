"""`m2trans compare`: train methods under one budget, measure them, write tables and figures."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

HELP = "train methods on the same data with the same budget, and write tables and figures"


def names(text: str) -> list[str]:
    """`a,b` as a list without repetitions."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def method(text: str) -> str:
    """The name of a method; that of bicubic interpolation may be written small."""
    return "Bicubic" if text.lower() == "bicubic" else text


def methods(text: str) -> list[str]:
    """`bicubic,EDSR` as a list of methods without repetitions."""
    return list(dict.fromkeys(map(method, names(text))))


def numbers(text: str) -> list[int]:
    """`0,1,2` as a list of whole numbers without repetitions."""
    return list(dict.fromkeys(int(number) for number in names(text)))


def lengths(text: str) -> tuple[int, dict[str, int]]:
    """`1500` or `1500,EDSR=2100`: the number for all methods, and those of single ones by their names."""
    try:
        first, *others = names(text)
        pairs = [(method(name), int(number)) for name, number in (entry.split("=") for entry in others)]
        if len(dict(pairs)) < len(pairs):
            raise ValueError("one method twice")
        return int(first), dict(pairs)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: write it as N or N,METHOD=N") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Trains every method from its option file (OPTIONS/train_METHOD_xS.yml or OPTIONS/baselines/...), changed in "
        "budget, data and seed alone, measures it and writes tables and figures. The same command goes on where an "
        "earlier one was interrupted."
    )
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="holds train and val, each prepared")
    parser.add_argument("--methods", required=True, type=methods, metavar="A,B,...", help="e.g. bicubic,EDSR,M2Trans")
    parser.add_argument("--scales", required=True, type=numbers, metavar="2,3,4", help="scales to compare at")
    parser.add_argument(
        "--iters",
        type=lengths,
        default=(None, {}),
        metavar="N[,METHOD=N...]",
        help="iterations of each training, and of a METHOD that needs fewer or more for the same effort",
    )
    parser.add_argument(
        "--time-budget",
        type=float,
        metavar="MIN",
        help="minutes in training steps for each training, validations not counted; the number of iterations "
        "(N at most) follows from a short run that measures each method's speed, and the schedule of the learning "
        "rate is fitted to it, so that every method anneals fully; a run that turns out slower is stopped at its "
        "next checkpoint",
    )
    parser.add_argument("--seeds", type=numbers, default=[0], metavar="0,1,...", help="default: 0")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for all that is written")
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
        "--validations", type=int, default=10, metavar="N", help="per training, 0 for none (default: 10)"
    )
    parser.add_argument("--options", type=Path, default=Path("options"), metavar="DIR", help="default: options")
    parser.add_argument(
        "--panels", nargs="+", default=[], metavar="TEST/IMAGE", help="images to draw (default: each set's middle one)"
    )
    parser.add_argument(
        "--reference",
        type=method,
        metavar="METHOD",
        help="the tables show its differences to the other methods (default: the first M2Trans of --methods, or else "
        "the last method)",
    )


def run(args: argparse.Namespace) -> int:
    """Run or continue the comparison; status 1 if a method failed."""
    from basicsr_m2trans.errors import InputError
    from basicsr_m2trans.report.comparison import Comparison, Settings

    iterations, single_lengths = args.iters
    budgets = {"--iters": iterations, "--time-budget": args.time_budget}
    budgets |= {f"--iters {name}": number for name, number in single_lengths.items()}
    for option, value in budgets.items():
        if value is not None and value <= 0:
            raise InputError(f"{option} {value}: give a number above 0")
    for name in single_lengths:
        if name not in args.methods or name == method("bicubic"):
            raise InputError(f"--iters {name}=...: --methods names no {name} that is trained")
    for option in ("methods", "scales", "seeds"):
        if not getattr(args, option):
            raise InputError(f"--{option} names nothing")
    if min(args.seeds) < 0 or max(args.seeds) >= 2**32:
        raise InputError(f"--seeds {','.join(map(str, args.seeds))}: NumPy takes seeds from 0 to 2**32 - 1")
    if not set(args.scales) <= {2, 3, 4}:
        raise InputError(f"--scales {','.join(map(str, args.scales))}: choose from 2, 3 and 4")
    if args.validations < 0:
        raise InputError(f"--validations {args.validations}: give 0 or more")
    reference = args.reference or next((name for name in args.methods if name.startswith("M2Trans")), args.methods[-1])
    if reference not in args.methods:
        raise InputError(f"--reference {args.reference}: name one of --methods {','.join(args.methods)}")
    settings = Settings(
        data=args.data,
        methods=tuple(args.methods),
        scales=tuple(args.scales),
        seeds=tuple(args.seeds),
        iterations=iterations,
        minutes=args.time_budget,
        tests=named_folders(args.test) or {"val": args.data / "val"},
        overrides=tuple(args.overrides),
        validations=args.validations,
        options=args.options,
        panels=tuple(args.panels),
        reference=reference,
        lengths=single_lengths,
    )
    # As Ctrl-C does, end the trainer too: it would go on without its parent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    failures = Comparison(settings, args.out).run()
    if (args.out / "tables.md").is_file():
        print(f"{args.out}: tables.md, tables.csv, tables.tex and figures/")
    if failures:
        print(
            "\n".join([f"{len(failures)} runs failed; the same command tries them again:", *failures]), file=sys.stderr
        )
        return 1
    return 0


def named_folders(entries: Sequence[str]) -> dict[str, Path]:
    """The folders of `NAME=DIR` entries by name.

    Raises:
        InputError: an entry is of another form, or a name is given twice or is no file name.
    """
    from basicsr_m2trans.errors import InputError

    found: dict[str, Path] = {}
    for entry in entries:
        name, equals, folder = entry.partition("=")
        if not equals or not folder or not name or Path(name).name != name:
            raise InputError(f"--test {entry}: write it as NAME=DIR, the name without slashes")
        if name in found:
            raise InputError(f"--test {entry}: the name {name} is given twice")
        found[name] = Path(folder)
    return found
