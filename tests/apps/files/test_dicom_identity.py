import numpy as np
import pydicom

from basicsr_m2trans.apps.files.dicom_identity import Deidentifier


def test_only_pixels_regions_and_timing_remain(
    make_dicom, repeat, noise, tmp_path, upscale_image, make_dicom_file
):
    source = make_dicom(noise(2, 8, 9))
    deidentifier = Deidentifier()
    for name in ("a.dcm", "b.dcm"):
        upscale_image(
            repeat, make_dicom_file(repeat, source, tmp_path / "out" / name, deidentifier)
        )
    first, second = (pydicom.dcmread(tmp_path / "out" / name) for name in ("a.dcm", "b.dcm"))
    content = (tmp_path / "out/a.dcm").read_bytes()
    for secret in (
        b"DOE",
        b"4711",
        b"SECRET",
        b"20260102",
        b"Jane",
        b"MAKER",
        b"1.2.3",
        b"1.2.4",
        b"1.2.5",
    ):
        assert secret not in content.replace(b"1.2.840", b"")
    assert len(first.DeidentificationMethod) <= 64
    assert (first.PatientName, first.PatientID, first.PatientIdentityRemoved) == ("", "", "YES")
    assert first.FrameTime == 40
    assert first.SequenceOfUltrasoundRegions[0].PhysicalDeltaX == 0.01
    assert np.array_equal(first.pixel_array, second.pixel_array)
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SourceImageSequence == second.SourceImageSequence
    assert first.SOPClassUID == "1.2.840.10008.5.1.4.1.1.3.1"


def test_free_text_about_pixels_is_removed(make_dicom, noise):
    dataset = pydicom.dcmread(make_dicom(noise(1, 4, 4), WindowCenter=2, RescaleType="US"))
    dataset.WindowCenterWidthExplanation = "as DOE likes it"
    dataset.add_new(0x00284000, "LT", "seen by DOE")  # Image Presentation Comments, retired
    kept = Deidentifier().apply(dataset)
    assert (kept.WindowCenter, kept.RescaleType) == (2, "US")
    assert "DOE" not in str(kept)


def test_another_run_cannot_be_linked(make_dicom, noise):
    path = make_dicom(noise(1, 4, 4))
    studies = {Deidentifier().apply(pydicom.dcmread(path)).StudyInstanceUID for _ in range(2)}
    assert len(studies) == 2
