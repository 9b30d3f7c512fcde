"""The command `m2trans <verb>`.

Each verb is a module of this package (`train-prior` is train_prior.py) with three members: `HELP`
(one line), `add_arguments(parser)` and `run(args)`, which returns the exit status. The modules
import the library inside `run`, so that `m2trans --help` answers at once.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from basicsr_m2trans import __version__
from basicsr_m2trans.utils.errors import InputError

VERBS = (
    "demo",
    "train",
    "test",
    "upscale",
    "serve",
    "export",
    "crop",
    "prepare",
    "lmdb",
    "convert",
    "compare",
    "evaluate",
    "mda",
    "complexity",
    "check",
    "bench",
    "caption",
    "weights",
    "train-prior",
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `m2trans` with one sub-parser for each verb."""
    parser = argparse.ArgumentParser(
        prog="m2trans", description="Ultrasound super-resolution with M2Trans on BasicSR."
    )
    parser.add_argument("--version", action="version", version=f"m2trans {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        module = importlib.import_module(f"basicsr_m2trans.cli.{verb.replace('-', '_')}")
        sub = verbs.add_parser(verb, help=module.HELP, description=module.HELP)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; bad input or a failing disk gives one message and status 2, Ctrl-C 130."""
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except (InputError, OSError) as error:
        print(f"m2trans {args.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"m2trans {args.verb}: interrupted", file=sys.stderr)
        return 130
