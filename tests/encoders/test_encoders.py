import numpy as np
import pytest
import torch
from PIL import Image

from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.encoders import build_encoder
from basicsr_m2trans.encoders.base import resize
from basicsr_m2trans.encoders.seeded_clip import SeededCLIPEncoder
from basicsr_m2trans.utils.errors import InputError


def test_seed_decides_the_weights_and_nothing_else_changes():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = SeededCLIPEncoder(0), SeededCLIPEncoder(0), SeededCLIPEncoder(1)
    assert torch.equal(torch.get_rng_state(), before)
    images = torch.rand(2, 3, 40, 56)
    assert torch.equal(first.encode_image(images), again.encode_image(images))
    assert not torch.allclose(first.encode_image(images), other.encode_image(images))


def test_unit_length_and_gradient_to_the_image_only(device):
    encoder = build_encoder("SeededCLIPEncoder").to(device)
    images = torch.rand(2, 3, 33, 17, device=device, requires_grad=True)
    features = encoder.encode_image(images)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2, device=device))
    features.sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_text_features_depend_on_the_words():
    encoder = SeededCLIPEncoder()
    sharp, clean, empty = encoder.encode_text(["A sharp image.", "a clean image", ""])
    assert torch.allclose(encoder.encode_text(["a SHARP image"])[0], sharp)
    assert sharp @ clean < 0.999
    assert empty.norm().isclose(torch.tensor(1.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("ClipEncoder", "SeededCLIPEncoder"),
        ({"seed": 1}, "None is unknown"),
        ({"type": "SeededCLIPEncoder", "sed": 1}, "sed"),
        ("MedCLIPEncoder", "checkpoint"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        build_encoder(options)


def test_resize_antialiases_and_keeps_what_fits():
    images = torch.rand(1, 3, 24, 24)
    assert resize(images, 24) is images
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70), dtype=np.uint8)
    # Pillow is what image processors resize with; it rounds to 8 bits after each direction.
    expected = np.asarray(
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float32
    )
    ours = resize(torch.from_numpy(pixels / 255.0).float()[None, None], 32)[0, 0] * 255
    assert np.abs(ours.clamp(0, 255).numpy() - expected).max() < 2


def test_random_encoder_tells_images_apart():
    phantom, noise = make_phantom(0, 96, 96) / 255.0, np.random.default_rng(0).random((96, 96))
    images = torch.from_numpy(np.stack([phantom, noise])).float()[:, None].expand(-1, 3, -1, -1)
    first, second = SeededCLIPEncoder().encode_image(images)
    assert first @ second < 0.9
