import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.apps.prior.flaw_captions import REFERENCE_CAPTION, known_words
from basicsr_m2trans.encoders.quality_clip import (
    MAX_WORDS,
    SHIPPED_FILE,
    QualityCLIP,
    QualityCLIPEncoder,
    read_quality_clip,
    split_words,
    write_quality_clip,
)
from basicsr_m2trans.losses import ImageTextSemanticLoss
from basicsr_m2trans.utils.errors import InputError

WORDS = ("a", "image", "low-resolution", "noisy", "sharp")


@pytest.fixture(scope="module")
def shipped():
    return QualityCLIPEncoder()


def phantoms(count=4, side=160):
    return [
        make_phantom(seed, side, side, "linear").astype(np.float32) / 255 for seed in range(count)
    ]


def as_rgb(images):
    return torch.from_numpy(np.stack(images))[:, None].expand(-1, 3, -1, -1)


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (33, 17), (224, 224)])
def test_unit_length_at_any_size_and_gradient_to_the_image_only(shipped, size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    features = shipped.encode_image(images)
    assert features.shape == (2, 128)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    (features @ shipped.encode_text([REFERENCE_CAPTION])[0]).sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in shipped.parameters())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradient_is_finite_on_even_patches(shipped, value):
    images = torch.full((1, 3, 48, 48), value, requires_grad=True)
    shipped.encode_image(images)[0, 0].backward()
    assert images.grad.isfinite().all()


def test_gradient_is_that_of_finite_differences():
    encoder = QualityCLIPEncoder(SHIPPED_FILE).double()
    text = encoder.encode_text([REFERENCE_CAPTION])[0]
    image = as_rgb(phantoms(1, 48)).double()
    direction = (
        torch.rand(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        - 0.5
    )

    def quality(step):
        return (encoder.encode_image(image + step * direction) @ text).sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(quality(step), step)
    difference = (quality(1e-5) - quality(-1e-5)) / 2e-5
    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-8)


def test_colour_counts_by_its_luma(shipped):
    colour = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (colour * weights).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(
        shipped.encode_image(colour), shipped.encode_image(grey), rtol=0, atol=1e-5
    )


def test_words_and_their_order_of_batch():
    torch.manual_seed(0)
    model = QualityCLIP(WORDS).eval()
    captions = [
        "A sharp image.",
        "a noisy, low-resolution image",
        "",
        "a sharp image " + "a " * MAX_WORDS,
    ]
    with torch.no_grad():
        together = model.text_features(captions)
        alone = torch.cat([model.text_features([caption]) for caption in captions])
        torch.testing.assert_close(together, alone)
        torch.testing.assert_close(together.norm(dim=1), torch.ones(4))
        same, unknown, other_unknown, cut = model.text_features(
            ["a SHARP image", "a sharp kidney", "a sharp liver", "a sharp image " + "a " * 99]
        )
    torch.testing.assert_close(same, together[0])
    torch.testing.assert_close(unknown, other_unknown)
    torch.testing.assert_close(cut, together[3])
    assert same @ together[1] < 0.999
    assert unknown @ same < 0.999


def test_hyphens_hold_words_together():
    assert split_words("A Low-resolution, noisy -image.") == [
        "a",
        "low-resolution",
        "noisy",
        "image",
    ]


