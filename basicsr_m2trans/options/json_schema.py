"""Tables of keys as JSON schemas, with which editors complete and check option files and plans."""

from types import NoneType
from typing import Any

from basicsr_m2trans.options.sections import option_file
from basicsr_m2trans.options.values import Section, TypedSection, Value

DRAFT = "https://json-schema.org/draft/2020-12/schema"
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
    """JSON schema of the option files of `M2TransModel`, `SRModel` and `SwinIRModel`.

    A file with a section `train` is one for training, any other is one for testing.
    """
    definitions: dict[str, Any] = {}
    train, test = (_value_schema(option_file(mode), definitions) for mode in ("train", "test"))
    schema = {"if": {"required": ["train"]}, "then": train, "else": test, "$defs": definitions}
    return {"$schema": DRAFT, "title": "Option file of basicsr_m2trans"} | schema


def schema_of(value: Value, title: str) -> dict[str, Any]:
    """JSON schema of another file, of which `value` describes all that it holds."""
    definitions: dict[str, Any] = {}
    schema = _value_schema(value, definitions)
    return {"$schema": DRAFT, "title": title} | schema | {"$defs": definitions}


def _value_schema(value: Value, definitions: dict[str, Any]) -> dict[str, Any]:
    schemas = [_kind_schema(kind, value, definitions) for kind in value.kinds]
    if dict in value.kinds and not value.required:
        schemas.append({"type": "null"})
    return {"anyOf": schemas} if schemas[1:] else next(iter(schemas), {})


def _kind_schema(kind: type, value: Value, definitions: dict[str, Any]) -> dict[str, Any]:
    section = value.section
    schema: dict[str, Any] = {"type": TYPES[kind]}
    if kind is dict and isinstance(section, TypedSection):
        return _typed_schema(section, definitions)
    if kind is dict and isinstance(section, Section):
        return schema | _keys_schema(section, definitions)
    if kind is list and value.items:
        return schema | {"items": _value_schema(value.items, definitions)}
    if kind is str:
        choices = list(value.choices)
        if isinstance(section, TypedSection):
            choices = [name for name, keys in section.types.items() if not keys.required]
        return schema | ({"enum": sorted(choices)} if choices else {})
    if kind in (int, float):
        limits = {"minimum": value.minimum, "maximum": value.maximum}
        limits["multipleOf"] = 1 if value.whole else None
        return schema | {name: limit for name, limit in limits.items() if limit is not None}
    return schema


def _keys_schema(section: Section, definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        "properties": {key: _value_schema(each, definitions) for key, each in section.keys.items()},
        "required": section.required,
        "additionalProperties": _value_schema(section.others, definitions)
        if section.others
        else False,
    }


def _typed_schema(section: TypedSection, definitions: dict[str, Any]) -> dict[str, Any]:
    """A reference to the definition of the section, which is made once."""
    if section.name not in definitions:
        schema: dict[str, Any] = {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": sorted(section.types)}},
        }
        definitions[section.name] = schema
        schema["allOf"] = [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": _keys_schema(
                    Section({"type": Value(), **keys.keys}, keys.others), definitions
                ),
            }
            for name, keys in section.types.items()
        ]
    return {"$ref": f"#/$defs/{section.name.replace(' ', '%20')}"}
