"""Small image folders for the tests of the data room."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from basicsr_m2trans.data.captions import write_captions
from basicsr_m2trans.data.images import encode_png
from basicsr_m2trans.data.lmdb_store import write_lmdb

SaveImage = Callable[[Path, np.ndarray], np.ndarray]


@pytest.fixture
def save_image() -> SaveImage:
    """Writes an image (h, w[, c], OpenCV's channel order) to a file of any format,
    and returns it.
    """

    def save(path: Path, image: np.ndarray) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
        return image

    return save


@pytest.fixture
def random_image() -> Callable[..., np.ndarray]:
    """Noise images, the same in every run."""
    rng = np.random.default_rng(0)

    def make(*shape: int, dtype: type = np.uint8) -> np.ndarray:
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)

    return make


@pytest.fixture
def make_dicom(tmp_path):
    """Writes a grey ultrasound DICOM file of the patient Jane Doe with the attributes given, and
    returns its path.
    """

    def make(pixels, name="a.dcm", regions=(), **attributes):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
            "1.2.840.10008.5.1.4.1.1.6.1"
        )
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.Modality, dataset.PatientName = "US", "DOE^JANE"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = (
            1,
            "MONOCHROME2",
            0,
        )
        dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelData = pixels.tobytes()
        for key, value in attributes.items():
            setattr(dataset, key, value)
        if regions:
            dataset.SequenceOfUltrasoundRegions = [make_region(*region) for region in regions]
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name

    return make


def make_region(spatial_format, data_type, left, top, right, bottom):
    region = pydicom.Dataset()
    region.RegionSpatialFormat, region.RegionDataType = spatial_format, data_type
    region.RegionLocationMinX0, region.RegionLocationMinY0 = left, top
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = right, bottom
    return region


@pytest.fixture
def hr(tmp_path, save_image, random_image):
    """A folder of four HR images: three of 40 x 30 in colour and a grey one of 24 x 24."""
    for number in range(3):
        save_image(tmp_path / "hr" / f"{number:04d}.png", random_image(30, 40, 3))
    save_image(tmp_path / "hr" / "grey.bmp", random_image(24, 24))
    return tmp_path / "hr"


@pytest.fixture
def enlarge():
    """Repeats every pixel in a block of 2 x 2, so that the alignment of HR and LR can
    be read off.
    """
    return lambda lq: lq.repeat(2, axis=0).repeat(2, axis=1)


@pytest.fixture
def images(random_image):
    """Six LR images of 20 x 16 by name, whose blue channel is the image's number throughout."""
    images = {f"{number:04d}": random_image(16, 20, 3) for number in range(6)}
    for number, image in enumerate(images.values()):
        image[..., 0] = number
    return images


@pytest.fixture
def disk(tmp_path, images, save_image, enlarge):
    """Options of a data set of `images` and their enlargements in image files, with captions `image
    <number>`.
    """
    for name, lq in images.items():
        save_image(tmp_path / "gt" / f"{name}.png", enlarge(lq))
        save_image(tmp_path / "lq" / f"{name}x2.png", lq)
    write_captions(tmp_path / "captions.csv", {name: f"image {int(name)}" for name in images})
    return {
        "name": "tiny",
        "dataroot_gt": str(tmp_path / "gt"),
        "dataroot_lq": str(tmp_path / "lq"),
        "filename_tmpl": "{}x2",
        "io_backend": {"type": "disk"},
        "scale": 2,
        "phase": "train",
        "gt_size": 16,
        "use_hflip": True,
        "use_rot": True,
        "captions": str(tmp_path / "captions.csv"),
        "seed": 5,
    }


@pytest.fixture
def lmdb(tmp_path, images, disk, enlarge):
    """Options of the same data set in LMDB folders."""
    write_lmdb(
        tmp_path / "gt.lmdb",
        ((k, encode_png(enlarge(v)), enlarge(v).shape) for k, v in images.items()),
    )
    write_lmdb(tmp_path / "lq.lmdb", ((k, encode_png(v), v.shape) for k, v in images.items()))
    return disk | {
        "dataroot_gt": str(tmp_path / "gt.lmdb"),
        "dataroot_lq": str(tmp_path / "lq.lmdb"),
        "io_backend": {"type": "lmdb"},
    }


@pytest.fixture
def raw_lmdb(tmp_path, images, lmdb, enlarge):
    """Options of the same data set in LMDB folders of raw pixels."""
    write_lmdb(
        tmp_path / "gt.raw_lmdb", ((k, enlarge(v), enlarge(v).shape) for k, v in images.items())
    )
    write_lmdb(tmp_path / "lq.raw_lmdb", ((k, v, v.shape) for k, v in images.items()))
    return lmdb | {
        "dataroot_gt": str(tmp_path / "gt.raw_lmdb"),
        "dataroot_lq": str(tmp_path / "lq.raw_lmdb"),
    }
