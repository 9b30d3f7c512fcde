import sys
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array

from basicsr_m2trans.data.dicom import (
    anonymous_name,
    frame_count,
    is_dicom_file,
    read_frames,
    read_header,
    scan_region,
)
from basicsr_m2trans.utils.errors import InputError


def sample(name):
    return get_testdata_file(name, download=False)


def frames_of(path, step=1):
    return dict(read_frames(path, read_header(path, "x"), "x", step))


def test_rgb():
    path = sample("examples_rgb_color.dcm")
    image = frames_of(path)[1]
    assert np.array_equal(image, pydicom.dcmread(path).pixel_array[..., ::-1])
    assert (image.dtype, image.shape) == (np.uint8, (240, 320, 3))


def test_big_endian_with_separate_planes():
    image = frames_of(sample("ExplVR_BigEnd.dcm"))[1]
    assert image.shape == (60, 80, 3)
    planes = np.frombuffer(
        pydicom.dcmread(sample("ExplVR_BigEnd.dcm")).PixelData, np.uint8
    ).reshape(3, 60, 80)
    assert np.array_equal(image, planes.transpose(1, 2, 0)[..., ::-1])


def test_jpeg_2000_is_the_rgb_of_the_uncompressed_file():
    image = frames_of(sample("examples_jpeg2k.dcm"))[1]
    assert (image.dtype, image.shape) == (np.uint8, (480, 640, 3))
    assert np.array_equal(image, pixel_array(sample("examples_jpeg2k.dcm"))[..., ::-1])


def test_ybr_becomes_rgb_frame_by_frame():
    path = sample("examples_ybr_color.dcm")
    assert frame_count(read_header(path, "x")) == 30
    frames = frames_of(path, step=7)
    assert list(frames) == [1, 8, 15, 22, 29]
    stored = pixel_array(path, raw=True).astype(float)  # Y, Cb, Cr
    y, cb, cr = (stored[7, ..., channel] for channel in range(3))
    rgb = np.stack(
        [
            y + 1.402 * (cr - 128),
            y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128),
            y + 1.772 * (cb - 128),
        ]
    )
    expected = np.clip(rgb, 0, 255).transpose(1, 2, 0)[..., ::-1]
    assert np.abs(frames[8] - expected).max() <= 1


def test_palette_of_16_bits_with_8_bit_colours():
    image = frames_of(sample("examples_palette.dcm"))[1]
    assert (image.dtype, image.shape) == (np.uint8, (350, 800, 3))
    header = pydicom.dcmread(sample("examples_palette.dcm"))
    red = np.frombuffer(header.RedPaletteColorLookupTableData, "<u2")
    assert np.array_equal(image[..., 2], red[header.pixel_array] >> 8)
    assert image.max() == 255


def test_jpeg_lossless_and_jpeg_ls_have_decoders(tmp_path):
    for name in ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jls_lossy_line.dcm"):
        dataset = pydicom.dcmread(sample(name))
        dataset.Modality = "US"
        dataset.save_as(tmp_path / "a.dcm")
        assert frames_of(tmp_path / "a.dcm")[1].shape == (100, 100, 3)


