import pytest
import torch
from torch import nn

from basicsr_m2trans.encoders import ImageTextEncoder
from basicsr_m2trans.encoders.base import resize
from basicsr_m2trans.losses import ImageTextSemanticLoss
from basicsr_m2trans.utils.errors import InputError

CAPTIONS = ["a sharp ultrasound image", "a clean image of an ultrasound"]


class RecordingEncoder(ImageTextEncoder):
    """A smooth encoder in float64 that keeps what it was given."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 4, generator=generator, dtype=torch.float64))
        self.freeze()
        self.images, self.texts = [], []

    def encode_image(self, images):
        self.images.append(images)
        return nn.functional.normalize(
            torch.cat((images.mean((2, 3)) @ self.weight, images.std((2, 3))), 1), dim=1
        )

    def encode_text(self, captions):
        self.texts.append(list(captions))
        numbers = torch.tensor([[len(c), c.count("a"), c.count("e"), 1, 2, 3, 4] for c in captions])
        return nn.functional.normalize(numbers.double(), dim=1)


def images(seed, size=40):
    return torch.rand(
        2, 3, size, size + 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def loss_of(sr, hr, captions=CAPTIONS, **options):
    encoder = RecordingEncoder()
    loss = ImageTextSemanticLoss(encoder, patch_size=16, **options)
    torch.manual_seed(3)
    return loss(sr, hr, captions), encoder


@pytest.mark.parametrize("num_patches", [1, 3, 4])
def test_equals_eq_11_to_14_written_out(num_patches):
    sr, hr = images(0), images(1)
    value, encoder = loss_of(sr, hr, loss_weight=0.01, num_patches=num_patches)
    sr_patches, hr_patches = (patches.unflatten(0, (2, num_patches)) for patches in encoder.images)
    expected = 0
    for i in range(2):
        text = encoder.encode_text([CAPTIONS[i]])[0]
        for j in range(num_patches):
            s_sr, s_hr = (
                encoder.encode_image(p[i, j : j + 1])[0] @ text for p in (sr_patches, hr_patches)
            )
            expected += (s_sr - s_hr).abs() / num_patches
    torch.testing.assert_close(value, 0.01 * expected)


def test_first_patch_is_the_whole_image_and_crops_match():
    sr, hr = images(0), images(1)
    _, encoder = loss_of(sr, hr)
    sr_patches, hr_patches = (patches.unflatten(0, (2, 3)) for patches in encoder.images)
    torch.testing.assert_close(sr_patches[:, 0], resize(sr, 16))
    corners = set()
    for i in range(2):
        for j in (1, 2):
            places = [
                (top, left)
                for top in range(25)
                for left in range(33)
                if torch.equal(hr[i, :, top : top + 16, left : left + 16], hr_patches[i, j])
            ]
            assert len(places) == 1
            (top, left) = places[0]
            assert torch.equal(sr[i, :, top : top + 16, left : left + 16], sr_patches[i, j])
            corners.add(places[0])
    assert len(corners) == 4, "crops of different images and patches are drawn independently"


def test_a_generator_alone_decides_on_its_crops():
    loss = ImageTextSemanticLoss(RecordingEncoder(), patch_size=16)
    first, second = (
        loss.draw_corners(4, 40, 48, torch.Generator().manual_seed(0)) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_equal_images_give_exactly_zero():
    assert loss_of(images(0), images(0).clone())[0].item() == 0.0


def test_gradient_against_finite_differences():
    hr = images(1, size=20)
    sr = images(0, size=20).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda sr: loss_of(sr, hr, loss_weight=1.0)[0], sr, fast_mode=True
    )
    assert not hr.requires_grad


def test_every_patch_contributes():
    """The loss has a gradient in each of the K patches, not only in the last as in the released
    code.
    """
    sr, hr = images(0).requires_grad_(), images(1)
    value, encoder = loss_of(sr, hr)
    (patch_gradient,) = torch.autograd.grad(value, encoder.images[0])
    assert (patch_gradient.flatten(1).norm(dim=1) > 0).all()
    assert encoder.images[1].requires_grad is False


def test_swapped_captions_change_the_loss():
    sr, hr = images(0), images(1)
    assert loss_of(sr, hr)[0] != loss_of(sr, hr, CAPTIONS[::-1])[0]


def test_mean_reduction_and_weight():
    sr, hr = images(0), images(1)
    total = loss_of(sr, hr, loss_weight=1.0)[0]
    torch.testing.assert_close(loss_of(sr, hr, loss_weight=0.5, reduction="mean")[0], total / 4)


def test_each_caption_is_encoded_once():
    encoder = RecordingEncoder()
    loss = ImageTextSemanticLoss(encoder, patch_size=16)
    for captions in (
        CAPTIONS,
        CAPTIONS[::-1],
        [CAPTIONS[0], "a nice ultrasound image"],
        [CAPTIONS[1]] * 2,
    ):
        loss(images(0), images(1), captions)
    assert encoder.texts == [[CAPTIONS[0]], [CAPTIONS[1]], ["a nice ultrasound image"]]


def test_one_encoder_pass_for_each_side():
    _, encoder = loss_of(images(0), images(1), num_patches=4)
    assert [len(batch) for batch in encoder.images] == [8, 8]


@pytest.mark.parametrize("size", [9, 16])
def test_images_not_larger_than_the_patch(size):
    for turn in (lambda x: x, lambda x: x.transpose(2, 3)):  # the shorter side may be either
        value, encoder = loss_of(turn(images(0, size)), turn(images(1, size)))
        assert value > 0
        assert encoder.images[0].shape == (6, 3, 16, 16)


def test_one_patch_is_the_whole_image_alone():
    _, encoder = loss_of(images(0), images(1), num_patches=1)
    torch.testing.assert_close(encoder.images[0], resize(images(0), 16))


def test_encoder_is_built_from_options_and_frozen():
    loss = ImageTextSemanticLoss({"type": "SeededCLIPEncoder", "seed": 2}, patch_size=16).train()
    assert not any(p.requires_grad for p in loss.parameters())
    sr = torch.rand(1, 3, 20, 20, requires_grad=True)
    loss(sr, torch.rand(1, 3, 20, 20), CAPTIONS[:1]).backward()
    assert sr.grad.abs().sum() > 0


@pytest.mark.parametrize("encoder", ["SeededCLIPEncoder", "QualityCLIPEncoder"])
def test_value_and_gradient_in_float32_on_each_device(encoder, device):
    sr, hr = images(0), images(1)
    results = []
    for dtype, place in ((torch.float64, "cpu"), (torch.float32, device)):
        loss = ImageTextSemanticLoss(encoder, patch_size=32, loss_weight=1.0).to(place, dtype)
        image = sr.to(place, dtype, copy=True).requires_grad_()
        torch.manual_seed(3)
        value = loss(image, hr.to(place, dtype), CAPTIONS)
        value.backward()
        results.append((value.detach().cpu().double(), image.grad.cpu().double()))
    (expected, expected_gradient), (value, gradient) = results
    torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)
    assert (gradient - expected_gradient).norm() < 1e-3 * expected_gradient.norm()


def test_defaults_are_those_of_the_paper():
    loss = ImageTextSemanticLoss(RecordingEncoder())
    assert (loss.num_patches, loss.patch_size, loss.loss_weight, loss.reduction) == (
        3,
        224,
        0.01,
        "sum",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_patches": 0}, "num_patches"),
        ({"num_patches": 2.5}, "whole number"),
        ({"patch_size": 0}, "patch_size"),
        ({"reduction": "max"}, "reduction"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        ImageTextSemanticLoss(RecordingEncoder(), **options)


def test_batches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 captions"):
        ImageTextSemanticLoss(RecordingEncoder())(images(0), images(1), CAPTIONS[:1])
