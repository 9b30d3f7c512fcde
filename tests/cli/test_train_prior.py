import pytest
import torch

from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.prior.degradations import FLAWS
from basicsr_m2trans.cli import main
from basicsr_m2trans.encoders.quality_clip import SHIPPED_FILE, read_quality_clip


@pytest.fixture
def images(tmp_path):
    write_phantoms(tmp_path / "images", 2, height=96, width=96)
    return str(tmp_path / "images")


def test_trains_writes_and_measures(images, tmp_path, capsys):
    out = tmp_path / "prior.safetensors"
    command = [
        "train-prior",
        images,
        "--out",
        str(out),
        "--steps",
        "1",
        "--seed",
        "4",
        "--val",
        images,
    ]
    assert main([*command, "--data", "phantoms", "--licence", "none"]) == 0
    model, metadata = read_quality_clip(out)
    assert metadata.pop("commit")
    assert metadata == {
        "data": "phantoms",
        "images": "2",
        "licence": "none",
        "steps": "1",
        "seed": "4",
    }
    printed = capsys.readouterr().out
    assert f"checkpoint: {out}" in printed
    lines = printed.splitlines()
    assert f"2 images of {images}" in lines
    assert [line.split("  ")[0] for line in lines if line.split("  ")[0] in FLAWS] == list(FLAWS)
    assert lines[-1] == "nearest caption by lot: 0.091"

    assert main([*command[:2], "--out", str(tmp_path / "again.safetensors"), *command[4:8]]) == 0
    again, metadata = read_quality_clip(tmp_path / "again.safetensors")
    assert metadata["data"] == "images"
    assert all(
        torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items()
    )


def test_measures_a_file_without_training(images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_phantoms(tmp_path / "others", 1, height=96, width=96)
    assert main(["train-prior", "--evaluate", str(SHIPPED_FILE), images, "--val", "others"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("data: ")
    assert f"2 images of {images}" in printed
    assert "1 images of others" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "others"]


def test_mistakes_are_found_before_training(images, tmp_path, capsys):
    missing = str(tmp_path / "missing/prior.safetensors")
    assert main(["train-prior", images, "--out", missing]) == 2
    assert f"--out {missing}: its folder does not exist" in capsys.readouterr().err
    assert main(["train-prior", images, "--out", str(tmp_path)]) == 2
    assert f"--out {tmp_path} is a folder; name a file in it" in capsys.readouterr().err
    assert main(["train-prior", images, "--val", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: this folder does not exist" in capsys.readouterr().err
    assert main(["train-prior", images, "--evaluate", missing]) == 2
    assert "missing/prior.safetensors" in capsys.readouterr().err
