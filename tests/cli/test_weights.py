import zipfile
from pathlib import Path

import pytest
import torch

from basicsr_m2trans.cli import main
from basicsr_m2trans.encoders import medclip_download
from basicsr_m2trans.encoders.medclip import MedCLIPModel


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """MedCLIP's names and shapes with one stored number each."""
    with torch.device("meta"):
        state = MedCLIPModel().state_dict()
    path = tmp_path_factory.mktemp("weights") / "pytorch_model.bin"
    torch.save({key: torch.zeros(()).expand(value.shape) for key, value in state.items()}, path)
    return path


def test_default_place_is_where_the_option_files_look(weights_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["weights", "medclip", "--from", str(weights_file)]) == 0
    archive = Path("experiments/pretrained_models/medclip-vit-pretrained.zip")
    assert zipfile.is_zipfile(archive)
    options = Path(__file__).parents[2] / "options/train_M2Trans_x2.yml"
    assert f"checkpoint: {archive}" in options.read_text()
    printed = capsys.readouterr().out
    assert f"{archive}: MedCLIP-ViT, complete" in printed
    assert "option file" not in printed


def test_another_folder_is_named_for_the_option_file(weights_file, tmp_path, capsys):
    assert main(["weights", "medclip", "--to", str(tmp_path), "--from", str(weights_file)]) == 0
    assert f"checkpoint: {tmp_path / 'medclip-vit-pretrained.zip'}" in capsys.readouterr().out


def test_offline_ends_with_status_2(tmp_path, monkeypatch, capsys):
    for name in ("ADDRESS_FILE", "CHECKPOINT_URL"):
        monkeypatch.setattr(medclip_download, name, "http://127.0.0.1:9/x")
    assert main(["weights", "medclip", "--to", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("m2trans weights: MedCLIP's weights cannot be downloaded")
    assert "--from" in printed


def test_missing_file_is_named(tmp_path, capsys):
    assert main(["weights", "medclip", "--to", str(tmp_path), "--from", "nowhere.zip"]) == 2
    assert "nowhere.zip" in capsys.readouterr().err
