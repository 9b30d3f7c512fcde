import subprocess
import sys

import pytest

from basicsr_m2trans.apps.annotation.state import Description, open_state
from basicsr_m2trans.utils.errors import InputError

SETTINGS = {"seed": 0, "models": {"sam": "a"}, "visual": (1, 2)}
FOUND = [
    Description("a nerve \u2013 clear", "grey", 0.25, (1, 2, 3, 4), 0.5),
    Description("b", "c", -1.0, (0, 0, 1, 1), 1),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "captions.csv.state"


def test_round_trip(path):
    with open_state(path, SETTINGS) as state:
        assert state.get("0001", "digest") is None
        state.add("0001", "digest", FOUND)
        assert state.get("0001", "digest") == FOUND
    with open_state(path, SETTINGS) as state:
        assert state.get("0001", "digest") == FOUND
        assert state.get("0002", "digest") is None


def test_a_changed_image_is_not_done_and_its_new_record_counts(path):
    with open_state(path, SETTINGS) as state:
        state.add("0001", "before", FOUND)
        assert state.get("0001", "after") is None
        state.add("0001", "after", FOUND[:1])
    with open_state(path, SETTINGS) as state:
        assert state.get("0001", "after") == FOUND[:1]
        assert state.get("0001", "before") is None


def test_a_torn_line_is_cut_off_and_the_rest_remains(path):
    with open_state(path, SETTINGS) as state:
        state.add("0001", "one", FOUND)
        complete = path.read_bytes()
        state.add("0002", "two", FOUND)
    whole = path.read_bytes()
    for length in range(len(complete), len(whole)):
        path.write_bytes(whole[:length])
        with open_state(path, SETTINGS) as state:
            assert state.get("0001", "one") == FOUND
            assert state.get("0002", "two") is None
            state.add("0002", "two", FOUND)
        assert path.read_bytes() == whole


def test_other_settings_are_refused_and_named(path):
    with open_state(path, SETTINGS):
        pass
    before = path.read_bytes()
    with pytest.raises(
        InputError, match=r"other settings \(new was None and is now 1, seed was 0 and is now 3\)"
    ):
        open_state(path, SETTINGS | {"seed": 3, "new": 1}).__enter__()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"something else",
        b"1\n",
        b'{"other": 1}\n',
        b'{"settings": {}}\nnot JSON\n',
        b'{"settings": {}}\n{}\n',
    ],
)
def test_damaged_files_are_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged .*; delete it to start again"):
        open_state(path, {}).__enter__()
    assert path.read_bytes() == content


def test_only_one_process_works_on_it(path):
    code = (
        "import sys; from pathlib import Path; from basicsr_m2trans.apps.annotation.state import "
        "open_state\nopen_state(Path(sys.argv[1]), {}).__enter__()"
    )
    with open_state(path, {}):
        second = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True
        )
        assert second.returncode == 1
        assert "another process works on this annotation" in second.stderr
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 0
