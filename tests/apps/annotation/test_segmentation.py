import numpy as np
import pytest
import torch

from basicsr_m2trans.apps.annotation import segmentation
from basicsr_m2trans.apps.annotation.segmentation import (
    MAX_OVERLAP,
    SamSegmenter,
    distinct,
    point_grid,
)
from basicsr_m2trans.apps.annotation.stages import VisualControls

# The quality that a random SAM predicts can be anything; this keeps every mask.
EVERYTHING = VisualControls(points=4, min_quality=0.0, min_area=0.0, regions=16)


@pytest.fixture
def segment(sam_folder):
    sam = SamSegmenter(str(sam_folder), torch.device("cpu"))
    sam.model.mask_decoder.iou_prediction_head.layers[-1].weight.data.mul_(0.1)
    sam.model.mask_decoder.iou_prediction_head.proj_out.bias.data.fill_(0.9)
    return sam


def test_points_are_the_centres_of_equal_parts():
    assert point_grid(40, 60, 1) == [[30.0, 20.0]]
    assert point_grid(40, 60, 2) == [[15.0, 10.0], [45.0, 10.0], [15.0, 30.0], [45.0, 30.0]]


def test_of_overlapping_masks_the_best_remains():
    masks = torch.zeros(5, 4, 10, dtype=torch.bool)
    masks[0, :, :8] = True
    masks[1, :, :7] = True  # shares 28 of 32 pixels with the first
    masks[2, :, 7:] = True
    masks[3, :, :2] = True  # inside the first, but a quarter of it
    assert distinct(masks, torch.tensor([0.8, 0.9, 0.5, 0.4, 1.0]), min_quality=0.45) == [1, 2]
    assert distinct(masks, torch.tensor([0.8, 0.7, 0.5, 0.4, 1.0]), min_quality=0.3) == [0, 2, 3]


def test_masks_at_the_limit_of_overlap_both_remain():
    masks = torch.zeros(2, 1, 10, dtype=torch.bool)
    masks[0] = True
    masks[1, :, : round(10 * MAX_OVERLAP)] = True
    assert distinct(masks, torch.tensor([0.9, 0.8]), 0.0) == [0, 1]
    masks[1, :, : round(10 * MAX_OVERLAP) + 1] = True
    assert distinct(masks, torch.tensor([0.9, 0.8]), 0.0) == [0]


def test_one_point_gives_the_mask_that_the_model_gives_there(segment, image):
    inputs = segment.processor(images=image, input_points=[[[30.0, 24.0]]], return_tensors="pt")
    with torch.no_grad():
        output = segment.model(
            pixel_values=inputs["pixel_values"], input_points=inputs["input_points"]
        )
    masks = segment.processor.post_process_masks(
        output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )[0][0]
    expected = masks[output.iou_scores[0, 0].argmax()].numpy()
    assert 0 < expected.sum() < expected.size  # else the comparison would say nothing
    (region,) = segment(image, VisualControls(points=1, min_quality=0.0, min_area=0.0))
    assert np.array_equal(region.mask, expected)


def test_regions_are_sorted_and_distinct(segment, image):
    regions = segment(image, EVERYTHING)
    assert len(regions) > 1
    assert all(
        region.mask.shape == image.shape[:2] and region.mask.dtype == bool for region in regions
    )
    areas = [region.area for region in regions]
    assert areas == sorted(areas, reverse=True)
    assert all(
        np.array_equal(a.mask, b.mask)
        for a, b in zip(regions, segment(image, EVERYTHING), strict=True)
    )


def test_the_points_do_not_depend_on_how_many_are_asked_at_once(segment, image, monkeypatch):
    before = segment(image, EVERYTHING)
    monkeypatch.setattr(segmentation, "POINTS_AT_ONCE", 3)
    after = segment(image, EVERYTHING)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(before, after, strict=True))


def test_controls_select(segment, image):
    areas = [region.area for region in segment(image, EVERYTHING)]
    few = VisualControls(points=4, min_quality=0.0, min_area=areas[1], regions=16)
    assert [region.area for region in segment(image, few)] == areas[:2]
    first = VisualControls(points=4, min_quality=0.0, min_area=0.0, regions=1)
    assert [region.area for region in segment(image, first)] == areas[:1]
    assert segment(image, VisualControls(points=4, min_quality=1.0)) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 50, 3), (200, 3, 3)])
def test_any_size_works(segment, shape):
    image = np.full(shape, 128, np.uint8)
    assert all(region.mask.shape == shape[:2] for region in segment(image, EVERYTHING))
