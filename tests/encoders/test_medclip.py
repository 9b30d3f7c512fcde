import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from basicsr_m2trans.encoders import build_encoder, medclip
from basicsr_m2trans.encoders.base import resize
from basicsr_m2trans.encoders.medclip import (
    CHECKPOINT_URL,
    INDEX_BUFFER,
    MedCLIPEncoder,
    MedCLIPModel,
    read_medclip_checkpoint,
)
from basicsr_m2trans.utils.errors import InputError

REFERENCE = Path(__file__).parents[1] / "data/reference"
CAPTION = "a picture of a nice, sharp, fine, clear, clean, cool, great ultrasound image"


@pytest.fixture(scope="module")
def mini():
    """The package's own values for a small configuration, with its old-style weights."""
    arrays = np.load(REFERENCE / "medclip_mini.npz")
    values = {
        key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files if key != "config"
    }
    config = json.loads(str(arrays["config"]))
    weights = {
        key.removeprefix("weights/"): value
        for key, value in values.items()
        if key.startswith("weights/")
    }
    return values, weights, config


@pytest.fixture
def model(mini):
    _, weights, config = mini
    model = MedCLIPModel(config["vision"], config["text"]).eval()
    model.load_weights(weights, source="mini")
    return model


def test_equals_the_package(mini, model, device):
    values = mini[0]
    generator = np.random.default_rng(int(values["pixel_values_seed"]))
    pixels = (
        torch.from_numpy(generator.random((2, 3, 224, 224), dtype=np.float32))
        .to(device)
        .requires_grad_()
    )
    model.to(device)
    image = model.image_features(pixels)
    text = model.text_features(values["input_ids"].to(device), values["attention_mask"].to(device))
    cosine = image @ text.T
    cosine.sum().backward()
    for ours, name in [(image, "image_embeds"), (text, "text_embeds"), (cosine, "cosine")]:
        torch.testing.assert_close(ours.detach().cpu(), values[name], atol=1e-5, rtol=0)
    gradient = pixels.grad.cpu()
    torch.testing.assert_close(
        gradient[..., :4, :4], values["grad_pixel_values_corner"], atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        gradient.double().abs().sum(),
        values["grad_pixel_values_sum_abs"],
        atol=0,
        rtol=1e-5 if device == "cpu" else 1e-4,
    )


def test_layout_of_the_real_checkpoint_loads():
    """All 434 entries of the published file find their place, and nothing else is expected."""
    shapes = json.loads((REFERENCE / "medclip_vit_keys.json").read_text())
    assert len(shapes) == 434
    with torch.device("meta"):
        model = MedCLIPModel()
        given = {key: torch.empty(shape) for key, shape in shapes.items()}
    assert model.fitting_weights(given, source="layout").keys() == model.state_dict().keys()


def test_new_style_names_and_module_prefix(mini, model):
    _, _, config = mini
    other = MedCLIPModel(config["vision"], config["text"])
    other.load_weights(
        {f"module.{key}": value for key, value in model.state_dict().items()}, source="new"
    )
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_wrong_weights_are_named(mini, model):
    weights = dict(mini[1])
    del weights["vision_model.projection_head.weight"]
    weights["text_model.extra"] = torch.zeros(1)
    weights["logit_scale"] = torch.zeros(2)
    with pytest.raises(InputError) as error:
        model.load_weights(weights, source="odd.bin")
    for part in (
        "odd.bin",
        "missing: vision_model.projection_head.weight",
        "not part of MedCLIP-ViT: text_model.extra",
        "logit_scale has shape (2,), not ()",
    ):
        assert part in str(error.value)


def test_every_weight_counts(mini, model):
    """A silently skipped tower would stay random: each loaded entry must be the file's."""
    loaded = {re.sub(r"\W", "", str(value.sum().item())) for value in model.state_dict().values()}
    for key, value in mini[1].items():
        if not INDEX_BUFFER.search(key):
            assert re.sub(r"\W", "", str(value.sum().item())) in loaded, key


