"""Reads what a comparison is of: a plan, which is a yml file, and the command line, which wins over
it.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from basicsr_m2trans.apps.report.methods import deciding_keys
from basicsr_m2trans.apps.report.plan_keys import KEYS, NUMBER_ABOVE_0, PLAN, SCALES, scale_key
from basicsr_m2trans.apps.report.settings import BICUBIC, Method, Settings, method_name
from basicsr_m2trans.utils.errors import InputError, Problem
from basicsr_m2trans.utils.names import first_few
from basicsr_m2trans.utils.yaml_file import OptionFile

# Keys that a comparison cannot do without, and the arguments that stand for them.
REQUIRED = {"data": "--data", "methods": "--methods", "scales": "--scales", "out": "--out"}
# Methods give their names to files, and are named in `--iters N,METHOD=N` and `--set
# METHOD.key=value`.
METHOD_NAME = re.compile(r"\w[\w.+-]*")
# Sections of option files that no plan has.
OPTION_SECTIONS = {"model_type", "network_g", "datasets"}


def read_plan(
    path: Path | None,
    given: Mapping[str, tuple[Any, str]] | None = None,
    lengths: Mapping[str, int] | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Settings, Path]:
    """What a plan and the command line say together.

    Args:
        path: the plan; None where the command line says it all.
        given: keys of a plan with the values and the wording of the arguments that replace them.
            `iterations` and `seeds` replace those of single methods too; `methods` chooses among
            those of the plan, or names others.
        lengths: iterations of single methods, as arguments.
        overrides: entries of `--set`.

    Returns:
        The settings and the folder to write to.

    Raises:
        InputError: the plan cannot be read, or something in it or on the command line cannot be
            used; one message lists all that is wrong.
    """
    file = OptionFile.read(path, kind="plan") if path else OptionFile(Path(), {})
    _name_methods(file)
    defined = tuple(_methods(file))
    for key, (value, place) in (given or {}).items():
        _replace(file, key, value, place)
    if given and "methods" in given and "reference" not in given:
        _forget_reference(file, defined)
    for name, number in (lengths or {}).items():
        _set_length(file, method_name(name), number)
    # What values mean can be said only of those that have the right type.
    problems = file.problems + (list(PLAN.problems(file.opt)) or list(_contradictions(file)))
    if problems and path:
        raise InputError(file.report(problems))
    if problems:
        places = [(problem.place or file.place(problem.key), problem) for problem in problems]
        raise InputError(
            "\n".join(f"{place}: {each.remedy}" if place else str(each) for place, each in places)
        )
    return _settings(file, tuple(overrides), defined), Path(file.opt["out"])


def is_plan(path: Path) -> bool:
    """Whether a yml file is a plan, and no option file; one without `methods`, or with a misspelt
    one, is a plan too.

    Raises:
        InputError: the file cannot be read or holds nothing.
    """
    keys = OptionFile.read(path, kind="file").opt.keys()
    return "methods" in keys or (not keys & OPTION_SECTIONS and not keys.isdisjoint(KEYS))


def _methods(file: OptionFile) -> dict[str, Any]:
    """The definitions of the methods by name; none where the plan has no such section."""
    methods = file.opt.get("methods")
    return methods if isinstance(methods, dict) else {}


def _name_methods(file: OptionFile) -> None:
    """Make a section of a mere list of methods, and write the name of bicubic interpolation as all
    others know it.
    """
    methods = file.opt.get("methods")
    if isinstance(methods, list) and all(isinstance(name, str) for name in methods):
        file.opt["methods"] = dict.fromkeys(methods)
    for name in [
        name for name in _methods(file) if isinstance(name, str) and method_name(name) != name
    ]:
        known = method_name(name)
        file.opt["methods"] = {
            known if each == name else each: value for each, value in _methods(file).items()
        }
        places = {key: place for key, place in file.places.items() if key[:2] == ("methods", name)}
        file.places |= {("methods", known, *key[2:]): place for key, place in places.items()}


def _replace(file: OptionFile, key: str, value: Any, place: str) -> None:
    """Put the value of an argument over the plan's."""
    if key == "methods":
        defined = _methods(file)
        file.opt[key] = {name: defined.get(name) for name in map(method_name, value)}
        file.places[(key,)] = place
        return
    if key in ("iterations", "seeds"):
        for name, definition in _methods(file).items():
            if isinstance(definition, dict):
                file.opt["methods"][name] = {
                    each: definition[each] for each in definition if each != key
                }
    file.put((key,), value, place)


