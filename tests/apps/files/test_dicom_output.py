import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_color_lut, pixel_array

from basicsr_m2trans.apps.files import dicom_output
from basicsr_m2trans.data.dicom import read_frames, read_header, scan_region
from basicsr_m2trans.utils.errors import InputError


def stored(path):
    return pydicom.dcmread(path).pixel_array


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out/a.dcm"


def test_frames_geometry_and_provenance(
    make_dicom, repeat, repeated, noise, target, upscale_image, make_dicom_file
):
    frames = noise(3, 20, 31, 3)
    file = make_dicom_file(repeat, make_dicom(frames), target)
    upscaled = upscale_image(repeat, file)
    result = pydicom.dcmread(target)
    assert np.array_equal(result.pixel_array, [repeated(frame) for frame in frames])
    assert (result.Rows, result.Columns, result.NumberOfFrames) == (40, 62, 3)
    assert (result.FrameTime, result.FrameIncrementPointer) == (40, (0x0018, 0x1063))
    assert result.PixelSpacing == [0.1, 0.1]
    assert result.SequenceOfUltrasoundRegions[0].PhysicalDeltaX == 0.01
    assert scan_region(read_header(target, "x"), "x") == np.s_[4:40, 4:62]
    assert result.ImageType == ["DERIVED", "PRIMARY", "", "0011"]
    assert "x2" in result.DerivationDescription
    assert "Repeat" in result.DerivationDescription
    assert result.DerivationDescription.endswith("research use, not for diagnosis")
    assert result.SOPInstanceUID == result.file_meta.MediaStorageSOPInstanceUID != "1.2.3"
    assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3"
    assert (result.PatientName, result.StudyInstanceUID, result.SeriesInstanceUID) == (
        "DOE^JANE",
        "1.2.4",
        "1.2.5",
    )
    assert (file.total, file.notes) == (3, ())
    assert np.array_equal([frame.pixels for frame in upscaled], frames)
    assert [path.name for path in target.parent.iterdir()] == ["a.dcm"]


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_12_stored_bits_stay(
    make_dicom, repeat, repeated, noise, target, upscale_image, make_dicom_file, kind
):
    frames = noise(1, 5, 3, dtype=np.uint16) >> 4
    source = make_dicom(
        frames, BitsStored=12, HighBit=11, PhotometricInterpretation=kind, WindowCenter=2000
    )
    upscale_image(repeat, make_dicom_file(repeat, source, target))
    result = pydicom.dcmread(target)
    assert np.array_equal(result.pixel_array.reshape(10, 6), repeated(frames[0]))
    assert (result.BitsAllocated, result.BitsStored, result.HighBit) == (16, 12, 11)
    assert (result.PhotometricInterpretation, result.WindowCenter) == (kind, 2000)


def test_an_odd_number_of_bytes_is_padded(
    make_dicom, noise, target, upscale_image, make_dicom_file, bicubic
):
    upscale_image(bicubic, make_dicom_file(bicubic, make_dicom(noise(1, 5, 3)), target))
    assert len(pydicom.dcmread(target).PixelData) == 9 * 15 + 1


def test_palettes_become_rgb(repeat, repeated, target, upscale_image, make_dicom_file):
    source = get_testdata_file("examples_palette.dcm", download=False)
    upscale_image(repeat, make_dicom_file(repeat, source, target))
    result, original = pydicom.dcmread(target), pydicom.dcmread(source)
    assert not [element for element in result.group_dataset(0x0028) if "Palette" in element.name]
    assert (result.PhotometricInterpretation, result.SamplesPerPixel, result.BitsAllocated) == (
        "RGB",
        3,
        8,
    )
    colours = apply_color_lut(original.pixel_array, original) >> 8
    assert np.array_equal(result.pixel_array, repeated(colours))


@pytest.mark.parametrize(
    "name", ["examples_rgb_color.dcm", "examples_jpeg2k.dcm", "ExplVR_BigEnd.dcm"]
)
def test_sample_files(repeat, repeated, target, upscale_image, make_dicom_file, name):
    source = get_testdata_file(name, download=False)
    upscale_image(repeat, make_dicom_file(repeat, source, target))
    assert np.array_equal(stored(target), repeated(pixel_array(source)))
    assert pydicom.dcmread(target).file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian


def test_a_loop_in_jpeg(repeat, repeated, target, upscale_image, make_dicom_file):
    source = get_testdata_file("examples_ybr_color.dcm", download=False)
    upscale_image(repeat, make_dicom_file(repeat, source, target))
    last = dict(read_frames(source, read_header(source, "x"), "x"))[30]
    assert np.array_equal(stored(target)[29], repeated(last)[..., ::-1])
    old, new = pydicom.dcmread(source), pydicom.dcmread(target)
    assert new.FrameTime == old.FrameTime
    ratio = (
        old.SequenceOfUltrasoundRegions[0].PhysicalDeltaX
        / new.SequenceOfUltrasoundRegions[0].PhysicalDeltaX
    )
    assert ratio == pytest.approx(2)


def test_overlays_are_left_out_and_noted(
    make_dicom, repeat, noise, target, upscale_image, make_dicom_file
):
    source = make_dicom(noise(1, 4, 4))
    dataset = pydicom.dcmread(source)
    dataset.add_new(0x60000010, "US", 4)
    dataset.add_new(0x60003000, "OW", b"\0\0")
    dataset.save_as(source)
    file = make_dicom_file(repeat, source, target)
    upscale_image(repeat, file)
    assert "overlays" in file.notes[0]
    assert not pydicom.dcmread(target).group_dataset(0x6000)


def test_results_that_fit_no_file_are_refused_at_once(
    make_dicom, repeat, noise, target, upscale_image, make_dicom_file, monkeypatch
):
    monkeypatch.setattr(dicom_output, "LARGEST_PIXEL_DATA", 4 * 3 * 16 - 1)
    with pytest.raises(InputError, match=r"its 3 frames need 0.0 GiB"):
        upscale_image(repeat, make_dicom_file(repeat, make_dicom(noise(3, 4, 4)), target))
    assert not target.exists()


def test_damaged_pixels_leave_nothing(
    make_dicom, repeat, noise, target, upscale_image, make_dicom_file
):
    source = make_dicom(noise(2, 30, 30))
    source.write_bytes(source.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be decoded"):
        upscale_image(repeat, make_dicom_file(repeat, source, target))
    assert not list(target.parent.glob("*"))
