"""The options that a run goes by."""

import pytest

from basicsr_m2trans.options.checks import require_sound
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.yaml_file import OptionFile


def test_a_run_gets_the_options_of_its_file_and_arguments(stored, tmp_path):
    state = tmp_path / "5.state"
    state.touch()
    file = OptionFile.read(stored([(64, 64)] * 9), ["val=~", "logger:print_freq=7"])
    require_sound(file, "train", resume_state=state)
    assert file.opt["logger"]["print_freq"] == 7
    assert "val" not in file.opt


def test_all_that_is_wrong_with_a_run_is_told_at_once(stored, tmp_path):
    path = stored([(64, 64)] * 9)
    state = tmp_path / "absent.state"
    file = OptionFile.read(path, ["train:amp=fp16", "nothing"])
    with pytest.raises(InputError) as error:
        require_sound(file, "train", resume_state=state)
    lines = str(error.value).splitlines()
    assert lines[0] == f"option file {path} has 3 problems"
    assert "--force_yml train:amp=fp16: train: amp is 'fp16'" in str(error.value)
    assert "--force_yml nothing: is not an option" in str(error.value)
    assert f"path: resume_state names the file {state}, which does not exist" in str(error.value)
