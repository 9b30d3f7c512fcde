"""`m2trans check`: what is wrong with option files and plans, before anything runs."""

import argparse
from pathlib import Path

HELP = "check option files and plans: keys, types, what does not fit together, and named files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="e.g. options/train_M2Trans_x2.yml"
    )
    parser.add_argument(
        "--no-files",
        action="store_true",
        help="leave out what this machine must have: data, weights and GPUs",
    )
    parser.add_argument(
        "--schema", type=Path, metavar="FILE", help="write the JSON schema for editors to FILE"
    )
    parser.add_argument(
        "--schema-of", choices=("option-file", "plan"), default="option-file", help="what it is of"
    )


def run(args: argparse.Namespace) -> int:
    """Print a line for each right file and a report for each other one; write the schema."""
    import json

    from basicsr_m2trans.apps.report.plan import is_plan
    from basicsr_m2trans.options.checks import check_file
    from basicsr_m2trans.utils.atomic import write_atomic
    from basicsr_m2trans.utils.errors import InputError

    if not args.files and args.schema is None:
        raise InputError("nothing to check; name option files, or --schema FILE")
    if args.schema:
        from basicsr_m2trans.apps.report.plan_keys import PLAN
        from basicsr_m2trans.options.json_schema import json_schema, schema_of

        plan = args.schema_of == "plan"
        schema = schema_of(PLAN, "Plan of m2trans compare") if plan else json_schema()
        write_atomic(args.schema, json.dumps(schema, indent=1).encode())
    status = 0
    for path in args.files:
        try:
            kind, check = ("plan", check_plan) if is_plan(path) else ("option file", check_file)
            report = check(path, files=not args.no_files)
        except InputError as error:
            report = str(error)
        print(report or f"{kind} {path} is right")
        status = 2 if report else status
    return status


def check_plan(path: Path, files: bool) -> str | None:
    """A report of what a plan lacks on this machine (only with `files`); None if nothing.

    Raises:
        InputError: something is wrong with the plan, or with its methods; one message lists all.
    """
    from basicsr_m2trans.apps.report.methods import base_files
    from basicsr_m2trans.apps.report.plan import read_plan
    from basicsr_m2trans.apps.report.settings import plan_runs
    from basicsr_m2trans.apps.report.work import find_work

    settings, out = read_plan(path)
    if not files:
        base_files(settings, plan_runs(settings.methods.values(), settings.scales))
        return None
    missing = find_work(settings, out).missing
    return "\n  ".join([f"plan {path} lacks", *missing]) if missing else None
