import numpy as np
import pytest
import torch

from basicsr_m2trans.apps.annotation.captioning import BlipCaptioner
from basicsr_m2trans.apps.annotation.stages import Region


@pytest.fixture(scope="module")
def caption(blip_folder):
    return BlipCaptioner(str(blip_folder), torch.device("cpu"))


def region(image, rows, columns):
    mask = np.zeros(image.shape[:2], bool)
    mask[rows, columns] = True
    return Region(mask)


def test_the_seed_determines_the_description(caption, image):
    part = region(image, slice(4, 30), slice(10, 40))
    first = caption(image, part, seed=1)
    assert first.strip()
    assert "[SEP]" not in first
    torch.rand(5)  # the global random state does not matter
    assert caption(image, part, seed=1) == first
    assert caption(image, part, seed=2) != first


def test_the_global_random_state_is_left_alone(caption, image):
    before = torch.get_rng_state()
    caption(image, region(image, 0, 0), seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_only_the_box_of_the_region_is_seen(caption, image, monkeypatch):
    seen = []
    generate = caption.model.generate
    monkeypatch.setattr(
        caption.model,
        "generate",
        lambda **given: seen.append(given["pixel_values"]) or generate(**given),
    )
    part = region(image, slice(4, 30), slice(10, 40))
    changed = image.copy()
    changed[~part.mask] = 0
    caption(image, part, seed=1)
    caption(changed, part, seed=1)
    changed[29, 39] ^= 255
    caption(changed, part, seed=1)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_a_region_of_one_pixel_can_be_described(caption, image):
    assert isinstance(caption(image, region(image, 3, 3), seed=0), str)
