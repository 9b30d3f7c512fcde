import json
import urllib.parse
from pathlib import Path

import pytest
import yaml

from basicsr_m2trans.cli import main
from basicsr_m2trans.options.json_schema import json_schema

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "options").rglob("*.yml"))
PLANS = sorted((ROOT / "plans").glob("*.yml"))


def test_the_schema_describes_keys_as_the_checks_do():
    schema = json_schema()
    train, test = schema["then"], schema["else"]
    assert train["properties"]["scale"] == {"type": "integer", "minimum": 1}
    assert train["additionalProperties"] is False
    assert "train" in train["required"]
    assert "val" not in train["required"]
    assert "val" in test["required"]
    number, text = train["properties"]["num_gpu"]["anyOf"]
    assert (number, text) == (
        {"type": "integer", "minimum": 0},
        {"type": "string", "enum": ["auto"]},
    )
    assert {"amp", "ema_decay", "optim_g"} <= train["properties"]["train"]["properties"].keys()


def test_a_class_decides_about_the_keys_of_its_section():
    network = json_schema()["$defs"]["network"]
    assert {"EDSR", "M2Trans"} <= set(network["properties"]["type"]["enum"])
    keys = {each["if"]["properties"]["type"]["const"]: each["then"] for each in network["allOf"]}
    assert keys["EDSR"]["required"] == ["num_in_ch", "num_out_ch"]
    assert keys["M2Trans"]["properties"]["num_feat"] == {"type": "integer"}
    assert "kwargs" not in keys["SwinIR"]["properties"]
    wrapped = json_schema()["$defs"]["network for GlobalSkip"]
    assert wrapped["properties"]["type"]["enum"] == [
        "EDSR",
        "ELAN",
        "HAT",
        "PaddedSwinIR",
        "RCAN",
        "SwinIR",
    ]
    assert not any("upscale" in each["then"]["properties"] for each in wrapped["allOf"])


def test_every_reference_leads_to_a_definition():
    schema = json_schema()
    references = [part.partition('"')[0] for part in json.dumps(schema).split('"$ref": "')[1:]]
    assert references
    for reference in references:
        assert urllib.parse.unquote(reference.removeprefix("#/$defs/")) in schema["$defs"]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_validator_agrees_with_the_checks(path):
    jsonschema = pytest.importorskip("jsonschema")
    opt = yaml.safe_load(path.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(opt)
    assert not validator.is_valid(opt | {"network_g": opt["network_g"] | {"num_fet": 1}})


def test_the_command_writes_the_schema(tmp_path):
    path = tmp_path / "options.schema.json"
    assert main(["check", "--schema", str(path)]) == 0
    assert json.loads(path.read_text()) == json.loads(json.dumps(json_schema()))


@pytest.mark.parametrize("path", PLANS, ids=[path.stem for path in PLANS])
def test_a_plan_has_a_schema_too(path, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    schema = tmp_path / "plan.schema.json"
    assert main(["check", "--schema", str(schema), "--schema-of", "plan"]) == 0
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text()))
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert validator.is_valid(plan)
    assert not validator.is_valid(plan | {"scales": [5]})
    assert not validator.is_valid(plan | {"methds": {}})
