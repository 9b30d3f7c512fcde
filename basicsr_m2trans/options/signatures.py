"""Sections of an option file whose keys are the arguments of a class or function."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from basicsr_m2trans.options.values import Section, Value

KINDS = {bool: bool, int: int, float: float, str: str, NoneType: NoneType, Path: str}
# Where nothing but the default tells the type. A number may stand for a list and a list for a
# number, as where SwinIR takes `img_size: 64` as well as `img_size: [64, 64]`.
KINDS_OF_DEFAULTS = {
    bool: (bool,),
    int: (float, list),
    float: (float, list),
    str: (str, NoneType),
    tuple: (list, float),
    list: (list, float),
    NoneType: (),
}


def from_signature(
    function: Callable[..., Any],
    given: Iterable[str] = (),
    known: Mapping[str, Value] = types.MappingProxyType({}),
) -> Section:
    """The section that has the arguments of `function` as keys.

    Arguments under `**kwargs` are taken to go to the base class, as BasicSR's and PyTorch's classes
    do; what is no argument there either would be lost without a word, so it is no key. Arguments
    that YAML cannot express, such as modules, are no keys.

    Args:
        function: class or function.
        given: arguments that the caller gives.
        known: what is known of some keys beyond the signature, or in place of it.
    """
    keys: dict[str, Value] = {}
    for each in reversed(function.__mro__) if inspect.isclass(function) else [function]:
        if inspect.isclass(each) and "__init__" not in vars(each):
            continue
        parameters = _signature(each).parameters.values()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            keys.clear()
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                value = _value(parameter)
                if value is not None:
                    keys[parameter.name] = value
    return Section(
        {key: value for key, value in (keys | dict(known)).items() if key not in set(given)}
    )


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:  # an annotation of names that are imported for type checkers alone
        return inspect.signature(function)


def _value(parameter: inspect.Parameter) -> Value | None:
    """What the argument may be; None where only code can give it."""
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    if parameter.annotation is parameter.empty or isinstance(parameter.annotation, str):
        if required:
            return Value(required=True)
        kinds = KINDS_OF_DEFAULTS.get(type(default))
        if kinds is None:
            return None
        items = (
            Value((float,))
            if isinstance(default, tuple) and isinstance(default[0], int | float)
            else None
        )
        return Value(kinds, items=items, default=default)
    kinds, choices, items = _annotated(parameter.annotation)
    return Value(kinds, required, choices, items=items, default=default) if kinds else None


def _annotated(annotation: Any) -> tuple[tuple[type, ...], tuple[str, ...], Value | None]:
    """Kinds, texts to choose from and members of lists; no kinds for what is in no option file."""
    if annotation in KINDS:
        return (KINDS[annotation],), (), None
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return (str,), arguments, None
    if origin in (typing.Union, types.UnionType):
        parts = [_annotated(argument) for argument in arguments]
        kinds = tuple(dict.fromkeys(kind for part in parts for kind in part[0]))
        return (
            kinds,
            sum((part[1] for part in parts), ()),
            next((part[2] for part in parts if part[2]), None),
        )
    if origin in (tuple, list, Sequence):
        members, choices, _ = _annotated(arguments[0])
        return (list,), (), Value(members, choices=choices)
    return ((dict,), (), None) if origin in (dict, Mapping) else ((), (), None)
