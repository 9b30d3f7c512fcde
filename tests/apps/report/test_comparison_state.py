import pytest

from basicsr_m2trans.apps.report.comparison_state import ComparisonState, held
from basicsr_m2trans.apps.report.training import Trained
from basicsr_m2trans.utils import locking
from basicsr_m2trans.utils.errors import InputError

SETTINGS = {
    "data": "/data",
    "minutes": 100,
    "tests": {"val": "/data/val"},
    "options": {"EDSR_x2": {"train": {"optim_g": {"lr": 0.1}, "milestones": [5]}}},
    "lengths": {"iterations of EDSR_x2": 100},
}


def test_finished_parts_are_remembered(tmp_path):
    state = ComparisonState(tmp_path, SETTINGS)
    state.iterations["EDSR_x2"] = 100
    state.trained["EDSR_x2_seed0"] = Trained(95, 60.5, "experiments/a/models/net_g_95.pth")
    state.save()
    again = ComparisonState(tmp_path, SETTINGS)
    assert again.iterations == {"EDSR_x2": 100}
    assert again.trained == state.trained


def test_methods_and_test_sets_may_be_added_and_left_out(tmp_path):
    ComparisonState(tmp_path, SETTINGS)
    more = SETTINGS | {"tests": {"other": "/other"}, "options": {"HAT_x2": {}}}
    assert ComparisonState(tmp_path, more).settings["options"].keys() == {"EDSR_x2", "HAT_x2"}
    assert ComparisonState(tmp_path, SETTINGS).settings["tests"] == {
        "val": "/data/val",
        "other": "/other",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minutes": 200}, "minutes was 100 and is now 200"),
        ({"lengths": {"iterations of EDSR_x2": 9}}, "iterations of EDSR_x2 was 100 and is now 9"),
        ({"tests": {"val": "/elsewhere"}}, "val was '/data/val' and is now '/elsewhere'"),
        (
            {"options": {"EDSR_x2": {"train": {"optim_g": {"lr": 0.2}, "milestones": [5]}}}},
            "EDSR_x2: train: optim_g: lr was 0.1 and is now 0.2",
        ),
        (
            {
                "options": {
                    "EDSR_x2": {
                        "train": {"optim_g": {"lr": 0.1}, "milestones": [5], "ema_decay": 0.9}
                    }
                }
            },
            "EDSR_x2: train: ema_decay was None and is now 0.9",
        ),
    ],
)
def test_changed_settings_are_refused_by_name(change, message, tmp_path):
    ComparisonState(tmp_path, SETTINGS)
    with pytest.raises(InputError) as error:
        ComparisonState(tmp_path, SETTINGS | change)
    assert f"({message})" in str(error.value)
    ComparisonState(tmp_path, SETTINGS)


def test_a_look_writes_nothing(tmp_path):
    ComparisonState(tmp_path, SETTINGS, keep=False)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "comparison.json").write_text("{")
    with pytest.raises(InputError, match=r"comparison\.json: is damaged"):
        ComparisonState(tmp_path, SETTINGS)


def test_one_comparison_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "PATIENCE", 0.1)
    with (
        held(tmp_path / "out"),
        pytest.raises(InputError, match="still works here"),
        held(tmp_path / "out"),
    ):
        pass
    with held(tmp_path / "out"):
        pass


def test_a_comparison_killed_in_its_first_moment_goes_on(tmp_path):
    for name in (".lock", "comparison.json.partial"):
        (tmp_path / name).write_text("{")
    with held(tmp_path):
        ComparisonState(tmp_path, SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "comparison.json"]


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="is not empty and holds no comparison"), held(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
