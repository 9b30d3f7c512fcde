import numpy as np
import pytest

from basicsr_m2trans.apps.annotation.stages import LanguageControls, Region, VisualControls
from basicsr_m2trans.utils.errors import InputError


def test_box_and_area_of_a_region():
    mask = np.zeros((10, 20), bool)
    mask[2:5, 7:12] = True
    mask[3, 8] = False
    assert Region(mask).box == (7, 2, 5, 3)
    assert Region(mask).area == 14 / 200


def test_box_of_a_single_pixel():
    mask = np.zeros((3, 4), bool)
    mask[2, 3] = True
    assert Region(mask).box == (3, 2, 1, 1)


@pytest.mark.parametrize(
    ("controls", "value", "message"),
    [
        (VisualControls, {"points": 0}, "points must be at least 1, but is 0"),
        (VisualControls, {"regions": -1}, "regions must be at least 1"),
        (VisualControls, {"min_quality": 1.5}, "min_quality must be between 0 and 1, but is 1.5"),
        (VisualControls, {"min_area": float("nan")}, "min_area must be between 0 and 1"),
        (LanguageControls, {"length": 0}, "length must be at least 1"),
        (LanguageControls, {"language": " "}, "language is empty"),
    ],
)
def test_controls_out_of_range_are_refused(controls, value, message):
    with pytest.raises(InputError, match=message):
        controls(**value)
