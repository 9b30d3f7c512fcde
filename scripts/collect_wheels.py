"""Completes a bundle of wheels; `bundle.sh` has put this package's into FOLDER/wheels.

`pip download` alone cannot. It evaluates environment markers for the Python that it runs on,
whichever `--python-version` it is given, and it stops where a package is left out on purpose. So
the requirements are followed here, and pip fetches one package at a time, pinned by
constraints.txt.
"""

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT_PACKAGE = "basicsr-m2trans"
SDIST_ONLY = {"basicsr"}

Wheels = dict[str, importlib.metadata.Distribution]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the bundle")
    parser.add_argument("--constraints", type=Path, required=True, help="file of exact versions")
    parser.add_argument("--python", required=True, help="version to collect for, such as 3.12")
    parser.add_argument("--extras", default="", help="names with commas between them")
    parser.add_argument(
        "--without", nargs="*", default=[], help="packages to leave out, as NAME or NAME=SUBSTITUTE"
    )
    args = parser.parse_args()
    extras = {canonicalize_name(name) for name in args.extras.split(",") if name}
    # Each name left out, and the package that the other machine has for it.
    without = {
        canonicalize_name(name): other or name
        for name, _, other in (text.partition("=") for text in args.without)
    }

    check_root(read_wheels(args.folder)[ROOT_PACKAGE], args.python, extras)
    needed = collect(args.folder, args.constraints, args.python, extras, set(without))
    if unknown := sorted(without.keys() - needed.keys() | without.keys() & {ROOT_PACKAGE}):
        fail(f"nothing in this bundle needs {', '.join(unknown)}; take it out of --without")
    check_versions(read_wheels(args.folder), needed)

    versions = {name: wheel.version for name, wheel in read_wheels(args.folder).items()}
    write_lines(
        args.folder / "requirements.txt",
        [f"{name}=={version}" for name, version in versions.items()],
    )
    write_lines(
        args.folder / "left-out.txt", [f"{other}{needed[name]}" for name, other in without.items()]
    )
    write_lines(args.folder / "python-version", [args.python])


def check_root(root: importlib.metadata.Distribution, python: str, extras: set[str]) -> None:
    """Refuse Python versions and extras that this package does not have."""
    supported = root.metadata["Requires-Python"]
    if not SpecifierSet(supported).contains(f"{python}.0"):
        fail(f"--python {python}: this package needs Python {supported}")
    known = {canonicalize_name(name) for name in root.metadata.get_all("Provides-Extra", [])}
    if unknown := sorted(extras - known):
        fail(f"--extras: there is no {', '.join(unknown)}; there are {', '.join(sorted(known))}")


def collect(
    folder: Path, constraints: Path, python: str, extras: set[str], without: set[str]
) -> dict[str, SpecifierSet]:
    """Download until no requirement is missing.

    Returns:
        The versions that are asked for, of every package that is needed, those left out included.
    """
    environment = default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    with tempfile.TemporaryDirectory() as temporary:
        pins = Path(temporary) / "constraints.txt"
        write_lines(pins, pins_for(constraints, environment))
        while True:
            wheels = read_wheels(folder)
            needed = follow(wheels, extras, without, environment)
            missing = needed.keys() - wheels.keys() - without
            if not missing:
                return needed
            print(f"  {len(missing)} more: {', '.join(sorted(missing))}", flush=True)
            download(
                [f"{name}{needed[name]}" for name in sorted(missing - SDIST_ONLY)],
                folder,
                pins,
                python,
            )
            build([f"{name}{needed[name]}" for name in sorted(missing & SDIST_ONLY)], folder, pins)


def pins_for(constraints: Path, environment: dict[str, str]) -> list[str]:
    """Pins of constraints.txt for the other Python version, without their markers."""
    lines = (line.partition("#")[0].strip() for line in constraints.read_text().splitlines())
    pins = [Requirement(line) for line in lines if line]
    return [
        f"{pin.name}{pin.specifier}"
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(environment)
    ]


def follow(
    wheels: Wheels, extras: set[str], without: set[str], environment: dict[str, str]
) -> dict[str, SpecifierSet]:
    """Follow requirements from this package as far as there are wheels, not into `without`."""
    needed = {ROOT_PACKAGE: SpecifierSet()}
    waiting = [(ROOT_PACKAGE, frozenset(extras))]
    seen = set()
    while waiting:
        package = waiting.pop()
        name, its_extras = package
        if package in seen or name in without or name not in wheels:
            continue
        seen.add(package)
        for text in wheels[name].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or any(
                requirement.marker.evaluate(environment | {"extra": extra})
                for extra in its_extras | {""}
            ):
                child = canonicalize_name(requirement.name)
                needed[child] = needed.get(child, SpecifierSet()) & requirement.specifier
                waiting.append(
                    (child, frozenset(canonicalize_name(extra) for extra in requirement.extras))
                )
    return needed


def read_wheels(folder: Path) -> Wheels:
    """The metadata in the wheels, by normalised name."""
    wheels = {}
    for path in (folder / "wheels").glob("*.whl"):
        (distribution,) = importlib.metadata.distributions(path=[str(path)])
        wheels[canonicalize_name(distribution.metadata["Name"])] = distribution
    return wheels


def download(requirements: list[str], folder: Path, pins: Path, python: str) -> None:
    """Download wheels; pip must not build, as it would do so for its own Python."""
    if requirements:
        options = [
            "--only-binary=:all:",
            "--python-version",
            python,
            "--dest",
            str(folder / "wheels"),
        ]
        run_pip("download", requirements, pins, options)


def build(requirements: list[str], folder: Path, pins: Path) -> None:
    """Build pure-Python packages that have no wheel; any Python version can use them."""
    if requirements:
        # BasicSR's setup imports torch and numpy, which an isolated build would download again.
        run_pip(
            "wheel",
            requirements,
            pins,
            ["--no-build-isolation", "--wheel-dir", str(folder / "wheels")],
        )


def run_pip(command: str, requirements: list[str], pins: Path, options: list[str]) -> None:
    pip = [sys.executable, "-m", "pip", command, "-qq", "--no-deps", "--constraint", str(pins)]
    if subprocess.run([*pip, *options, *requirements], check=False).returncode:
        fail(f"pip {command} failed; its messages are above. Needed: {', '.join(requirements)}")


def check_versions(wheels: Wheels, needed: dict[str, SpecifierSet]) -> None:
    """Refuse wheels that do not suit each other: the first to ask has chosen the version."""
    for name, wheel in wheels.items():
        if not needed[name].contains(wheel.version, prereleases=True):
            fail(
                f"{name} {wheel.version} was collected but {needed[name]} is needed; pin it in "
                "constraints.txt"
            )


def write_lines(path: Path, lines: list[str]) -> None:
    # Inside a folder that is renamed once it is whole.
    path.write_text("".join(f"{line}\n" for line in sorted(lines)))


def fail(message: str) -> None:
    raise SystemExit(f"bundle.sh: {message}")


if __name__ == "__main__":
    main()
