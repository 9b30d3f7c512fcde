"""Whole, torn, changed and hostile checkpoint files, and which ones are deleted."""

import os
import pickle
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_m2trans.checkpoints.training_states import (
    delete_older_checkpoints,
    latest_training_state,
    read_training_state,
    read_whole_checkpoint,
    training_states,
)
from basicsr_m2trans.utils.errors import InputError

STATE = {"epoch": 1, "iter": 7, "optimizers": [], "schedulers": []}


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_states_are_ordered_by_number(tmp_path):
    for name in ("9.state", "10.state", "copy of 11.state", "12.state.partial"):
        (tmp_path / name).touch()
    assert [path.name for path in training_states(tmp_path)] == ["10.state", "9.state"]
    assert latest_training_state(tmp_path) == tmp_path / "10.state"
    assert latest_training_state(tmp_path / "absent") is None


def test_a_changed_byte_is_noticed(tmp_path):
    """One bit of a weight, which `torch.load` alone would take for another weight."""
    path = tmp_path / "net_g_7.pth"
    torch.save({"params": {"weight": torch.full((1000,), 1 / 3)}}, path)
    assert read_whole_checkpoint(path)["params"]["weight"][0] == 1 / 3
    data = bytearray(path.read_bytes())
    data[data.index(torch.tensor([1 / 3]).numpy().tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"net_g_7.pth cannot be read: its contents have changed"):
        read_whole_checkpoint(path)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.binary(max_size=4), st.booleans())
def test_any_damage_is_noticed_or_without_effect(where, inserted, torn):
    weight = torch.arange(50) / 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net_g_7.pth")
        torch.save({"params": {"weight": weight}}, path)
        data = path.read_bytes()
        cut = int(where * len(data))
        path.write_bytes(
            data[:cut] if torn else data[:cut] + inserted + data[cut + len(inserted) :]
        )
        read = {"params": {"weight": weight}}
        refusal = ""
        try:
            read = read_whole_checkpoint(path)
        except InputError as error:
            refusal = str(error)
    assert not refusal or str(path) in refusal
    assert torch.equal(read["params"]["weight"], weight)


@pytest.mark.parametrize("part", [0, 0.3, 0.99])
def test_a_torn_state_is_named(tmp_path, part):
    path = tmp_path / "7.state"
    torch.save(STATE | {"optimizers": [torch.ones(1000)]}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(
        InputError, match=r"7.state cannot be read: .*, or remove it and resume an earlier state"
    ):
        read_training_state(path)


@pytest.mark.parametrize(
    "write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state, 2))]
)
def test_a_state_that_would_run_code_is_refused(tmp_path, write):
    path, folder = tmp_path / "7.state", tmp_path / "made by the pickle"
    write(STATE | {"optimizers": [Hostile(folder)]}, path)
    with pytest.raises(
        InputError, match=r"7.state cannot be read: .*could run code and are refused"
    ):
        read_training_state(path)
    assert not folder.exists()
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert folder.exists()  # it was hostile


def write_checkpoints(folder, states, networks):
    for iteration in states:
        (folder / f"{iteration}.state").touch()
    for iteration in networks:
        (folder / f"net_g_{iteration}.pth").touch()


@pytest.mark.parametrize(("keep", "kept"), [(1, [30]), (2, [20, 30]), (5, [2, 10, 20, 30])])
def test_older_checkpoints_are_deleted_in_pairs(tmp_path, keep, kept):
    write_checkpoints(tmp_path, [2, 10, 20, 30], [2, 10, 20, 30, "latest", "best"])
    delete_older_checkpoints(tmp_path, tmp_path, 30, keep)
    expected = {f"{iteration}.state" for iteration in kept}
    expected |= {f"net_g_{name}.pth" for name in (*kept, "latest", "best")}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_later_checkpoints_stay_and_halves_go(tmp_path):
    """40 is of a run that was taken up again before it; 15 lost its state in a kill."""
    write_checkpoints(tmp_path, [10, 20, 30, 40], [10, 15, 20, 30, 40])
    delete_older_checkpoints(tmp_path, tmp_path, 30, 2)
    assert sorted(path.name for path in tmp_path.glob("*.state")) == [
        "20.state",
        "30.state",
        "40.state",
    ]
    assert len(list(tmp_path.glob("*.pth"))) == 3
