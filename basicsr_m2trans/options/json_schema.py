"""The table of keys as a JSON schema, with which editors complete and check option files while they
are written.
"""

from collections.abc import Iterable, Iterator
from types import NoneType
from typing import Any

from basicsr_m2trans.options.sections import option_file
from basicsr_m2trans.options.values import Section, TypedSection, Value

TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    NoneType: "null",
}


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the option files of `M2TransModel`, `SRModel` and
    `SwinIRModel`.

    A file with a section `train` is one for training, any other is one for testing.
    """
    definitions: dict[str, Any] = {}
    train, test = (_value_schema(option_file(mode), definitions) for mode in ("train", "test"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Option file of basicsr_m2trans",
        "if": {"required": ["train"]},
        "then": train,
        "else": test,
        "$defs": definitions,
    }


def _value_schema(value: Value, definitions: dict[str, Any]) -> dict[str, Any]:
    schemas = [_kind_schema(kind, value, definitions) for kind in value.kinds]
    if dict in value.kinds and not value.required:
        schemas.append({"type": "null"})
    if len(schemas) == 1:
        return schemas[0]
    return {"anyOf": schemas} if schemas else {}


def _kind_schema(kind: type, value: Value, definitions: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": TYPES[kind]}
    if kind is str:
        choices: Iterable[str] = value.choices
        if isinstance(value.section, TypedSection):
            choices = [
                name for name, section in value.section.types.items() if not section.required
            ]
        if choices:
            schema["enum"] = sorted(choices)
    elif kind in (int, float):
        limits = {
            "minimum": value.minimum,
            "maximum": value.maximum,
            "multipleOf": 1 if value.whole else None,
        }
        schema |= {name: limit for name, limit in limits.items() if limit is not None}
    elif kind is list and value.items:
        schema["items"] = _value_schema(value.items, definitions)
    elif kind is dict and isinstance(value.section, TypedSection):
        return _typed_schema(value.section, definitions)
    elif kind is dict and isinstance(value.section, Section):
        schema |= _keys_schema(value.section, definitions)
    return schema


def _keys_schema(section: Section, definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        "properties": {
            key: _value_schema(value, definitions) for key, value in section.keys.items()
        },
        "required": section.required,
        "additionalProperties": _value_schema(section.others, definitions)
        if section.others
        else False,
    }


def _typed_schema(section: TypedSection, definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the definition of the section, which is made once."""
    if section.name not in definitions:
        definitions[section.name] = {}
        definitions[section.name] |= {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": sorted(section.types)}},
            "allOf": list(_type_schemas(section, definitions)),
        }
    return {"$ref": f"#/$defs/{section.name.replace(' ', '%20')}"}


def _type_schemas(section: TypedSection, definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, keys in section.types.items():
        schema = _keys_schema(keys, definitions)
        schema["properties"] = {"type": True} | schema["properties"]
        yield {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": schema,
        }
