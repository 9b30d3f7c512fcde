"""Upscalers whose results are known, and small files."""

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image, ImageCms
from pydicom.uid import ExplicitVRLittleEndian

from basicsr_m2trans.archs import Bicubic
from basicsr_m2trans.inference.dicom_output import DicomFile
from basicsr_m2trans.inference.outputs import EnlargedFrame
from basicsr_m2trans.inference.upscaler import Upscaler


class Repeat(torch.nn.Module):
    """Makes s x s equal pixels of each."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


@pytest.fixture
def repeat():
    """An upscaler whose network repeats each pixel 2 x 2 times."""
    return Upscaler(Repeat(2), 2, colour="rgb", device="cpu")


@pytest.fixture
def bicubic():
    """An upscaler whose network is bicubic interpolation, x3."""
    return Upscaler(Bicubic(3), 3, device="cpu")


@pytest.fixture
def repeated():
    """What `repeat` makes of the picture, alpha excepted."""
    return lambda pixels: pixels.repeat(2, axis=0).repeat(2, axis=1)


@pytest.fixture
def noise():
    rng = np.random.default_rng(0)
    return lambda *shape, dtype=np.uint8: rng.integers(
        0, np.iinfo(dtype).max, shape, dtype, endpoint=True
    )


@pytest.fixture
def enlarge():
    """Reads, enlarges and writes a file frame by frame; returns the frames, before and after."""

    def enlarge(upscaler, file):
        frames = []

        def enlarged():
            for frame in file.read():
                frames.append(EnlargedFrame(frame.pixels, upscaler(frame.pixels), frame.context))
                yield frames[-1]

        try:
            file.write(enlarged())
        finally:
            file.close()
        return frames

    return enlarge


@pytest.fixture
def make_dicom_file():
    """A DICOM file to enlarge by an upscaler."""
    return lambda upscaler, source, target, deidentifier=None: DicomFile(
        source, target, upscaler.scale, upscaler.name, deidentifier
    )


@pytest.fixture(scope="session")
def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def scans(tmp_path, noise):
    """A folder with two images of 6 x 4 pixels, and files that are passed over."""
    for name in ("a.png", "sub/b.JPG", "sub/.hidden.png"):
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(4, 6, 3)).save(tmp_path / "scans" / name)
    (tmp_path / "scans/notes.txt").write_text("x")
    return tmp_path / "scans"


@pytest.fixture
def make_dicom(tmp_path):
    """Writes an ultrasound DICOM file of the patient Jane Doe: frames (n, h, w[, 3]), a region of
    0.02 cm pixels.
    """

    def make(frames, name="DOE_JANE.dcm", **attributes):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.3"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.4", "1.2.5"
        dataset.Modality, dataset.PatientName, dataset.PatientID = "US", "DOE^JANE", "4711"
        dataset.InstitutionName, dataset.StudyDate, dataset.ImageComments = (
            "SECRET HOSPITAL",
            "20260102",
            "Jane's",
        )
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "", "0011"]
        dataset.NumberOfFrames, dataset.FrameTime, dataset.FrameIncrementPointer = (
            len(frames),
            "40",
            (0x0018, 0x1063),
        )
        dataset.Rows, dataset.Columns = frames.shape[1:3]
        dataset.SamplesPerPixel = 3 if frames.ndim == 4 else 1
        dataset.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
        if frames.ndim == 4:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = 8 * frames.itemsize
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
        dataset.PixelSpacing = [0.2, 0.2]
        dataset.SequenceOfUltrasoundRegions = [make_region(dataset.Rows, dataset.Columns)]
        dataset.PixelData = frames.tobytes() + b"\0" * (frames.nbytes % 2)
        dataset["PixelData"].VR = "OB" if frames.itemsize == 1 else "OW"
        for key, value in attributes.items():
            setattr(dataset, key, value)
        dataset.private_block(0x0011, "MAKER", create=True).add_new(1, "LO", "private DOE")
        pydicom.dcmwrite(tmp_path / name, dataset, enforce_file_format=True)
        return tmp_path / name

    return make


def make_region(rows, columns):
    """All but the first two rows and columns of a frame; its reference pixel is at (3, 1) of the
    region.
    """
    region = pydicom.Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 2
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = columns - 1, rows - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    region.ReferencePixelX0, region.ReferencePixelY0 = 3, 1
    region.ReferencePixelPhysicalValueX, region.ReferencePixelPhysicalValueY = 0.5, 0.0
    return region
