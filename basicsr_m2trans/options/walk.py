"""Compares an option file with the table of keys, section by section."""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from types import NoneType
from typing import Any

from basicsr_m2trans.options.values import KIND_NAMES, Section, TypedSection, Value
from basicsr_m2trans.utils.errors import Problem

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
NUMBER_REMEDY = "write !!float {0}; on the command line '!!float {0}', in quotes"


def find_problems(value: Any, expected: Value, key: tuple[str, ...] = ()) -> Iterator[Problem]:
    """What differs from `expected` in a value and all that it holds.

    Args:
        value: as YAML reads it.
        expected: what it should be.
        key: its path from the top of the file.
    """
    if value is None:
        if NoneType in expected.kinds:
            return
        if expected.required:
            yield _missing(key, expected)
        elif expected.kinds and dict not in expected.kinds:
            yield Problem(key, "is empty", f"give it {_names(expected.kinds)}, or remove it")
    elif expected.kinds and not _fits(value, expected.kinds):
        if isinstance(value, str) and float in expected.kinds and NUMBER.fullmatch(value.strip()):
            yield Problem(key, f"is the text {value!r}", NUMBER_REMEDY.format(value))
        else:
            names = _names(expected.kinds)
            yield Problem(key, f"must be {names}, but is {value!r}", f"write {names}")
    elif isinstance(value, str):
        yield from _text_problems(value, expected, key)
    elif isinstance(value, dict):
        yield from _section_problems(value, expected.section, key)
    elif isinstance(value, list) and expected.items:
        for number, item in enumerate(value, start=1):
            for problem in find_problems(item, expected.items, key):
                yield dataclasses.replace(problem, text=f"entry {number} {problem.text}")
    else:
        yield from _number_problems(value, expected, key)


def unknown_name(key: tuple[str, ...], name: Any, known: Iterable[str]) -> Problem:
    """The problem that `name` is none of the known names of classes or choices; similar ones are
    named first.
    """
    names = {each.lower(): each for each in known}
    # BasicSR's own suffix for names that other packages use too.
    listed = sorted(each for each in names.values() if not each.endswith("_basicsr"))
    return Problem(
        key,
        f"{name!r} is unknown",
        f"{guess(str(name), names.values())}choose one of {', '.join(listed)}",
    )


def guess(name: str, known: Iterable[str]) -> str:
    """`did you mean A or B? ` with the known names that are similar; empty if none is."""
    names = {each.lower(): each for each in known}
    near = [names[match] for match in difflib.get_close_matches(name.lower(), names, cutoff=0.7)]
    return f"did you mean {' or '.join(near)}? " if near else ""


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # a whole number to Python, but not to the user
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def _names(kinds: tuple[type, ...]) -> str:
    return " or ".join(KIND_NAMES[kind] for kind in kinds)


def _number_problems(value: Any, expected: Value, key: tuple[str, ...]) -> Iterator[Problem]:
    if expected.minimum is not None and not value >= expected.minimum:
        yield Problem(key, f"is {value}", expected.remedy or f"write at least {expected.minimum}")
    elif expected.maximum is not None and not value <= expected.maximum:
        yield Problem(key, f"is {value}", expected.remedy or f"write at most {expected.maximum}")
    elif expected.whole and value % 1 != 0:
        yield Problem(
            key, f"must be a whole number, but is {value}", "write a number without fraction"
        )


def _text_problems(value: str, expected: Value, key: tuple[str, ...]) -> Iterator[Problem]:
    choices = (
        expected.section.types if isinstance(expected.section, TypedSection) else expected.choices
    )
    if choices and value not in choices:
        others = [KIND_NAMES[kind] for kind in expected.kinds if kind not in (str, dict)]
        yield unknown_name(key, value, [*choices, *others])
    elif not expected.kinds and "e" in value.lower() and NUMBER.fullmatch(value.strip()):
        yield Problem(key, f"is the text {value!r}", NUMBER_REMEDY.format(value))
    elif isinstance(expected.section, TypedSection):
        for problem in _section_problems({"type": value}, expected.section, key):
            remedy = f"write {{type: {value}, {problem.key[-1]}: VALUE}} in place of {value}"
            yield dataclasses.replace(problem, remedy=remedy)


def _section_problems(
    section: dict[Any, Any], expected: Section | TypedSection | None, key: tuple[str, ...]
) -> Iterator[Problem]:
    name = ""
    if isinstance(expected, TypedSection):
        chosen = section.get("type")
        if chosen is None:
            names = ", ".join(sorted(expected.types))
            yield Problem(
                (*key, "type"), "is missing", f"add the name of a {expected.name}: {names}"
            )
        elif isinstance(chosen, str) and chosen in expected.refused:
            yield Problem((*key, "type"), f"{chosen!r} cannot stand here", expected.refused[chosen])
        elif not isinstance(chosen, str) or chosen not in expected.types:
            yield unknown_name((*key, "type"), chosen, expected.types)
        if not isinstance(chosen, str) or chosen not in expected.types:
            return
        name = f" {chosen}"
        expected, section = (
            expected.types[chosen],
            {each: section[each] for each in section if each != "type"},
        )
    if expected is None:
        expected = Section({}, others=Value())
    for each, value in section.items():
        known = expected.keys.get(each, expected.others)
        if known is None and not isinstance(each, bool | str):
            # A number, which is no key in quotes either.
            yield _unknown_key((*key, str(each)), expected, name)
        elif not isinstance(each, str):
            yield Problem(
                (*key, str(each)), "is no text, as the name of a key must be", "put it in quotes"
            )
        elif known is None:
            yield _unknown_key((*key, each), expected, name)
        else:
            yield from find_problems(value, known, (*key, each))
    for each in expected.required:
        if each not in section:
            yield _missing((*key, each), expected.keys[each])


def _missing(key: tuple[str, ...], expected: Value) -> Problem:
    texts = f", such as {', '.join(expected.choices)}" if expected.choices else ""
    return Problem(
        key,
        "is missing",
        f"add it; it is {_names(expected.kinds) or 'an argument without default'}{texts}",
    )


def _unknown_key(key: tuple[str, ...], section: Section, name: str) -> Problem:
    near = difflib.get_close_matches(key[-1], section.keys)
    known = f"remove it; known here: {', '.join(sorted(section.keys))}"
    remedy = f"did you mean {' or '.join(near)}?" if near else known
    return Problem(key, f"is no key{name and f' of{name}'}; {section.unknown}", remedy)
