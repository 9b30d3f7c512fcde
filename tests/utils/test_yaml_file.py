import pytest

from basicsr_m2trans.utils.errors import InputError, Problem
from basicsr_m2trans.utils.yaml_file import Changes, OptionFile, without

TEXT = "name: x\ntrain: &train\n  lr: 1\n  inner:\n    rate: 2\nval: *train\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "options.yml"
    path.write_text(TEXT)
    return path


def test_places_are_lines_or_arguments(path):
    file = OptionFile.read(path, ["train:inner=[1, 2]", "train:new=3"])
    assert file.opt["train"] == {"lr": 1, "inner": [1, 2], "new": 3}
    keys = [
        ("name",),
        ("train", "lr"),
        ("train", "inner", "rate"),
        ("train", "new"),
        ("val", "lr"),
        ("absent",),
    ]
    report = file.report(
        [Problem(key, "is odd", f"mend {number}") for number, key in enumerate(keys)]
    )
    places = {
        line.strip().removesuffix(" is odd")
        for line in report.splitlines()
        if line.endswith("is odd")
    }
    assert places == {
        f"{path}:1: name",
        f"{path}:3: train: lr",
        "--force_yml train:inner=[1, 2]: train: inner: rate",
        "--force_yml train:new=3: train: new",
        f"{path}:3: val: lr",  # the alias leads to where the key is written
        f"{path}:1: absent",
    }


def test_problems_with_one_remedy_share_it(path):
    problems = [
        Problem(("train", "lr"), "is odd", "mend it"),
        Problem(("name",), "is odd", "mend it"),
    ]
    assert OptionFile.read(path).report(problems) == (
        f"option file {path} has 2 problems\n  {path}:1: name is odd\n  {path}:3: train: lr is "
        "odd\n    -> mend it"
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
    assert "the value '[1000,' cannot be read; put all of KEY=VALUE in quotes" in str(
        file.problems[0]
    )


def test_merged_sections_may_be_in_a_file(path):
    path.write_text("a: &a\n  lr: 1\nb:\n  <<: *a\n  2: x\n")
    file = OptionFile.read(path)
    assert file.opt["b"] == {"lr": 1, 2: "x"}
    assert f"{path}:5: b: 2" in file.report([Problem(("b", "2"), "is odd", "mend it")])


def merged(path, text, **values):
    path.write_text(text)
    file = OptionFile.read(path)
    file.merge(Changes(values, {("a",): "plan:1", ("a", "b"): "plan:2"}))
    return file


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        ("{a: {b: 1, c: 2}}", {"b": 3}, {"b": 3, "c": 2}),
        ("{a: {b: 1, c: 2}}", {"b": None, "d": [4]}, {"b": None, "c": 2, "d": [4]}),
        ("{a: {b: {e: 1, f: 2}, c: 2}}", {"b": {"f": 3}}, {"b": {"e": 1, "f": 3}, "c": 2}),
        ("{a: {type: X, b: 1}}", {"type": "X", "c": 2}, {"type": "X", "b": 1, "c": 2}),
        ("{a: {type: X, b: 1}}", {"type": "Y", "c": 2}, {"type": "Y", "c": 2}),
        ("{a: {b: 1}}", {"type": "Y"}, {"type": "Y"}),
        ("{a: {b: text}}", {"b": {"e": 1}}, {"b": {"e": 1}}),
        ("{a: {b: {e: 1}}}", {"b": "text"}, {"b": "text"}),
        ("{a: {b: 1}}", {}, {"b": 1}),
        ("{c: 1}", {"b": 2}, {"b": 2}),
        ("{a: ~}", {"b": 2}, {"b": 2}),
    ],
)
def test_changes_go_into_sections_of_the_same_type(text, changes, expected, path):
    assert merged(path, text, a=changes).opt["a"] == expected


def test_merged_values_are_placed_where_they_are_written(path):
    file = merged(path, "a:\n  b: 1\n  c: 2\n", a={"b": {"e": 1}, "d": 3})
    places = {key: file.place(("a", key)) for key in "bcd"}
    assert places == {"b": "plan:2", "c": f"{path}:3", "d": "plan:1"}
    assert file.place(("a", "b", "e")) == "plan:2"
    assert file.place(("absent",)) == ""


def test_merging_leaves_the_changes_alone(path):
    values = {"b": {"e": 1}}
    file = merged(path, "a: {c: 1}", a=values)
    file.opt["a"]["b"]["e"] = 2
    assert values == {"b": {"e": 1}}


def test_a_part_of_a_file_has_its_own_paths_and_the_places_of_the_file(path):
    part = OptionFile.read(path).part("train", "inner")
    assert part == Changes({"rate": 2})
    assert part.places == {(): f"{path}:4", ("rate",): f"{path}:5"}
    assert OptionFile.read(path).part("train", "absent") == Changes({})


def test_sections_that_changes_enter_are_placed_where_they_are_changed(path):
    """What a class refuses in a section is reported for the section, so it must lead to the
    changes.
    """
    file = merged(path, "a:\n  b:\n    c: 1\n    d: 2\ne: 3\n", a={"b": {"c": 5}})
    places = {
        key: file.place(key)
        for key in [("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", "d"), ("e",)]
    }
    assert list(places.values()) == ["plan:1", "plan:2", "plan:2", f"{path}:4", f"{path}:5"]


def test_changes_by_a_merged_section_are_placed_at_the_changes_around(path):
    path.write_text("x: &x\n  a: {b: 2}\nchanges:\n  <<: *x\n")
    changes = OptionFile.read(path).part("changes")
    file = OptionFile(path, {"a": {"b": 1}}, {("a",): "options:1", ("a", "b"): "options:2"})
    file.merge(changes)
    assert file.opt == {"a": {"b": 2}}
    assert file.place(("a", "b")) == f"{path}:3"


def test_a_file_of_unknown_kind_is_called_a_file(path):
    path.write_text("methods: [")
    with pytest.raises(
        InputError, match=rf"^file {path} is not valid YAML; correct it at the place named"
    ):
        OptionFile.read(path, kind="file")
    path.write_text("")
    with pytest.raises(
        InputError, match=rf"^file {path} holds no options; start from .* options/ or plans/$"
    ):
        OptionFile.read(path, kind="file")


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"\0" * 8,
        "name: Müller".encode("latin-1"),
    ],
    ids=["PNG", "JPEG", "zeros", "Latin-1"],
)
def test_what_is_no_text_is_called_so(content, path):
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=rf"^plan {path} is not a text file; give the path of a yml file"
    ):
        OptionFile.read(path, kind="plan")
