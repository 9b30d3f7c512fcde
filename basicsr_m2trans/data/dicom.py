"""Reading ultrasound DICOM: frames as images, and the region of the scan.

Patient fields are never read: the header is parsed for the tags of `_TAGS` only. Messages name the
file as the caller does, because its path may hold a patient's name.
"""

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from basicsr_m2trans.data.lmdb_store import Window
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import IMAGE_EXTENSIONS

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_EXTENSIONS = (".dcm", ".dicom")

_CHANNELS = ("Red", "Green", "Blue")
_TAGS = (
    "SOPClassUID",
    "Modality",
    "BurnedInAnnotation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsStored",
    "PixelRepresentation",
    "SequenceOfUltrasoundRegions",
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in _CHANNELS),
    *(f"{colour}PaletteColorLookupTableData" for colour in _CHANNELS),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in _CHANNELS),
)
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# DICOM PS3.3, C.8.5.5: values of Region Spatial Format and Region Data Type.
_TWO_DIMENSIONAL, _TISSUE = 1, 1


def is_dicom_file(path: str | Path) -> bool:
    """Whether a file is DICOM: by its extension or else, unless an image's, its signature."""
    path = Path(path)
    extension = path.suffix.lower()
    if extension in DICOM_EXTENSIONS:
        return path.is_file()
    if extension in IMAGE_EXTENSIONS or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def anonymous_name(path: str | Path) -> str:
    """A name that does not reveal a file's path: `us_` and 16 digits of its content's SHA-256.

    File and folder names may hold a patient's name or number, and a checksum of those could be
    guessed back. A checksum of the content tells something only to those who have the file.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"us_{digest.hexdigest()[:16]}"


def read_header(path: str | Path, source: str) -> "Dataset":
    """The part of a file's header that describes its pixels, without patient, study or device.

    Args:
        source: how error messages name the file.

    Raises:
        InputError: pydicom is missing; or the file is damaged, no ultrasound image, or of a kind of
            pixels that is not supported (signed, 32 bits, MPEG video).
    """
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise InputError(
            f"{source}: reading DICOM needs pydicom; install it with `pip install pydicom`"
        ) from error
    try:
        with warnings.catch_warnings():
            # They quote the values of fields.
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            # pydicom interprets a field when it is first read, and raises there.
            for _ in header.iterall():
                pass
            problem = _header_problem(header)
    except Exception as error:  # pydicom raises errors of many types on damaged files
        raise InputError(
            f"{source}: cannot be read as DICOM ({type(error).__name__}); it may be damaged"
        ) from error
    if problem:
        raise InputError(f"{source}: {problem}")
    return header


def _header_problem(header: "Dataset") -> str | None:
    if header.get("Modality") != "US":
        return f"is no ultrasound image: its modality is {header.get('Modality')}"
    needed = ("Rows", "Columns", "BitsStored", "SamplesPerPixel", "PhotometricInterpretation")
    missing = [tag for tag in needed if header.get(tag) is None]
    if missing:
        return f"lacks {', '.join(missing)}, so that its pixels cannot be read"
    if header.get("PixelRepresentation", 0) != 0 or header.BitsStored > 16:
        return (
            f"has signed or {header.BitsStored}-bit pixels; ultrasound has unsigned ones of 8 to "
            "16 bits"
        )
    if header.PhotometricInterpretation not in (*_GREY, *_COLOUR):
        return f"has pixels of the kind {header.PhotometricInterpretation}, which is not supported"
    if frame_count(header) < 1:
        return f"says that it has {header.NumberOfFrames} frames"
    return None


def frame_count(header: "Dataset") -> int:
    """Number of frames: 1 for a still image."""
    return int(header.get("NumberOfFrames") or 1)


def scan_region(header: "Dataset", source: str) -> Window | None:
    """Rows and columns of the B-mode scan, by its region (DICOM PS3.3, C.8.5.5).

    Of several regions this is the largest two-dimensional one that shows tissue; without any that
    shows tissue the largest two-dimensional one. Regions of M-mode, spectral Doppler, curves and
    graphics are never chosen.

    Args:
        source: how error messages name the file.

    Returns:
        The window, inside the frame; None if the file has no regions.

    Raises:
        InputError: there are regions but no two-dimensional one; the region reaches out of the
            frame, so that it was written for another size; or there are no regions and the file
            says that text is burnt into its pixels.
    """
    regions = header.get("SequenceOfUltrasoundRegions") or []
    if not regions:
        if header.get("BurnedInAnnotation") == "YES":
            raise InputError(
                f"{source}: says that text is burnt into its pixels, and not which region is the "
                "scan"
            )
        return None
    planes = [region for region in regions if region.get("RegionSpatialFormat") == _TWO_DIMENSIONAL]
    if not planes:
        raise InputError(
            f"{source}: has no two-dimensional region, only M-mode, Doppler spectra, curves or "
            "graphics"
        )
    tissue = [region for region in planes if region.get("RegionDataType") == _TISSUE]
    try:
        windows = [_window(region) for region in tissue or planes]
    except (TypeError, ValueError) as error:  # no value, or several
        raise InputError(f"{source}: has a region without edges; it may be damaged") from error
    rows, columns = max(
        windows, key=lambda window: np.prod([max(edge.stop - edge.start, 0) for edge in window])
    )
    # Some scanners write the edge behind the last pixel instead of the last pixel.
    inside = (
        0 <= rows.start < rows.stop <= header.Rows + 1
        and 0 <= columns.start < columns.stop <= header.Columns + 1
    )
    if not inside:
        raise InputError(
            f"{source}: its region (columns {columns.start} to {columns.stop}, rows {rows.start} "
            f"to {rows.stop}) does not lie in its frame of {header.Columns} x {header.Rows}; was "
            "it made smaller afterwards?"
        )
    bottom, right = min(rows.stop, header.Rows), min(columns.stop, header.Columns)
    return slice(rows.start, bottom), slice(columns.start, right)


def _window(region: "Dataset") -> Window:
    top, bottom, left, right = (
        int(region.get(f"RegionLocation{edge}", -1))
        for edge in ("MinY0", "MaxY1", "MinX0", "MaxX1")
    )
    return slice(top, bottom + 1), slice(left, right + 1)


def read_frames(
    path: str | Path, header: "Dataset", source: str, step: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode frames one at a time.

    Stored values are scaled from Bits Stored to the full range of 8 or 16 bits; MONOCHROME1 is
    inverted, YBR becomes RGB and palettes are applied. Windowing (VOI LUT), overlays and ICC
    profiles are not.

    Args:
        source: how error messages name the file.
        step: decode every so many frames, beginning with the first.

    Yields:
        Number of the frame, from 1, and image (h, w, 1 or 3), uint8 or uint16, as in `images`.

    Raises:
        InputError: the pixels are damaged, or there is no decoder for them.
    """
    from pydicom.pixels import iter_pixels

    count = frame_count(header)
    pixels = iter_pixels(path, indices=range(0, count, step))
    for number in range(1, count + 1, step):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = _as_image(next(pixels), header)
        except Exception as error:  # decoders raise errors of many types on damaged files
            raise InputError(f"{source}: {_pixel_problem(number, error)}") from error
        yield number, image


