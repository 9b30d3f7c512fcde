"""Reads what a comparison is of: a plan, which is a yml file, and arguments, which win over it."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from basicsr_m2trans.apps.report.methods import argument, deciding_keys
from basicsr_m2trans.apps.report.plan_keys import KEYS, NUMBER_ABOVE_0, PLAN, SCALES, scale_key
from basicsr_m2trans.apps.report.settings import BICUBIC, Method, Settings, method_name
from basicsr_m2trans.utils.errors import InputError, Problem
from basicsr_m2trans.utils.names import first_few
from basicsr_m2trans.utils.yaml_file import OptionFile, leaves

# Keys that a comparison cannot do without.
REQUIRED = ("data", "methods", "scales", "out")
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
    defined, scales = tuple(_methods(file)), file.opt.get("scales")
    for key, (value, place) in (given or {}).items():
        _replace(file, key, value, place)
    if given and "methods" in given and "reference" not in given:
        _forget_reference(file, defined)
    for name, number in (lengths or {}).items():
        _set_length(file, method_name(name), number)
    # What values mean can be said only of those that have the right type.
    wrong = list(PLAN.problems(file.opt))
    if not wrong:
        wrong = [*_contradictions(file), *_idle_scales(file, scales)]
    problems = file.problems + wrong
    if path:
        file.refuse(problems)
    elif problems:
        places = [(each.place or file.place(each.key), each) for each in problems]
        lines = [f"{place}: {each.remedy}" if place else str(each) for place, each in places]
        raise InputError("\n".join(lines), problems)
    return _settings(file, tuple(overrides), defined), Path(file.opt["out"])


def is_plan(path: Path) -> bool:
    """Whether a yml file is a plan, and no option file, even where it lacks `methods`.

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
    """Make a section of a mere list of methods, and write the name of bicubic as all others do."""
    methods = file.opt.get("methods")
    if isinstance(methods, list) and all(isinstance(name, str) for name in methods):
        methods = dict.fromkeys(methods)
    if isinstance(methods, dict):
        file.opt["methods"] = {
            method_name(name) if isinstance(name, str) else name: definition
            for name, definition in methods.items()
        }
        file.places |= {
            ("methods", method_name(key[1]), *key[2:]): place
            for key, place in file.places.items()
            if key[0] == "methods" and key[1:]
        }


def _replace(file: OptionFile, key: str, value: Any, place: str) -> None:
    """Put the value of an argument over the plan's."""
    if key == "methods":
        defined = _methods(file)
        file.opt[key] = {name: defined.get(name) for name in map(method_name, value)}
        file.places[(key,)] = place
        return
    if key in ("iterations", "seeds"):
        for definition in _methods(file).values():
            if isinstance(definition, dict):
                definition.pop(key, None)
    file.put((key,), value, place)


def _forget_reference(file: OptionFile, defined: tuple[str, ...]) -> None:
    """Take the plan's reference away where it is one of its methods that `--methods` leaves out."""
    reference = file.opt.get("reference")
    if isinstance(reference, str) and method_name(reference) in set(defined) - set(_methods(file)):
        del file.opt["reference"]


def _set_length(file: OptionFile, name: str, number: int) -> None:
    """Put the iterations that an argument gives for a single method over the plan's."""
    if name not in _methods(file) or name == BICUBIC:
        remedy = f"{_source(file, 'the plan')} names no {name} that is trained"
        file.problems.append(Problem((), "has no effect", remedy, f"--iters {name}=..."))
        return
    definition = file.opt["methods"][name] or {}
    if isinstance(definition, dict):
        file.opt["methods"][name] = definition | {"iterations": number}
        file.places["methods", name, "iterations"] = f"--iters {name} {number}"


def _source(file: OptionFile, plan: str) -> str:
    """What names the methods: the argument, or else what is called `plan`."""
    return "--methods" if file.place(("methods",)).startswith("--methods") else plan


