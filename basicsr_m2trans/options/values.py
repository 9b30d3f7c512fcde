"""What keys may hold: the types that the tables of keys are made of, and the check against them."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any

from basicsr_m2trans.utils.errors import Problem

KIND_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a section of keys and values",
    NoneType: "~",
}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
NUMBER_REMEDY = "write !!float {0}; on the command line '!!float {0}', in quotes"


@dataclass(frozen=True)
class Value:
    """What one key holds.

    Args:
        kinds: types that it may have, of `KIND_NAMES`; a number may be whole, a section may be left
            empty. No kinds mean that anything will do.
        required: the key must be there.
        choices: the texts that it may be; none mean any text.
        minimum: the smallest number that it may be.
        maximum: the largest number that it may be.
        whole: a number without fraction, written as `1000` or `!!float 1e3`.
        items: what the members of a list are.
        section: what a section holds. Where text is possible too, it stands for a section with this
            `type` alone.
        default: what the key is where it is left out, as far as the checks need it.
        remedy: what to do about a number beyond the limits; without it the limit is named.
    """

    kinds: tuple[type, ...] = ()
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    whole: bool = False
    items: "Value | None" = None
    section: "Section | TypedSection | None" = None
    default: Any = None
    remedy: str = ""

    def problems(self, value: Any, key: tuple[str, ...] = ()) -> Iterator[Problem]:
        """All that is wrong with a value and what it holds.

        Args:
            value: as YAML reads it.
            key: its path from the top of the file.
        """
        if value is None:
            if NoneType in self.kinds:
                return
            if self.required:
                yield self.missing(key)
            elif self.kinds and dict not in self.kinds:
                yield Problem(key, "is empty", f"give it {_names(self.kinds)}, or remove it")
        elif self.kinds and not _fits(value, self.kinds):
            if float in self.kinds and _is_number(value):
                yield Problem(key, f"is the text {value!r}", NUMBER_REMEDY.format(value))
            else:
                names = _names(self.kinds)
                yield Problem(key, f"must be {names}, but is {value!r}", f"write {names}")
        elif isinstance(value, str):
            yield from self._text_problems(value, key)
        elif isinstance(value, dict):
            yield from (self.section or Section({}, others=Value())).problems(value, key)
        elif isinstance(value, list) and self.items:
            for number, item in enumerate(value, start=1):
                for problem in self.items.problems(item, key):
                    yield replace(problem, text=f"entry {number} {problem.text}")
        elif self.minimum is not None and not value >= self.minimum:
            yield Problem(key, f"is {value}", self.remedy or f"write at least {self.minimum}")
        elif self.maximum is not None and not value <= self.maximum:
            yield Problem(key, f"is {value}", self.remedy or f"write at most {self.maximum}")
        elif self.whole and value % 1 != 0:
            text = f"must be a whole number, but is {value}"
            yield Problem(key, text, "write a number without fraction")

    def _text_problems(self, value: str, key: tuple[str, ...]) -> Iterator[Problem]:
        types = self.section.types if isinstance(self.section, TypedSection) else None
        choices = types or self.choices
        if choices and value not in choices:
            others = [KIND_NAMES[kind] for kind in self.kinds if kind not in (str, dict)]
            yield _unknown_name(key, value, [*choices, *others])
        elif not self.kinds and "e" in value.lower() and _is_number(value):
            yield Problem(key, f"is the text {value!r}", NUMBER_REMEDY.format(value))
        elif types:
            for problem in types[value].problems({}, key):
                remedy = f"write {{type: {value}, {problem.key[-1]}: VALUE}} in place of {value}"
                yield replace(problem, remedy=remedy)

    def missing(self, key: tuple[str, ...]) -> Problem:
        """The problem that the key is not there."""
        texts = f", such as {', '.join(self.choices)}" if self.choices else ""
        names = _names(self.kinds) or "an argument without default"
        return Problem(key, "is missing", f"add it; it is {names}{texts}")


@dataclass(frozen=True)
class Section:
    """The keys of a section.

    Args:
        keys: what each key holds.
        others: what keys of all other names hold; None where there are none.
        unknown: what becomes of a key that is none of them.
    """

    keys: Mapping[str, Value]
    others: Value | None = None
    unknown: str = "nothing reads it"

    @property
    def required(self) -> list[str]:
        """Names of the keys that must be there."""
        return [name for name, value in self.keys.items() if value.required]

    def problems(
        self, section: dict[Any, Any], key: tuple[str, ...], owner: str = ""
    ) -> Iterator[Problem]:
        """As `Value.problems`; `owner` names the class whose arguments the keys are."""
        for each, value in section.items():
            known, path = self.keys.get(each, self.others), (*key, str(each))
            # A number is not a key in quotes either.
            if known is None and not isinstance(each, bool):
                yield self._unknown_key(path, owner)
            elif known is None or not isinstance(each, str):
                yield Problem(path, "is not text, as the name of a key must be", "put it in quotes")
            else:
                yield from known.problems(value, path)
        for each in self.required:
            if each not in section:
                yield self.keys[each].missing((*key, each))

    def _unknown_key(self, key: tuple[str, ...], owner: str) -> Problem:
        near = difflib.get_close_matches(key[-1], self.keys)
        known = f"remove it; known here: {', '.join(sorted(self.keys))}"
        remedy = f"did you mean {' or '.join(near)}?" if near else known
        return Problem(key, f"is not a key{owner and f' of {owner}'}; {self.unknown}", remedy)


@dataclass(frozen=True)
class TypedSection:
    """A section whose key `type` names a class, which decides about the other keys.

    Args:
        name: what the classes are, such as 'network'.
        types: the section of each class, apart from `type`.
        refused: classes that one might name but must not, with what to do instead.
    """

    name: str
    types: Mapping[str, Section]
    refused: Mapping[str, str] = field(default_factory=dict)

    def problems(self, section: dict[Any, Any], key: tuple[str, ...]) -> Iterator[Problem]:
        """As `Value.problems`."""
        chosen, path = section.get("type"), (*key, "type")
        if chosen is None:
            names = ", ".join(sorted(self.types))
            yield Problem(path, "is missing", f"add the name of a {self.name}: {names}")
        elif isinstance(chosen, str) and chosen in self.types:
            others = {each: value for each, value in section.items() if each != "type"}
            yield from self.types[chosen].problems(others, key, chosen)
        elif isinstance(chosen, str) and chosen in self.refused:
            yield Problem(path, f"{chosen!r} cannot be used here", self.refused[chosen])
        else:
            yield _unknown_name(path, chosen, self.types)


def guess(name: str, known: Collection[str]) -> str:
    """`did you mean A or B? ` with the known names that are similar; empty if none is."""
    names = {each.lower(): each for each in known}
    near = [names[match] for match in difflib.get_close_matches(name.lower(), names, cutoff=0.7)]
    return f"did you mean {' or '.join(near)}? " if near else ""


def _unknown_name(key: tuple[str, ...], name: Any, known: Collection[str]) -> Problem:
    # BasicSR's own suffix for names that other packages use too is left out.
    listed = ", ".join(sorted(each for each in known if not each.endswith("_basicsr")))
    return Problem(key, f"{name!r} is unknown", f"{guess(str(name), known)}choose one of {listed}")


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # a whole number to Python, but not to the user
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and NUMBER.fullmatch(value.strip()) is not None


def _names(kinds: tuple[type, ...]) -> str:
    return " or ".join(KIND_NAMES[kind] for kind in kinds)
