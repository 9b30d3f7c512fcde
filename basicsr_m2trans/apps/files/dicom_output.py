"""Upscaling ultrasound DICOM: a derived file whose mm and times stay right (DICOM PS3.3)."""

import contextlib
import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from basicsr_m2trans.apps.files.dicom_geometry import scale_geometry
from basicsr_m2trans.apps.files.dicom_identity import Deidentifier
from basicsr_m2trans.apps.files.media import Frame, MediaFile
from basicsr_m2trans.data.dicom import frame_count, read_frames, read_header
from basicsr_m2trans.inference.upscaler import DISCLAIMER
from basicsr_m2trans.utils.atomic import replacing
from basicsr_m2trans.utils.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.sr.coding import Code

# Uncompressed pixel data has a length of 32 bits, of which one value is reserved.
LARGEST_PIXEL_DATA = 2**32 - 2
_OVERLAYS = range(0x6000, 0x6020, 2)
# Fields that describe the pixels or their encoding as they were.
_OUTDATED = (
    "PlanarConfiguration",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "PixelDataProviderURL",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)


class DicomFile(MediaFile):
    """An ultrasound image or cine loop in a DICOM file.

    The new file is uncompressed (Explicit VR Little Endian), grey as before with the same stored
    bits, or RGB; it is marked as derived and names the file that it was made from. All that is not
    about pixels is kept.

    Args:
        scale: how many times the frames are upscaled.
        model: what the new file says that it was made by.
        deidentifier: if given, only what describes the pixels is kept.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        scale: int,
        model: str,
        deidentifier: Deidentifier | None = None,
    ) -> None:
        super().__init__(source, target)
        self.scale, self.model, self.deidentifier = scale, model, deidentifier

    def read(self) -> Iterator[Frame]:
        """The frames; refused are results that would not fit into a file, too."""
        name = str(self.source)
        self._header = read_header(self.source, name)
        self.total = frame_count(self._header)
        size = _pixel_bytes(self._header, self.scale)
        if size > LARGEST_PIXEL_DATA:
            raise InputError(
                f"{name}: upscaled, its {self.total} frames need {size / 2**30:.1f} GiB, and an "
                "uncompressed DICOM file holds 4; upscale parts of it"
            )
        import pydicom

        with _damage_named(name):
            self._dataset: Dataset = pydicom.dcmread(self.source, stop_before_pixels=True)
            scale_geometry(self._dataset, self.scale, name)
            self.notes = _describe(self._dataset, self.scale, self.model)
        for _, image in read_frames(self.source, self._header, name):
            yield Frame(np.ascontiguousarray(image[..., ::-1]))

    def write(self, frames: Iterator[Frame]) -> None:
        """Write the new file; pixels go to the disk frame by frame, and from there into it."""
        first = next(frames)
        import pydicom

        with (
            replacing(self.target) as partial,
            tempfile.TemporaryFile(dir=partial.parent) as pixels,
        ):
            kind = self._header.PhotometricInterpretation
            palette = kind == "PALETTE COLOR"
            bits = 8 * first.pixels.itemsize if palette else self._header.BitsStored
            for frame in itertools.chain([first], frames):
                pixels.write(_stored(frame.pixels, bits, kind).tobytes())
            if pixels.tell() % 2:
                pixels.write(b"\0")
            pixels.seek(0)
            with _damage_named(str(self.source)):
                dataset = self._dataset
                _describe_pixels(dataset, first.pixels, bits)
                if self.deidentifier is not None:
                    dataset = self.deidentifier.apply(dataset)
                dataset.PixelData = pixels
                dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
                pydicom.dcmwrite(partial, dataset, enforce_file_format=True)


def _stored(image: np.ndarray, bits: int, kind: str) -> np.ndarray:
    """The inverse of what `read_frames` does to stored values, little endian."""
    white = np.iinfo(image.dtype).max
    if kind == "MONOCHROME1":
        image = white - image
    if bits < 8 * image.itemsize:
        image = np.rint(image * (((1 << bits) - 1) / white)).astype(image.dtype)
    return image.astype(image.dtype.newbyteorder("<"))


@contextlib.contextmanager
def _damage_named(source: str) -> Iterator[None]:
    """Turn what pydicom raises on damaged fields into a message that does not quote them."""
    try:
        with warnings.catch_warnings():
            # They quote the fields.
            warnings.simplefilter("ignore")
            yield
    except (InputError, OSError):
        raise
    except Exception as error:  # they are of many types
        raise InputError(
            f"{source}: its fields cannot be used ({type(error).__name__}); it may be damaged"
        ) from error


def _pixel_bytes(header: "Dataset", scale: int) -> int:
    """Length of the upscaled pixel data; of palettes, which have 8 or 16 bits, the larger."""
    palette = header.PhotometricInterpretation == "PALETTE COLOR"
    samples = 3 if palette else header.SamplesPerPixel
    sample_bytes = 2 if palette or header.BitsStored > 8 else 1
    return frame_count(header) * header.Rows * header.Columns * scale**2 * samples * sample_bytes


def _describe(dataset: "Dataset", scale: int, model: str) -> tuple[str, ...]:
    """Say what the file is derived from (General Image, SOP Common modules); returns notes."""
    from pydicom import Dataset
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    from basicsr_m2trans import __version__

    image_type = list(dataset.get("ImageType") or [])
    dataset.ImageType = ["DERIVED", *(image_type[1:] or ["SECONDARY"])]
    description = f"Upscaled x{scale} by {model}, basicsr_m2trans {__version__}; {DISCLAIMER}"
    # The file's character set may hold no others.
    dataset.DerivationDescription = description.encode("ascii", "replace").decode()
    dataset.DerivationCodeSequence = [_code(codes.DCM.SpatialResampling)]
    origin = Dataset()
    origin.ReferencedSOPClassUID = dataset.SOPClassUID
    origin.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    origin.PurposeOfReferenceCodeSequence = [_code(purpose)]
    dataset.SourceImageSequence = [origin]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    overlays = [group for group in _OVERLAYS if dataset.group_dataset(group)]
    for group in overlays:
        for tag in dataset.group_dataset(group):
            del dataset[tag.tag]
    return ("its overlays, which are not part of the pixels, were left out",) if overlays else ()


def _code(code: "Code") -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodeMeaning = code.value, code.meaning
    item.CodingSchemeDesignator = code.scheme_designator
    return item


def _describe_pixels(dataset: "Dataset", image: np.ndarray, bits: int) -> None:
    """The Image Pixel module of the upscaled frames."""
    for keyword in (*dataset.dir("PaletteColorLookupTable"), *_OUTDATED):
        if keyword in dataset:
            del dataset[keyword]
    dataset.SamplesPerPixel = image.shape[2]
    if dataset.SamplesPerPixel == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * image.itemsize, bits, bits - 1