def _pixel_problem(number: int, error: Exception) -> str:
    if "missing dependencies" in str(error):
        # The decoder's own message runs over several lines; the first names the compression.
        return f"{str(error).splitlines()[0]}; install a decoder with `pip install python-gdcm`"
    # The message of an OSError holds the file's path.
    text = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
    return f"frame {number} cannot be decoded ({type(error).__name__}: {text})"


def _as_image(pixels: np.ndarray, header: "Dataset") -> np.ndarray:
    """Pixels (h, w[, 3]) of one frame, in RGB order, as an image."""
    kind = header.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        return _through_palette(pixels, header)[..., ::-1]
    image = _to_full_range(pixels, header.BitsStored)
    if kind == "MONOCHROME1":
        image = np.iinfo(image.dtype).max - image
    return image[..., None] if image.ndim == 2 else image[..., ::-1]


def _through_palette(pixels: np.ndarray, header: "Dataset") -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    colours = apply_color_lut(pixels, header)
    # Most palettes of 16 bits hold 8-bit colours in their high bytes; scaled as 16 bits, white
    # would be 254.
    if colours.dtype == np.uint16 and not (colours & 0xFF).any():
        return (colours >> 8).astype(np.uint8)
    return colours


def _to_full_range(pixels: np.ndarray, bits: int) -> np.ndarray:
    dtype = np.dtype(np.uint8) if pixels.dtype == np.uint8 else np.dtype(np.uint16)
    if bits == 8 * dtype.itemsize:
        return pixels.astype(dtype)
    stored_max = (1 << bits) - 1
    scaled = np.minimum(pixels, stored_max) * (np.iinfo(dtype).max / stored_max)
    return np.rint(scaled).astype(dtype)