def _forget_reference(file: OptionFile, defined: tuple[str, ...]) -> None:
    """Take the plan's reference away where it is a method of the plan that
    `--methods` leaves out.
    """
    reference = file.opt.get("reference")
    if isinstance(reference, str) and method_name(reference) in set(defined) - set(_methods(file)):
        del file.opt["reference"]


def _set_length(file: OptionFile, name: str, number: int) -> None:
    """Put the iterations that an argument gives for a single method over the plan's."""
    if name not in _methods(file) or name == BICUBIC:
        source = (
            "--methods" if file.places.get(("methods",), "").startswith("--methods") else "the plan"
        )
        remedy = f"{source} names no {name} that is trained"
        file.problems.append(Problem((), "has no effect", remedy, f"--iters {name}=..."))
        return
    definition = file.opt["methods"][name] or {}
    if isinstance(definition, dict):
        file.opt["methods"][name] = definition | {"iterations": number}
        file.places["methods", name, "iterations"] = f"--iters {name} {number}"


def _contradictions(file: OptionFile) -> Iterator[Problem]:
    """What the keys of a plan say about each other, and what only a comparison knows of its values.

    Args:
        file: a plan of which every value has the right type.
    """
    content, methods = file.opt, _methods(file)
    for key, argument in REQUIRED.items():
        if not content.get(key):
            yield Problem((key,), "is missing", f"add it to the plan, or give {argument}")
    for path in [("seeds",), *(("methods", name, "seeds") for name in methods)]:
        if file.value(*path) == []:
            yield Problem(path, "is empty", "name at least one, or remove it")
    minutes = content.get("minutes")
    if minutes is not None and not math.isfinite(minutes):
        yield Problem(
            ("minutes",),
            f"is {minutes}",
            "give a finite number, or leave it out and give iterations alone",
        )
    elif minutes is not None and minutes <= 0:
        yield Problem(("minutes",), f"is {minutes}", NUMBER_ABOVE_0)
    for name in content.get("tests") or {}:
        if Path(name).name != name:
            yield Problem(
                ("tests", name),
                "is no name",
                "it becomes a file, so write one word without slashes",
            )
    for name, definition in methods.items():
        yield from _method_problems(name, definition or {})
        own = (definition or {}).get("scales")
        if own is not None and not set(own) & set(content.get("scales") or own):
            remedy = (
                f"name some of {', '.join(map(str, content.get('scales') or SCALES))}, or leave it "
                "out for all"
            )
            yield Problem(("methods", name, "scales"), "is none of the comparison's scales", remedy)
    for path in _changed_sections(content, methods):
        for changed in _keys(file.value(*path) or {}):
            deciding = " or ".join(deciding_keys(":".join(changed)))
            if deciding:
                yield Problem(
                    (*path, *changed),
                    "is set by the comparison itself",
                    f"remove it; {deciding} decides",
                )
    reference = content.get("reference")
    if reference is not None and methods and method_name(reference) not in methods:
        source = (
            "--methods"
            if file.places.get(("methods",), "").startswith("--methods")
            else "the methods"
        )
        yield Problem(
            ("reference",),
            f"{reference!r} is no method",
            f"name one of {source} {','.join(methods)}",
        )
    if minutes is None:
        yield from _missing_lengths(content, methods)


