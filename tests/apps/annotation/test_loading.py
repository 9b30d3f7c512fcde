import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from basicsr_m2trans.apps.annotation.loading import choose_device, load_pretrained
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    # Read at import by huggingface_hub, and otherwise it would try the network several times.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def load_sam(name):
    from transformers import SamModel, SamProcessor

    return load_pretrained("segmentation model (SAM)", str(name), SamModel, SamProcessor)


def test_models_are_loaded_in_eval_mode(sam_folder):
    model, processor = load_sam(sam_folder)
    assert not model.training
    assert processor.target_size == 64
    saved = load_file(sam_folder / "model.safetensors")
    assert all((model.state_dict()[name] == value).all() for name, value in saved.items())


def test_an_absent_model_is_named_with_its_stage(tmp_path):
    for name in ("somebody/no-such-model", tmp_path / "absent"):
        with pytest.raises(
            InputError, match=rf"^the segmentation model \(SAM\) {name}: cannot be loaded"
        ) as caught:
            load_sam(name)
        assert "--local-dir" in str(caught.value)


def test_a_model_of_another_class_is_refused(blip_folder):
    with pytest.raises(InputError, match="is a model of type blip, not sam"):
        load_sam(blip_folder)


def test_missing_weights_are_refused(sam_folder, tmp_path):
    folder = shutil.copytree(sam_folder, tmp_path / "sam")
    weights = load_file(folder / "model.safetensors")
    del weights["vision_encoder.pos_embed"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks the weights vision_encoder\.pos_embed;"):
        load_sam(folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "processor_config.json"])
def test_damaged_and_missing_files_are_refused(file, sam_folder, tmp_path):
    folder = shutil.copytree(sam_folder, tmp_path / "sam")
    (folder / file).write_bytes(b"{ not what it was")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_sam(folder)
    (folder / file).unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_sam(folder)


def test_an_unknown_model_type_is_refused(sam_folder, tmp_path):
    folder = shutil.copytree(sam_folder, tmp_path / "sam")
    (folder / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_sam(folder)


def test_devices():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")
    for name in ("cuda:99", "abacus"):
        with pytest.raises(InputError, match=f"device {name}: cannot be used here"):
            choose_device(name)
