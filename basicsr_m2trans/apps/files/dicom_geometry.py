"""The geometry that a DICOM file states, after upscaling: places in pixels, size of a pixel."""

from typing import TYPE_CHECKING

from basicsr_m2trans.utils.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

_SPACINGS = ("PixelSpacing", "NominalScannedPixelSpacing", "ImagerPixelSpacing")
# Pixels of the frame that a region names, with X or Y in place of the braces.
_PLACES = (
    "TMLinePosition{}0",
    "TMLinePosition{}1",
    "DopplerSampleVolume{}Position",
    "TMLinePosition{}0Retired",
    "TMLinePosition{}1Retired",
    "DopplerSampleVolume{}PositionRetired",
)


def scale_geometry(dataset: "Dataset", scale: int, source: str) -> None:
    """Adapt size, spacing, position and ultrasound regions (PS3.3, C.8.5.5) to smaller pixels.

    The centre of pixel x becomes scale * x + (scale - 1) / 2. Where DICOM wants whole numbers the
    pixel before it is named, and the physical value of a region's reference pixel is moved with it,
    so that every point keeps its physical values.

    `dataset` is changed in place.

    Raises:
        InputError: the geometry is that of a volume; the message names it `source`.
    """
    if "SharedFunctionalGroupsSequence" in dataset:
        raise InputError(
            f"{source}: is an enhanced ultrasound volume, whose geometry cannot be kept; export "
            "its frames"
        )
    _move_position(dataset, scale)
    for keyword in _SPACINGS:
        if dataset.get(keyword):
            setattr(dataset, keyword, [_decimal(value / scale) for value in dataset[keyword].value])
    for region in dataset.get("SequenceOfUltrasoundRegions") or []:
        for axis, length in (("X", dataset.Columns), ("Y", dataset.Rows)):
            _scale_region(region, axis, length, scale)
    dataset.Rows, dataset.Columns = dataset.Rows * scale, dataset.Columns * scale


def _scale_region(region: "Dataset", axis: str, length: int, scale: int) -> None:
    """One direction of a region; `length` is that of the frame before upscaling."""
    first, last = f"RegionLocationMin{axis}0", f"RegionLocationMax{axis}1"
    if first in region:
        region[first].value = region[first].value * scale
    if last in region:
        place = region[last].value
        # Some scanners write the edge behind the last pixel instead of the last pixel.
        region[last].value = place * scale if place == length else (place + 1) * scale - 1
    for keyword in (pattern.format(axis) for pattern in _PLACES):
        if keyword in region:
            region[keyword].value = _pixel(region[keyword].value, scale)
    delta = f"PhysicalDelta{axis}"
    if delta in region:
        region[delta].value = region[delta].value / scale
    reference, value = f"ReferencePixel{axis}0", f"ReferencePixelPhysicalValue{axis}"
    if reference in region:
        region[reference].value = _pixel(region[reference].value, scale)
        rounding = (scale - 1) % 2 / 2
        if rounding and delta in region:
            setattr(region, value, float(region.get(value, 0.0)) - rounding * region[delta].value)


def _pixel(place: int, scale: int) -> int:
    return place * scale + (scale - 1) // 2


def _move_position(dataset: "Dataset", scale: int) -> None:
    """Image Position (Patient) is the centre of the first pixel, which has become smaller."""
    needed = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    if not all(dataset.get(keyword) for keyword in needed):
        return
    position, orientation, (between_rows, between_columns) = (
        dataset[keyword].value for keyword in needed
    )
    shift = (1 / scale - 1) / 2
    dataset.ImagePositionPatient = [
        _decimal(place + shift * (along_row * between_columns + along_column * between_rows))
        for place, along_row, along_column in zip(
            position, orientation[:3], orientation[3:], strict=True
        )
    ]


def _decimal(value: float) -> float:
    """A number that fits into the 16 characters of a decimal string."""
    from pydicom.valuerep import DSfloat

    return DSfloat(float(value), auto_format=True)
