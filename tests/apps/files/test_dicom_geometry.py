import numpy as np
import pydicom
import pytest

from basicsr_m2trans.apps.files.dicom_geometry import scale_geometry
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture
def dataset(make_dicom):
    return lambda: pydicom.dcmread(make_dicom(np.zeros((1, 20, 31), np.uint8)))


def physical(region, axis, place):
    """Physical value of the centre of a pixel of the frame (PS3.3, C.8.5.5.1.1)."""
    origin = region[f"RegionLocationMin{axis}0"].value + region[f"ReferencePixel{axis}0"].value
    value = region[f"ReferencePixelPhysicalValue{axis}"].value
    return value + (place - origin) * region[f"PhysicalDelta{axis}"].value


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lengths_and_physical_values_stay(dataset, scale):
    before, after = dataset(), dataset()
    scale_geometry(after, scale, "x")
    assert (after.Rows, after.Columns) == (20 * scale, 31 * scale)
    # From the centre of pixel 5 to that of pixel 25, at the places that these have after upscaling.
    places = [scale * place + (scale - 1) / 2 for place in (5, 25)]
    assert (places[1] - places[0]) * after.PixelSpacing[1] == pytest.approx(20 * 0.2, abs=1e-10)
    old, new = before.SequenceOfUltrasoundRegions[0], after.SequenceOfUltrasoundRegions[0]
    for axis in "XY":
        for place, upscaled in zip((5, 25), places, strict=True):
            assert physical(new, axis, upscaled) == pytest.approx(
                physical(old, axis, place), abs=1e-12
            )
    assert (new.RegionLocationMinX0, new.RegionLocationMinY0) == (2 * scale, 2 * scale)
    assert (new.RegionLocationMaxX1, new.RegionLocationMaxY1) == (31 * scale - 1, 20 * scale - 1)


def test_an_edge_behind_the_last_pixel_stays_one(dataset):
    upscaled = dataset()
    upscaled.SequenceOfUltrasoundRegions[0].RegionLocationMaxX1 = 31
    scale_geometry(upscaled, 3, "x")
    assert upscaled.SequenceOfUltrasoundRegions[0].RegionLocationMaxX1 == 93


def test_the_first_pixel_moves_with_its_corner(dataset):
    upscaled = dataset()
    upscaled.PixelSpacing = [0.4, 0.2]
    upscaled.ImagePositionPatient, upscaled.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
    scale_geometry(upscaled, 4, "x")
    assert upscaled.PixelSpacing == [0.1, 0.05]
    # The corner stays half a pixel before the first centre.
    assert upscaled.ImagePositionPatient == pytest.approx([1 - 0.1 + 0.025, 2 - 0.2 + 0.05, 3])


def test_spacing_fits_into_decimal_strings(dataset):
    upscaled = dataset()
    upscaled.PixelSpacing = [0.123456789012, 0.1]
    scale_geometry(upscaled, 3, "x")
    assert all(len(str(value)) <= 16 for value in upscaled.PixelSpacing)
    assert upscaled.PixelSpacing[0] * 3 == pytest.approx(0.123456789012, rel=1e-11)


def test_volumes_are_refused(dataset):
    volume = dataset()
    volume.SharedFunctionalGroupsSequence = [pydicom.Dataset()]
    with pytest.raises(InputError, match="x: is an enhanced ultrasound volume"):
        scale_geometry(volume, 2, "x")