def _method_problems(name: str, definition: dict[str, Any]) -> Iterator[Problem]:
    if not METHOD_NAME.fullmatch(name):
        remedy = "it becomes the name of files, so write letters, digits and any of . _ + -"
        yield Problem(("methods", name), "is no name of a method", remedy)
    if name == BICUBIC:
        for key in definition:
            yield Problem(
                ("methods", name, key),
                "has no effect",
                "remove it; bicubic interpolation is not trained",
            )


def _missing_lengths(content: dict[str, Any], methods: dict[str, Any]) -> Iterator[Problem]:
    trained = {
        name: _lengths(content, definition or {})
        for name, definition in methods.items()
        if name != BICUBIC
    }
    scales = content.get("scales") or ()
    missing = [
        f"{name} x{scale}"
        for name, lengths in trained.items()
        for scale in scales
        if scale in ((methods[name] or {}).get("scales") or scales) and scale not in lengths
    ]
    if missing:
        text = f"gives neither iterations nor minutes for {first_few(missing)}"
        yield Problem(
            (), text, "add one of them; on the command line use --iters, --time-budget or both"
        )


def _changed_sections(
    content: dict[str, Any], methods: Mapping[str, Any]
) -> Iterator[tuple[str, ...]]:
    """The paths of all sections that change option files."""
    holders = {(): content} | {
        ("methods", name): definition or {} for name, definition in methods.items()
    }
    for key, holder in holders.items():
        yield (*key, "changes")
        yield from ((*key, "scale_changes", name) for name in holder.get("scale_changes") or {})


def _keys(values: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The paths of all values that are no sections."""
    for name, value in values.items():
        yield from ((name, *key) for key in _keys(value)) if isinstance(value, dict) else [(name,)]


def _lengths(content: dict[str, Any], definition: dict[str, Any]) -> dict[int, int]:
    """Iterations by scale of a method; its own go before those of all."""
    found: dict[int, int] = {}
    for iterations in (content.get("iterations"), definition.get("iterations")):
        for scale in SCALES:
            number = (
                iterations.get(scale_key(scale)) if isinstance(iterations, dict) else iterations
            )
            if number is not None:
                found[scale] = int(number)
    return found


def _settings(file: OptionFile, overrides: tuple[str, ...], defined: tuple[str, ...]) -> Settings:
    content, data = file.opt, Path(file.opt["data"])
    names = list(_methods(file))
    first = next((name for name in names if name.startswith("M2Trans")), names[-1])
    tests = content.get("tests") or {"val": data / "val"}
    return Settings(
        data=data,
        methods={name: _method(file, name, defined) for name in names},
        scales=tuple(dict.fromkeys(content["scales"])),
        minutes=content.get("minutes"),
        tests={name: Path(folder) for name, folder in tests.items()},
        reference=method_name(content.get("reference") or first),
        overrides=overrides,
        validations=content.get("validations", 10),
        options=Path(content.get("options", "options")),
        panels=tuple(content.get("panels", ())),
        panels_place=file.place(("panels",)),
    )


def _method(file: OptionFile, name: str, defined: tuple[str, ...]) -> Method:
    content, definition = file.opt, file.opt["methods"][name] or {}
    if name == BICUBIC:
        return Method(name, seeds=())
    changes = {}
    for scale in content["scales"]:
        parts = [(*key, *part) for key in ((), ("methods", name)) for part in _parts(scale)]
        changes[scale] = tuple(part for part in (file.part(*key) for key in parts) if part.values)
    return Method(
        name=name,
        base=definition.get("base", name),
        seeds=tuple(dict.fromkeys(definition.get("seeds") or content.get("seeds") or (0,))),
        scales=tuple(definition["scales"]) if definition.get("scales") else None,
        lengths=_lengths(content, definition),
        changes=changes,
        others=() if name in defined else defined,
        place=file.place(("methods", name, "base")),
    )


def _parts(scale: int) -> tuple[tuple[str, ...], ...]:
    """Where the changes for a scale are, in the plan and in each method."""
    return ("changes",), ("scale_changes", scale_key(scale))
