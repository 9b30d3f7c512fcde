"""Mutation testing with mutmut, on a sample of the mutants (docs/mutation.md).

    pip install mutmut==3.8.1
    python scripts/mutation.py --share 0.08 --at-least 10

Works on a copy of the last commit, so that nothing here changes. Prints how the mutants of each
module ended, and what each one that survived changes.
"""

import argparse
import json
import os
import random
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("archs", "losses", "metrics")
# mutmut passes over functions with decorators. These two change no value.
DECORATORS = re.compile(r"^ *@(once_differentiable|functools\.lru_cache\(.*\))\n", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the mutants of each module (default: all)"
    )
    parser.add_argument(
        "--at-least", type=int, default=0, help="mutants of each module, if it has as many"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
        os.chdir(folder)
        modules = [
            path
            for package in PACKAGES
            for path in sorted(Path("basicsr_m2trans", package).glob("*.py"))
        ]
        made = {path: make_mutants(path) for path in modules}
        sample = []
        for names in made.values():
            count = min(len(names), max(args.at_least, round(args.share * len(names))))
            sample += random.Random(args.seed).sample(names, count)
        subprocess.run(["mutmut", "run", "--max-children", "1", *sample], check=True)
        for path, names in made.items():
            ended = Counter(status for name, status in results(path).items() if name in sample)
            print(f"{path}: {len(names)} mutants, {ended.total()} in the sample:", dict(ended))
        for path in modules:
            for name, status in results(path).items():
                if name in sample and status != "killed":
                    subprocess.run(["mutmut", "show", name], check=True)


def make_mutants(path: Path) -> list[str]:
    """Names of all mutants of a module, sorted; its decorators go."""
    code = DECORATORS.sub("", path.read_text(encoding="utf-8"))
    path.write_text(code, encoding="utf-8")
    module = ".".join(path.with_suffix("").parts)
    return sorted(f"{module}.{name}" for name in mutate_file_contents(str(path), code).mutant_names)


def results(path: Path) -> dict[str, str]:
    """How a module's mutants ended, by mutmut's words: 'killed', 'survived', 'timeout', ..."""
    codes = json.loads(Path("mutants", f"{path}.meta").read_text(encoding="utf-8"))[
        "exit_code_by_key"
    ]
    return {name: status_by_exit_code[code] for name, code in codes.items()}


if __name__ == "__main__":
    main()
