import cv2
import numpy as np
import pytest
import torch
from numpy.random import default_rng

from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.apps.prior.flaw_captions import known_words
from basicsr_m2trans.apps.prior.patches import (
    MIN_MEAN,
    PATCH_SIZES,
    UNKNOWN_WORD,
    draw_batch,
    read_grey_images,
)
from basicsr_m2trans.encoders.quality_clip import split_words
from basicsr_m2trans.utils.errors import InputError


def test_batch_has_a_ladder_of_severities_for_each_source():
    images = [make_phantom(seed, 128, 160) for seed in range(3)]
    batch = draw_batch(images, 5, default_rng(1))
    side = batch.patches.shape[-1]
    assert batch.patches.shape == (20, 1, side, side)
    assert side in PATCH_SIZES
    assert batch.patches.dtype == torch.float32
    ladders = batch.severities.view(5, 4)
    assert ladders[:, 0].tolist() == [0] * 5
    for step in (1, 2, 3):
        assert (ladders[:, step] > (step - 1) / 3).all()
        assert (ladders[:, step] <= step / 3).all()
    assert (batch.flaws.view(5, 4) == batch.flaws.view(5, 4)[:, :1]).all()
    assert UNKNOWN_WORD not in known_words()
    assert {word for caption in batch.captions for word in split_words(caption)} <= {
        *known_words(),
        UNKNOWN_WORD,
    }


def test_patches_of_a_source_show_the_same_place():
    batch = draw_batch([make_phantom(0, 128, 160, "linear")], 8, default_rng(0))
    for ladder in batch.patches[:, 0].unflatten(0, (8, 4)):
        good, slight = ladder[0].flatten(), ladder[1].flatten()
        assert torch.corrcoef(torch.stack([good, slight]))[0, 1] > 0.5


def test_black_surroundings_are_avoided():
    image = np.zeros((400, 400), np.uint8)
    image[:200] = make_phantom(1, 200, 400, "linear")
    batch = draw_batch([image], 40, default_rng(0))
    means = batch.patches[batch.severities == 0].mean(dim=(1, 2, 3))
    assert (means > MIN_MEAN / 2).double().mean() > 0.9


def test_equal_generators_draw_equal_batches():
    images = [make_phantom(0, 128, 160)]
    first, again = (draw_batch(images, 3, default_rng(7)) for _ in range(2))
    assert torch.equal(first.patches, again.patches)
    assert first.captions == again.captions


def test_images_become_luma_of_8_bits_in_the_order_of_their_paths(tmp_path):
    (tmp_path / "b").mkdir()
    colour = np.zeros((96, 100, 3), np.uint8)
    colour[..., 2] = 200  # red, in OpenCV's order
    cv2.imwrite(str(tmp_path / "b/colour.png"), colour)
    cv2.imwrite(str(tmp_path / "a.png"), np.full((96, 96), 257 * 31, np.uint16))
    grey, luma = read_grey_images(tmp_path)
    assert np.unique(grey).tolist() == [31]
    assert np.unique(luma).tolist() == [60]  # 0.299 * 200
    assert luma.shape == (96, 100)
    assert luma.dtype == np.uint8


def test_small_images_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((95, 200), np.uint8))
    with pytest.raises(InputError, match=r"small\.png: 200x95 pixels"):
        read_grey_images(tmp_path)
