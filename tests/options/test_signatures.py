from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Literal

from torch import nn

from basicsr_m2trans.options.signatures import from_signature
from basicsr_m2trans.options.values import Value


class Base:
    def __init__(self, width, depth=2):
        pass


class Derived(Base):
    def __init__(self, rate: float = 0.5, **kwargs):
        pass


class Lost(Derived):
    def __init__(self, rate: float = 0.5):
        pass


def test_annotations_tell_the_type():
    def function(
        count: int,
        rate: float | None = None,
        sides: tuple[int, ...] = (4, 8),
        mode: Literal["a", "b"] = "a",
        file: "str | Path" = "",
        entry: str | Mapping[str, int] | nn.Module = "",
        layer: type[nn.Module] = nn.Identity,
    ):
        pass

    assert from_signature(function).keys == {
        "count": Value((int,), required=True),
        "rate": Value((float, NoneType)),
        "sides": Value((list,), items=Value((int,)), default=(4, 8)),
        "mode": Value((str,), choices=("a", "b"), default="a"),
        "file": Value((str,), default=""),
        "entry": Value((str, dict), default=""),
    }


def test_defaults_tell_the_type_where_there_is_no_annotation():
    def function(
        first,
        size=64,
        scale=1.0,
        flag=False,
        name="x",
        depths=(6, 6),
        other=None,
        layer=nn.LayerNorm,
    ):
        pass

    keys = from_signature(function, given=("other",)).keys
    assert {key: value.kinds for key, value in keys.items()} == {
        "first": (),
        "size": (float, list),
        "scale": (float, list),
        "flag": (bool,),
        "name": (str, NoneType),
        "depths": (list, float),
    }
    assert keys["first"].required
    assert keys["depths"].items == Value((float,))


def test_arguments_of_base_classes_are_keys_where_they_are_passed_on():
    assert list(from_signature(Derived).keys) == ["width", "depth", "rate"]
    assert list(from_signature(Lost).keys) == ["rate"]


def test_what_is_known_replaces_the_signature():
    known = {"width": Value((str,)), "better": Value((bool,))}
    assert from_signature(Base, known=known).keys == {
        "width": Value((str,)),
        "depth": Value((float, list), default=2),
        "better": Value((bool,)),
    }
