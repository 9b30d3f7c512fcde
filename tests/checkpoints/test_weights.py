from pathlib import Path

import pytest
import safetensors.torch
import torch

from basicsr_m2trans.checkpoints.weights import as_weights, check_weights, read_checkpoint
from basicsr_m2trans.utils.errors import InputError


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("hostile_was_here"),))


def test_code_in_a_checkpoint_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": Hostile()}, "hostile.pth")
    with pytest.raises(InputError, match=r"hostile\.pth cannot be read: .* refused"):
        read_checkpoint("hostile.pth")
    assert not Path("hostile_was_here").exists()


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_checkpoint(tmp_path / "none.pth")
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"damaged\.pth"):
        read_checkpoint(damaged)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_files_of_others_are_not_called_damaged(tmp_path, monkeypatch, name):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr("safetensors.safe_open", refuse)
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name} cannot be read \(Permission denied\)"):
        read_checkpoint(tmp_path / name)


def test_safetensors_with_and_without_settings(tmp_path):
    weights = {"a": torch.arange(3.0), "b": torch.zeros(1, 2)}
    safetensors.torch.save_file(weights, tmp_path / "plain.safetensors")
    plain = read_checkpoint(tmp_path / "plain.safetensors")
    assert plain.keys() == {"params"}
    assert all(torch.equal(plain["params"][name], value) for name, value in weights.items())
    safetensors.torch.save_file(
        weights, tmp_path / "ours.safetensors", {"network_g": '{"type": "M2Trans"}'}
    )
    assert read_checkpoint(str(tmp_path / "ours.safetensors"))["network_g"] == {"type": "M2Trans"}


@pytest.mark.parametrize(
    "content", [b"", b"cut", safetensors.torch.save({"a": torch.zeros(9)})[:-4]]
)
def test_damaged_safetensors(tmp_path, content):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.safetensors cannot be read"):
        read_checkpoint(path)


def test_safetensors_with_damaged_settings(tmp_path):
    path = tmp_path / "damaged.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"network_g": "{"})
    with pytest.raises(InputError, match=r"damaged\.safetensors cannot be read"):
        read_checkpoint(path)


def test_not_weights():
    with pytest.raises(InputError, match="the entries params, iter"):
        as_weights({"params": {}, "iter": 3}, "file")
    with pytest.raises(InputError, match="a list"):
        as_weights([1], "file")


def test_check_weights_lists_all_kinds():
    expected = {"a": torch.zeros(1), "b": torch.zeros(2)}
    check_weights(dict(expected), expected, "file", "Net")
    with pytest.raises(InputError) as error:
        check_weights({"b": torch.zeros(3), "c": torch.zeros(1)}, expected, "file", "Net")
    for part in (
        "file does not hold the weights of Net",
        "missing: a",
        "not part of Net: c",
        "b has shape (3,), not (2,)",
    ):
        assert part in str(error.value)
