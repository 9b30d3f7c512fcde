import pytest

from basicsr_m2trans.errors import InputError
from basicsr_m2trans.option_schema.option_file import OptionFile, without
from basicsr_m2trans.option_schema.values import Problem

TEXT = "name: x\ntrain: &train\n  lr: 1\n  inner:\n    rate: 2\nval: *train\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "options.yml"
    path.write_text(TEXT)
    return path


def test_places_are_lines_or_arguments(path):
    file = OptionFile.read(path, ["train:inner=[1, 2]", "train:new=3"])
    assert file.opt["train"] == {"lr": 1, "inner": [1, 2], "new": 3}
    keys = [("name",), ("train", "lr"), ("train", "inner", "rate"), ("train", "new"), ("val", "lr"), ("absent",)]
    report = file.report([Problem(key, "is odd", f"mend {number}") for number, key in enumerate(keys)])
    places = {line.strip().removesuffix(" is odd") for line in report.splitlines() if line.endswith("is odd")}
    assert places == {
        f"{path}:1: name",
        f"{path}:3: train: lr",
        "--force_yml train:inner=[1, 2]: train: inner: rate",
        "--force_yml train:new=3: train: new",
        f"{path}:3: val: lr",  # the alias leads to where the key is written
        f"{path}:1: absent",
    }


def test_problems_with_one_remedy_share_it(path):
    problems = [Problem(("train", "lr"), "is odd", "mend it"), Problem(("name",), "is odd", "mend it")]
    assert OptionFile.read(path).report(problems) == (
        f"option file {path} has 2 problems\n  {path}:1: name is odd\n  {path}:3: train: lr is odd\n    -> mend it"
    )


def test_a_section_that_holds_itself_is_refused(path):
    path.write_text("a: &a\n  b: *a\n  c: 1\n")
    with pytest.raises(InputError, match=r"options.yml: a: b is an alias of a section around it"):
        OptionFile.read(path)


def test_without_leaves_keys_out_of_a_copy():
    opt = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert without(opt, {("a", "c", "d"), ("e",)}) == {"a": {"b": 1, "c": {}}}
    assert opt["e"] == 3


def test_a_forced_value_that_cannot_be_read_is_a_problem(path):
    file = OptionFile.read(path, ["train:lr=[1000,", "2000]", "train:lr=!!float abc"])
    assert file.opt["train"]["lr"] == 1
    assert [problem.place for problem in file.problems] == [
        "--force_yml train:lr=[1000,",
        "--force_yml 2000]",
        "--force_yml train:lr=!!float abc",
    ]
    assert "the value '[1000,' cannot be read; put all of KEY=VALUE in quotes" in str(file.problems[0])


def test_merged_sections_may_be_in_a_file(path):
    path.write_text("a: &a\n  lr: 1\nb:\n  <<: *a\n  2: x\n")
    file = OptionFile.read(path)
    assert file.opt["b"] == {"lr": 1, 2: "x"}
    assert f"{path}:5: b: 2" in file.report([Problem(("b", "2"), "is odd", "mend it")])
