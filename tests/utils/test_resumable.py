import pytest

from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.resumable import check_folder, differences, reading


def test_differences_are_named():
    before, now = {"seed": 0, "net": {"a": 1, "b": 2}}, {"seed": 3, "net": {"a": 1, "b": 3}}
    assert differences(before, now) == [
        "net was {'a': 1, 'b': 2} and is now {'a': 1, 'b': 3}",
        "seed was 0 and is now 3",
    ]
    assert differences(before, now, nested=True)[0] == "net: b was 2 and is now 3"
    assert differences(before, before | {"new": 1}) == ["new was None and is now 1"]


def test_only_folders_of_something_else_are_refused(tmp_path):
    check_folder(tmp_path / "absent", "record.json", "refused")
    for name in (".lock", "record.json.partial"):  # of a run that was killed at once
        (tmp_path / name).touch()
    check_folder(tmp_path, "record.json", "refused")
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="refused"):
        check_folder(tmp_path, "record.json", "refused")
    with pytest.raises(InputError, match="refused"):
        check_folder(tmp_path / "thesis.tex", "record.json", "refused")
    (tmp_path / "record.json").touch()
    check_folder(tmp_path, "record.json", "refused")


def test_damage_is_named_and_refusals_stay_as_they_are(tmp_path):
    with (
        pytest.raises(InputError, match=r"a\.json: is damaged \(KeyError\('x'\)\); delete it"),
        reading(tmp_path / "a.json", "delete it"),
    ):
        {}["x"]
    with pytest.raises(InputError, match="other"), reading(tmp_path / "a.json", "delete it"):
        raise InputError("other")
