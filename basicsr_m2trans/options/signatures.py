"""Sections of an option file whose keys are the arguments of a class or function."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any

from basicsr_m2trans.options.values import Section, Value

KINDS = {bool: bool, int: int, float: float, str: str, NoneType: NoneType, Path: str}
# Where only the default tells the type. A number may stand for a list and a list for a number:
# SwinIR takes `img_size: 64` as well as `img_size: [64, 64]`.
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
    do; what is no argument there either would be silently lost, so it is not a key. Arguments that
    YAML cannot express, such as modules, are no keys.

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
    excluded = set(given)
    return Section({key: each for key, each in (keys | {**known}).items() if key not in excluded})


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError:  # an annotation of names that are imported for type checkers alone
        return inspect.signature(function)


def _value(parameter: inspect.Parameter) -> Value | None:
    """What the argument may be; None where only code can give it."""
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    if parameter.annotation is not parameter.empty and not isinstance(parameter.annotation, str):
        value = _annotated(parameter.annotation)
        return replace(value, required=required, default=default) if value.kinds else None
    if required:
        return Value(required=True)
    kinds = KINDS_OF_DEFAULTS.get(type(default))
    numbers = isinstance(default, tuple) and isinstance(default[0], int | float)
    items = Value((float,)) if numbers else None
    return None if kinds is None else Value(kinds, items=items, default=default)


def _annotated(annotation: Any) -> Value:
    """What an annotation allows; without kinds where that can be in no option file."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in KINDS:
        return Value((KINDS[annotation],))
    if origin is typing.Literal:
        return Value((str,), choices=arguments)
    if origin in (typing.Union, types.UnionType):
        parts = [_annotated(argument) for argument in arguments]
        kinds = tuple(dict.fromkeys(kind for part in parts for kind in part.kinds))
        choices = tuple(choice for part in parts for choice in part.choices)
        return Value(
            kinds, choices=choices, items=next(filter(None, (p.items for p in parts)), None)
        )
    if origin in (tuple, list, Sequence):
        return Value((list,), items=_annotated(arguments[0]))
    return Value((dict,)) if origin in (dict, Mapping) else Value()
