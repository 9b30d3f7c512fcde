import numpy as np
import pytest

from basicsr_m2trans.apps.preparation.prepare_sources import SourceFile, find_sources
from basicsr_m2trans.data.dicom import anonymous_name
from basicsr_m2trans.utils.errors import InputError


def test_keys_hold_the_paths_of_image_files_only(hr, make_dicom_image):
    scan = make_dicom_image(np.zeros((30, 40), np.uint8))
    name = anonymous_name(scan)
    (hr / "DOE").mkdir()
    scan.rename(hr / "DOE" / "1.2.840")
    (hr / "grey.bmp").rename(hr / "DOE" / "left kidney.bmp")
    (hr / "notes.txt").write_text("no image")
    sources, copies = find_sources(hr)
    assert copies == []
    assert sources[name] == SourceFile("DOE/1.2.840", name, True)
    assert sources["DOE/left kidney.bmp"] == SourceFile(
        "DOE/left kidney.bmp", "DOE_left_kidney-95da2e1d", False
    )
    assert len(sources) == 5


def test_equal_names_are_refused_and_equal_dicom_files_are_passed_over(
    hr, make_dicom_image, save_image, random_image
):
    scan = make_dicom_image(np.zeros((30, 40), np.uint8))
    for name in ("a.dcm", "b.dcm"):
        (hr / name).write_bytes(scan.read_bytes())
    sources, copies = find_sources(hr)
    assert copies == [f"{hr}/b.dcm: is a copy of {hr}/a.dcm"]
    assert len(sources) == 5
    save_image(hr / "grey.png", random_image(24, 24))
    with pytest.raises(InputError, match=r"grey\.bmp and grey\.png would both be called grey"):
        find_sources(hr)