def test_file_round_trip_in_half_precision(tmp_path):
    torch.manual_seed(1)
    model = QualityCLIP(WORDS)
    write_quality_clip(tmp_path / "prior.safetensors", model, {"data": "phantoms", "steps": "0"})
    read, metadata = read_quality_clip(str(tmp_path / "prior.safetensors"))
    assert metadata == {"data": "phantoms", "steps": "0"}
    assert read.words == WORDS
    expected = {name: value.half().float() for name, value in model.state_dict().items()}
    for name, value in read.state_dict().items():
        torch.testing.assert_close(value.float(), expected[name], rtol=0, atol=0)
        assert value.dtype == model.state_dict()[name].dtype
    assert [path.name for path in tmp_path.iterdir()] == ["prior.safetensors"]
    written = (tmp_path / "prior.safetensors").read_bytes()
    write_quality_clip(tmp_path / "prior.safetensors", read, metadata)
    assert (tmp_path / "prior.safetensors").read_bytes() == written


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*nowhere\.safetensors"):
        QualityCLIPEncoder(tmp_path / "nowhere.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(SHIPPED_FILE.read_bytes()[:-100])
    with pytest.raises(
        InputError,
        match=r"damaged\.safetensors cannot be read: it is damaged or no safetensors file",
    ):
        QualityCLIPEncoder(damaged)
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(
        InputError, match=r"other\.safetensors was not written by m2trans train-prior"
    ):
        QualityCLIPEncoder(tmp_path / "other.safetensors")
    for text in ("no JSON", "{}", "[]", '{"words": 3}'):
        save_file(
            {"weight": torch.zeros(1)}, tmp_path / "wordless.safetensors", {"quality_clip": text}
        )
        with pytest.raises(
            InputError,
            match=r"wordless\.safetensors: the metadata under quality_clip hold no word list",
        ):
            QualityCLIPEncoder(tmp_path / "wordless.safetensors")
    save_file(
        {"weight": torch.zeros(1)},
        tmp_path / "part.safetensors",
        {"quality_clip": '{"words": ["a"]}'},
    )
    with pytest.raises(InputError, match="missing: logit_scale"):
        QualityCLIPEncoder(tmp_path / "part.safetensors")


def test_shipped_file_says_where_it_comes_from(shipped):
    assert set(shipped.metadata) == {"data", "images", "licence", "commit", "steps", "seed"}
    assert shipped.metadata["images"] == "659"
    assert "CC BY 4.0" in shipped.metadata["licence"]
    assert shipped.model.words == tuple(known_words())
    assert 1e6 < sum(parameter.numel() for parameter in shipped.parameters()) < 2e6
    assert SHIPPED_FILE.stat().st_size < 4e6


def test_shipped_prior_orders_blur_on_phantoms(shipped):
    """Phantoms are no part of its training; they are sharper than real images, so blur below 2
    pixels is left out.
    """
    text = shipped.encode_text([REFERENCE_CAPTION])[0]
    for image in phantoms():
        blurred = [image] + [cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (2, 3, 4)]
        quality = shipped.encode_image(as_rgb(blurred)) @ text
        assert (quality.diff() < 0).all()
        assert quality[0] - quality[-1] > 0.3


def test_shipped_file_has_the_checksum_of_the_model_card():
    card = (Path(__file__).parents[2] / "docs/quality-prior.md").read_text(encoding="utf-8")
    assert hashlib.sha256(SHIPPED_FILE.read_bytes()).hexdigest() in card


def test_shipped_prior_tells_good_captions_from_bad(shipped):
    good, bad, subject = shipped.encode_text(
        [
            "a picture of a nice, fine ultrasound image",
            "a very noisy ultrasound image",
            REFERENCE_CAPTION + " of a kidney",
        ]
    )
    reference = shipped.encode_text([REFERENCE_CAPTION])[0]
    assert reference @ good > 0.9
    assert reference @ subject > 0.9
    assert reference @ bad < 0.5


def test_semantic_loss_prefers_the_sharper_image(shipped):
    hr = as_rgb(phantoms(2, 96))
    loss = ImageTextSemanticLoss(shipped, patch_size=64)
    values = []
    for sigma in (2, 4):
        sr = as_rgb([cv2.GaussianBlur(image, (0, 0), sigma) for image in phantoms(2, 96)])
        torch.manual_seed(0)
        values.append(loss(sr, hr, [REFERENCE_CAPTION] * 2).item())
    assert 0 < values[0] < values[1]
