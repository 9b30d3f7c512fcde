"""The words in which `sections` describes an option file, and in which checks report what is wrong
with one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

KIND_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a section of keys and values",
    NoneType: "~",
}


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
