"""Enlarging ultrasound DICOM: a new, derived file whose measurements in mm and times stay right (DICOM PS3.3)."""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from basicsr_m2trans.data.dicom import frame_count, read_frames, read_header
from basicsr_m2trans.errors import InputError
from basicsr_m2trans.inference.dicom_geometry import scale_geometry
from basicsr_m2trans.inference.dicom_identity import Deidentifier
from basicsr_m2trans.inference.outputs import DISCLAIMER, Enlarged, Report, replacing
from basicsr_m2trans.inference.upscaler import Upscaler

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.sr.coding import Code

# Uncompressed pixel data has a length of 32 bits, of which one value is reserved.
LARGEST_PIXEL_DATA = 2**32 - 2
_OVERLAYS = range(0x6000, 0x6020, 2)


def upscale_dicom(
    upscaler: Upscaler, source: Path, target: Path, report: Report, deidentifier: Deidentifier | None = None
) -> Enlarged:
    """Enlarge an ultrasound DICOM file frame by frame.

    The new file is uncompressed (Explicit VR Little Endian), grey as before with the same stored bits, or RGB; it is
    marked as derived and names the file that it was made from. All that is not about pixels is kept.

    Args:
        upscaler: the network.
        source: an ultrasound image or cine loop.
        target: the file to write.
        report: called after each frame.
        deidentifier: if given, only what describes the pixels is kept.

    Raises:
        InputError: pydicom is missing; or `source` is damaged, no ultrasound image, of a kind of pixels that is not
            supported, or its result would not fit into a file.
    """
    name = str(source)
    header = read_header(source, name)
    size = _pixel_bytes(header, upscaler.scale)
    if size > LARGEST_PIXEL_DATA:
        raise InputError(
            f"{name}: enlarged, its {frame_count(header)} frames need {size / 2**30:.1f} GiB, and an uncompressed "
            "DICOM file holds 4; enlarge parts of it"
        )
    import pydicom

    with warnings.catch_warnings():
        # They quote the values of fields.
        warnings.simplefilter("ignore")
        with _damage_named(name):
            dataset: Dataset = pydicom.dcmread(source, stop_before_pixels=True)
            scale_geometry(dataset, upscaler.scale, name)
            notes = _describe(dataset, upscaler)
        frames = _Frames(upscaler, header, source, report)
        # Pixels go to the disk frame by frame, and from there into the file.
        with replacing(target) as partial, tempfile.TemporaryFile(dir=partial.parent) as pixels:
            for stored in frames:
                pixels.write(stored)
            if pixels.tell() % 2:
                pixels.write(b"\0")
            pixels.seek(0)
            with _damage_named(name):
                _describe_pixels(dataset, frames)
                if deidentifier is not None:
                    dataset = deidentifier.apply(dataset)
                dataset.PixelData = pixels
                dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
                pydicom.dcmwrite(partial, dataset, enforce_file_format=True)
    return Enlarged(frames.before, frames.after, frame_count(header), notes)


@contextlib.contextmanager
def _damage_named(source: str) -> Iterator[None]:
    """Turn what pydicom raises on damaged fields into a message, which does not quote them."""
    try:
        yield
    except (InputError, OSError):
        raise
    except Exception as error:  # they are of many types
        raise InputError(f"{source}: its fields cannot be used ({type(error).__name__}); it may be damaged") from error


def _pixel_bytes(header: "Dataset", scale: int) -> int:
    """Length of the enlarged pixel data; of palettes, which have 8 or 16 bits, the larger."""
    palette = header.PhotometricInterpretation == "PALETTE COLOR"
    samples = 3 if palette else header.SamplesPerPixel
    sample_bytes = 2 if palette or header.BitsStored > 8 else 1
    return frame_count(header) * header.Rows * header.Columns * scale**2 * samples * sample_bytes


class _Frames:
    """Enlarged frames as bytes, made one at a time.

    Attributes:
        bits: Bits Stored of the result.
        before, after: the first frame, (h, w, 1 or 3) in the order RGB; after iteration.
    """

    def __init__(self, upscaler: Upscaler, header: "Dataset", source: Path, report: Report) -> None:
        self.upscaler, self.header, self.source, self.report = upscaler, header, source, report

    def __iter__(self) -> Iterator[bytes]:
        count = frame_count(self.header)
        for number, image in read_frames(self.source, self.header, str(self.source)):
            before = np.ascontiguousarray(image[..., ::-1])
            after = self.upscaler(before)
            if number == 1:
                self.before, self.after = before, after
                palette = self.header.PhotometricInterpretation == "PALETTE COLOR"
                self.bits = 8 * after.itemsize if palette else self.header.BitsStored
            self.report(number, count)
            yield self._stored(after).tobytes()

    def _stored(self, image: np.ndarray) -> np.ndarray:
        """The inverse of what `read_frames` does to stored values, little endian."""
        white = np.iinfo(image.dtype).max
        if self.header.PhotometricInterpretation == "MONOCHROME1":
            image = white - image
        if self.bits < 8 * image.itemsize:
            image = np.rint(image * (((1 << self.bits) - 1) / white)).astype(image.dtype)
        return image.astype(image.dtype.newbyteorder("<"))


def _describe(dataset: "Dataset", upscaler: Upscaler) -> tuple[str, ...]:
    """Say that the file is derived, from what and how (General Image and SOP Common modules); returns notes."""
    from pydicom import Dataset
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    from basicsr_m2trans import __version__

    image_type = list(dataset.get("ImageType") or [])
    dataset.ImageType = ["DERIVED", *(image_type[1:] or ["SECONDARY"])]
    description = f"Enlarged x{upscaler.scale} by {upscaler.name}, basicsr_m2trans {__version__}; {DISCLAIMER}"
    # The file's character set may hold no others.
    dataset.DerivationDescription = description.encode("ascii", "replace").decode()
    dataset.DerivationCodeSequence = [_code(codes.DCM.SpatialResampling)]
    origin = Dataset()
    origin.ReferencedSOPClassUID, origin.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    origin.PurposeOfReferenceCodeSequence = [_code(codes.DCM.SourceImageForImageProcessingOperation)]
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
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _describe_pixels(dataset: "Dataset", frames: _Frames) -> None:
    """The Image Pixel module of the enlarged frames."""
    samples = frames.after.shape[2]
    for keyword in [
        *("PlanarConfiguration", "SmallestImagePixelValue", "LargestImagePixelValue", "PixelDataProviderURL"),
        *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
        *(element.keyword for element in dataset.group_dataset(0x0028) if "PaletteColorLookupTable" in element.keyword),
    ]:
        if keyword in dataset:
            del dataset[keyword]
    dataset.SamplesPerPixel = samples
    if samples == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * frames.after.itemsize, frames.bits, frames.bits - 1