def _contradictions(file: OptionFile) -> Iterator[Problem]:
    """What only a comparison knows of the values of a plan, all of the right type."""
    content, methods = file.opt, _methods(file)
    for key in REQUIRED:
        if not content.get(key):
            yield Problem((key,), "is missing", f"add it to the plan, or give {argument(key)}")
    for path in _holders(file):
        if file.value(*path, "seeds") == []:
            yield Problem((*path, "seeds"), "is empty", "name at least one, or remove it")
    minutes = content.get("minutes")
    if minutes is not None and not math.isfinite(minutes):
        remedy = "give a finite number, or leave it out and give iterations alone"
        yield Problem(("minutes",), f"is {minutes}", remedy)
    elif minutes is not None and minutes <= 0:
        yield Problem(("minutes",), f"is {minutes}", NUMBER_ABOVE_0)
    for name in content.get("tests") or {}:
        if Path(name).name != name:
            remedy = "it becomes a file, so write one word without slashes"
            yield Problem(("tests", name), "is no name", remedy)
    for name, definition in methods.items():
        yield from _method_problems(name, definition or {}, content.get("scales"))
    for path in _changed_sections(file):
        for changed, _ in leaves(file.value(*path) or {}):
            deciding = " or ".join(deciding_keys(":".join(changed)))
            if deciding:
                text = "is set by the comparison itself"
                yield Problem((*path, *changed), text, f"remove it; {deciding} decides")
    reference = content.get("reference")
    if reference is not None and methods and method_name(reference) not in methods:
        remedy = f"name one of {_source(file, 'the methods')} {','.join(methods)}"
        yield Problem(("reference",), f"{reference!r} is no method", remedy)
    if minutes is None:
        yield from _missing_lengths(content, methods)


def _method_problems(
    name: str, definition: dict[str, Any], scales: list[int] | None
) -> Iterator[Problem]:
    key, own = ("methods", name), definition.get("scales")
    if not METHOD_NAME.fullmatch(name):
        remedy = "it becomes the name of files, so write letters, digits and any of . _ + -"
        yield Problem(key, "is not the name of a method", remedy)
    if name == BICUBIC:
        remedy = "remove it; bicubic interpolation is not trained"
        yield from (Problem((*key, each), "has no effect", remedy) for each in definition)
    if own is not None and not set(own) & set(scales or own):
        named = ", ".join(map(str, scales or SCALES))
        remedy = f"name some of {named}, or leave it out for all"
        yield Problem((*key, "scales"), "is none of the comparison's scales", remedy)


def _idle_scales(file: OptionFile, planned: list[int] | None) -> Iterator[Problem]:
    """What is given for single scales at which nothing is trained.

    Not meant are those that the plan has and arguments leave out; `planned` has the plan's own.
    """
    for path in _holders(file):
        own = file.value(*path, "scales") if path else None
        for key, scale in itertools.product(("iterations", "scale_changes"), SCALES):
            given, whose = file.value(*path, key), ""
            if planned and scale not in planned:
                whose = "comparison"
            elif own and scale not in own:
                whose = "method"
            if whose and isinstance(given, dict) and scale_key(scale) in given:
                text = f"is none of the {whose}'s scales"
                remedy = f"remove it, or add {scale} to scales"
                yield Problem((*path, key, scale_key(scale)), text, remedy)


def _missing_lengths(content: dict[str, Any], methods: dict[str, Any]) -> Iterator[Problem]:
    scales, missing = content.get("scales") or (), []
    for name, definition in methods.items():
        lengths = _lengths(content, definition or {})
        own = (definition or {}).get("scales") or scales
        lacking = [scale for scale in scales if scale in own and scale not in lengths]
        missing += [f"{name} x{scale}" for scale in lacking if name != BICUBIC]
    if missing:
        text = f"gives neither iterations nor minutes for {first_few(missing)}"
        remedy = "add one of them; on the command line use --iters, --time-budget or both"
        yield Problem((), text, remedy)


def _holders(file: OptionFile) -> list[tuple[str, ...]]:
    """The paths of all sections with the keys that a plan and each of its methods may have."""
    return [(), *(("methods", name) for name in _methods(file))]


def _changed_sections(file: OptionFile) -> Iterator[tuple[str, ...]]:
    """The paths of all sections that change option files."""
    for path in _holders(file):
        yield (*path, "changes")
        scale_changes = file.value(*path, "scale_changes") or {}
        yield from ((*path, "scale_changes", scale) for scale in scale_changes)


def _lengths(content: dict[str, Any], definition: dict[str, Any]) -> dict[int, int]:
    """Iterations by scale of a method; its own go before those of all."""
    found: dict[int, int] = {}
    for given in (content.get("iterations"), definition.get("iterations")):
        lengths = given if isinstance(given, dict) else dict.fromkeys(map(scale_key, SCALES), given)
        numbers = {scale: lengths.get(scale_key(scale)) for scale in SCALES}
        found |= {scale: int(number) for scale, number in numbers.items() if number is not None}
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
    holders: list[tuple[str, ...]] = [(), ("methods", name)]
    changes = {}
    for scale in content["scales"]:
        keys = ("changes",), ("scale_changes", scale_key(scale))
        parts = [file.part(*holder, *key) for holder in holders for key in keys]
        changes[scale] = tuple(part for part in parts if part.values)
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