def test_stored_bits_are_scaled_to_the_full_range(make_dicom_image):
    pixels = np.array([[0, 1, 2048, 4095]], np.uint16)
    path = make_dicom_image(pixels, BitsStored=12, HighBit=11)
    image = frames_of(path)[1]
    assert image.dtype == np.uint16
    assert image[..., 0].tolist() == [[0, 16, 32776, 65535]]
    inverted = frames_of(
        make_dicom_image(pixels, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    )[1]
    assert np.array_equal(inverted, 65535 - image)


def test_the_region_is_the_largest_of_tissue(make_dicom_image):
    regions = [
        (1, 2, 0, 0, 39, 29),
        (1, 1, 4, 2, 13, 11),
        (1, 1, 5, 3, 25, 22),
        (3, 3, 0, 0, 39, 29),
    ]
    header = read_header(make_dicom_image(np.zeros((30, 40), np.uint8), regions=regions), "x")
    assert scan_region(header, "x") == np.s_[3:23, 5:26]
    del header.SequenceOfUltrasoundRegions[1:3]
    assert scan_region(header, "x") == np.s_[0:30, 0:40]  # colour flow, but two-dimensional
    del header.SequenceOfUltrasoundRegions[0]
    with pytest.raises(InputError, match="x: has no two-dimensional region"):
        scan_region(header, "x")


def test_an_edge_behind_the_last_pixel_is_accepted(make_dicom_image):
    header = read_header(
        make_dicom_image(np.zeros((30, 40), np.uint8), regions=[(1, 1, 10, 0, 40, 30)]), "x"
    )
    assert scan_region(header, "x") == np.s_[0:30, 10:40]


@pytest.mark.parametrize("name", ["examples_ybr_color.dcm", "examples_palette.dcm"])
def test_regions_of_another_size_are_refused(name):
    with pytest.raises(
        InputError, match=r"x: its region .* does not lie in its frame of \d+ x \d+"
    ):
        scan_region(read_header(sample(name), "x"), "x")


def test_a_region_without_a_location_is_refused(make_dicom_image):
    header = read_header(
        make_dicom_image(np.zeros((30, 40), np.uint8), regions=[(1, 1, 0, 0, 9, 9)]), "x"
    )
    del header.SequenceOfUltrasoundRegions[0].RegionLocationMaxX1
    with pytest.raises(InputError, match="does not lie in its frame"):
        scan_region(header, "x")


def test_without_regions_the_frame_is_whole_unless_text_is_burnt_in(make_dicom_image):
    pixels = np.zeros((30, 40), np.uint8)
    assert scan_region(read_header(make_dicom_image(pixels), "x"), "x") is None
    with pytest.raises(InputError, match="x: says that text is burnt into its pixels"):
        scan_region(read_header(make_dicom_image(pixels, BurnedInAnnotation="YES"), "x"), "x")


def test_patient_fields_are_not_read(make_dicom_image):
    header = read_header(make_dicom_image(np.zeros((30, 40), np.uint8)), "x")
    assert header.Rows == 30
    assert "PatientName" not in header
    assert "DOE" not in str(header)


def test_files_that_are_no_ultrasound_are_refused(make_dicom_image, tmp_path):
    pixels = np.zeros((30, 40), np.uint8)
    with pytest.raises(InputError, match="x: is no ultrasound image: its modality is CT"):
        read_header(sample("CT_small.dcm"), "x")
    with pytest.raises(InputError, match="x: has signed or 8-bit pixels"):
        read_header(make_dicom_image(pixels, PixelRepresentation=1), "x")
    with pytest.raises(InputError, match="x: has pixels of the kind HSV"):
        read_header(make_dicom_image(pixels, PhotometricInterpretation="HSV"), "x")
    (tmp_path / "text.dcm").write_text("not DICOM")
    with pytest.raises(InputError, match=r"x: cannot be read as DICOM \(InvalidDicomError\)"):
        read_header(tmp_path / "text.dcm", "x")


def test_damaged_numbers_are_named(make_dicom_image):
    path = make_dicom_image(np.zeros((30, 40), np.uint8), NumberOfFrames="77")
    path.write_bytes(path.read_bytes().replace(b"77", b"\x012"))
    with pytest.raises(
        InputError, match=r"x: cannot be read as DICOM \(ValueError\); it may be damaged"
    ):
        read_header(path, "x")
    with pytest.raises(InputError, match="x: says that it has -3 frames"):
        read_header(make_dicom_image(np.zeros((30, 40), np.uint8), NumberOfFrames="-3"), "x")


def test_damaged_pixels_are_named(make_dicom_image):
    path = make_dicom_image(np.zeros((30, 40), np.uint8))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="x: frame 1 cannot be decoded"):
        frames_of(path)


def test_a_file_that_is_gone_is_not_named_by_its_path(make_dicom_image):
    path = make_dicom_image(np.zeros((30, 40), np.uint8), name="DOE_JANE.dcm")
    header = read_header(path, "x")
    path.unlink()
    with pytest.raises(
        InputError, match=r"x: frame 1 cannot be decoded \(FileNotFoundError: No such"
    ) as caught:
        list(read_frames(path, header, "x"))
    assert "DOE" not in str(caught.value)


def test_a_missing_decoder_is_named(monkeypatch):
    from pydicom.pixels.decoders import JPEGBaseline8BitDecoder

    monkeypatch.setattr(JPEGBaseline8BitDecoder, "_available", {})
    with pytest.raises(
        InputError, match=r"x: .*JPEG Baseline.*install a decoder with `pip install python-gdcm`"
    ):
        frames_of(sample("examples_ybr_color.dcm"))


def test_a_missing_library_is_named(make_dicom_image, monkeypatch):
    path = make_dicom_image(np.zeros((30, 40), np.uint8))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        InputError, match=r"x: reading DICOM needs pydicom; install it with `pip install pydicom`"
    ):
        read_header(path, "x")


def test_reading_warns_of_nothing(make_dicom_image):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = make_dicom_image(np.zeros((30, 40), np.uint8), PatientBirthDate="not a date")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(frames_of(path)) == 1


def test_dicom_files_are_known_by_extension_or_signature(make_dicom_image, tmp_path):
    path = make_dicom_image(np.zeros((30, 40), np.uint8), name="1.2.840.17")
    assert is_dicom_file(path)
    (tmp_path / "text.DCM").write_text("x")
    (tmp_path / "short").write_text("x")
    (tmp_path / "image.png").write_bytes(path.read_bytes())
    assert [
        is_dicom_file(tmp_path / name) for name in ("text.DCM", "short", "image.png", "none.dcm")
    ] == [
        True,
        False,
        False,
        False,
    ]


def test_names_depend_on_the_content_alone(make_dicom_image, tmp_path):
    path = make_dicom_image(np.zeros((30, 40), np.uint8), name="DOE_JANE.dcm")
    name = anonymous_name(path)
    path.rename(tmp_path / "other")
    assert anonymous_name(tmp_path / "other") == name
    assert anonymous_name(make_dicom_image(np.ones((30, 40), np.uint8))) != name
    assert len(name) == 19
    assert name.startswith("us_")