def test_archive_and_bare_file_give_the_same(mini, tmp_path):
    bare, archive = tmp_path / "pytorch_model.bin", tmp_path / "medclip-vit-pretrained.zip"
    torch.save(mini[1], bare)
    with zipfile.ZipFile(archive, "w") as file:
        file.write(bare, "pytorch_model.bin")
    first, second = read_medclip_checkpoint(bare), read_medclip_checkpoint(archive)
    assert first.keys() == second.keys() == mini[1].keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_missing_file_says_where_from_and_where_to(tmp_path):
    path = tmp_path / "nowhere.zip"
    with pytest.raises(InputError) as error:
        build_encoder({"type": "MedCLIPEncoder", "checkpoint": str(path)})
    assert CHECKPOINT_URL in str(error.value)
    assert str(path) in str(error.value)


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("hostile_was_here"),))


@pytest.mark.parametrize("content", ["text", "cut", "code"])
def test_damaged_and_hostile_files_are_refused(content, mini, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": Hostile()} if content == "code" else mini[1], path)
    if content == "text":
        path.write_text("<html>404</html>")
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"pytorch_model\.bin cannot be read"):
        read_medclip_checkpoint(path)
    assert not (tmp_path / "hostile_was_here").exists()


def test_no_changed_byte_of_an_archive_gives_another_error(tmp_path):
    bare, path = tmp_path / "pytorch_model.bin", tmp_path / "medclip-vit-pretrained.zip"
    torch.save({"a": torch.zeros(3)}, bare)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(bare, "pytorch_model.bin")
    data, refused = path.read_bytes(), 0
    for position in (*range(60), *range(len(data) - 100, len(data))):  # the archive's own headers
        path.write_bytes(data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :])
        try:
            read_medclip_checkpoint(path)
        except InputError:
            refused += 1
    assert refused > 50


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(medclip, "MAX_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("pytorch_model.bin", bytes(10_000_000))
    with pytest.raises(InputError, match=r"a\.zip: pytorch_model\.bin would unpack to 0\.0 GB"):
        read_medclip_checkpoint(tmp_path / "a.zip")


@pytest.fixture
def encoder(mini):
    """A small MedCLIP with the real vocabulary."""
    config = mini[2]
    torch.manual_seed(0)
    return MedCLIPEncoder(
        model=MedCLIPModel(config["vision"], config["text"] | {"vocab_size": 28996})
    )


def test_tokens_of_the_caption_words(encoder):
    ids = encoder.tokenizer.encode(CAPTION).ids
    expected = {
        "nice": 3505,
        "sharp": 4295,
        "fine": 2503,
        "clear": 2330,
        "clean": 4044,
        "cool": 4348,
        "great": 1632,
    }
    comma = 117
    middle = [number for word in expected.values() for number in (word, comma)][:-1]
    assert ids == [101, 170, 3439, 1104, 170, *middle, 18737, 22909, 3077, 102]


def test_captions_do_not_depend_on_their_neighbours(encoder):
    texts = [CAPTION, "a fine ultrasound image"]
    together = encoder.encode_text(texts)
    torch.testing.assert_close(together[1:], encoder.encode_text(texts[1:]))
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))


def test_long_caption_is_cut_before_its_closing_token(encoder):
    seen = []
    encoder.model.text_model.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    assert encoder.encode_text(["sharp " * 500]).shape == (1, 512)
    assert seen[0].shape[1] == encoder.max_tokens
    assert seen[0][0, [0, 1, -2, -1]].tolist() == [101, 4295, 4295, 102]


def test_lower_case_and_no_accents_as_the_package(encoder):
    """MedCLIP's tokeniser lower-cases although its vocabulary is cased (compared in
    scripts/test_medclip.py).
    """
    assert (
        encoder.tokenizer.encode("Clear NAÏVE").ids == encoder.tokenizer.encode("clear naive").ids
    )


def test_checkpoint_below_the_home_folder(mini, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(mini[1], tmp_path / "pytorch_model.bin")
    assert read_medclip_checkpoint("~/pytorch_model.bin").keys() == mini[1].keys()


def test_image_preprocessing(encoder):
    """Grey and normalised as MedCLIP does it: the towers see exactly these pixels."""
    seen = []
    encoder.model.vision_model.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    images = torch.rand(2, 3, 96, 130)
    features = encoder.encode_image(images)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (resize(images, 224) * weights).sum(1, keepdim=True)
    expected = (grey - 0.5862785803043838) / 0.27950088968644304  # MedCLIP's own statistics
    torch.testing.assert_close(seen[0], expected.expand(-1, 3, -1, -1))
    assert features.shape == (2, 512)


def test_frozen_for_good(encoder):
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
