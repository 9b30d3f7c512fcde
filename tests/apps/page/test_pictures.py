from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from basicsr_m2trans.apps.page import pictures
from basicsr_m2trans.apps.page.pictures import (
    MAX_PIXELS,
    available_upscalers,
    read_picture,
    upscale_picture,
)
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.data.images import read_image
from basicsr_m2trans.utils.errors import InputError

SETTINGS = {"upscale": 2, "num_feat": 8, "num_block": 1}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.pth"
    torch.save(
        {"params": M2Trans(**SETTINGS).state_dict(), "network_g": {"type": "M2Trans"} | SETTINGS},
        path,
    )
    return path


@pytest.fixture
def scan(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "scan.png"
    cv2.imwrite(str(path), rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    return path


def test_networks_to_choose_from(checkpoint, tmp_path):
    upscalers = available_upscalers([checkpoint])
    assert list(upscalers) == ["M2Trans x2 (tiny.pth)", "Bicubic x2", "Bicubic x3", "Bicubic x4"]
    assert [upscaler.scale for upscaler in upscalers.values()] == [2, 2, 3, 4]
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy/tiny.pth"
    copy.write_bytes(checkpoint.read_bytes())
    with pytest.raises(InputError, match="two files have one name"):
        available_upscalers([checkpoint, copy])


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_both_results_and_their_depth(checkpoint, tmp_path, dtype, white):
    # Blue to the left, red to the right: the channels must come out in the order in which they went
    # in.
    image = np.zeros((40, 48, 3), dtype)
    image[:, :24, 0] = image[:, 24:, 2] = white
    cv2.imwrite(str(tmp_path / "scan.tif"), image)
    upscaler = available_upscalers([checkpoint])["M2Trans x2 (tiny.pth)"]
    result = upscale_picture(upscaler, tmp_path / "scan.tif", tmp_path)
    before, after = read_image(result.before), read_image(result.after)
    assert (result.before.name, result.after.name) == ("scan_bicubic_x2.png", "scan_x2.png")
    assert before.shape == after.shape == (80, 96, 3)
    assert before.dtype == after.dtype == dtype
    assert before[40, 20].tolist() == [white, 0, 0]
    assert before[40, 76].tolist() == [0, 0, white]
    expected = upscaler(np.ascontiguousarray(image[..., ::-1]))[..., ::-1]
    assert np.array_equal(after, expected)
    assert result.report.startswith("48 x 40 → 96 x 80 pixels, M2Trans x2 (tiny.pth), ")
    assert result.report.endswith("s. Research use, not for diagnosis.")


def test_metrics_against_a_reference(tmp_path, scan):
    upscaler = available_upscalers([])["Bicubic x2"]
    truth = tmp_path / "truth.png"
    cv2.imwrite(str(truth), read_image(upscale_picture(upscaler, scan, tmp_path).before))
    report = upscale_picture(upscaler, scan, tmp_path, truth).report
    assert "| Bicubic | inf | 1.0000 | 1.0000 | 0.0000 |" in report
    with pytest.raises(
        InputError, match=r"has 32 x 24 pixels\. It must be 2 times as large as the image: 64 x 48"
    ):
        upscale_picture(upscaler, scan, tmp_path, scan)


def test_frames_of_a_dicom_file():
    pydicom_data = pytest.importorskip("pydicom.data", reason="the extra `dicom` is not installed")
    path = Path(pydicom_data.get_testdata_file("examples_ybr_color.dcm"))
    frames = [read_picture(path, MAX_PIXELS, frame) for frame in (1, 30)]
    assert frames[0].shape == frames[1].shape == (240, 320, 3)
    assert not np.array_equal(*frames)
    with pytest.raises(
        InputError, match=r"examples_ybr_color\.dcm has the frames 1 to 30; there is no frame 31"
    ):
        read_picture(path, MAX_PIXELS, 31)


def test_wrong_and_large_files(tmp_path, scan, monkeypatch):
    text = tmp_path / "notes.png"
    text.write_text("no image")
    with pytest.raises(InputError, match=r"^notes\.png: cannot be read as an image"):
        read_picture(text, MAX_PIXELS)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
    with pytest.raises(
        InputError, match=r"scan\.png has 32 x 24 pixels; this page takes up to 100 pixels"
    ):
        upscale_picture(available_upscalers([])["Bicubic x2"], scan, tmp_path)
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"^scan\.png: cannot be read as an image .*exceeds limit"):
        read_picture(scan, MAX_PIXELS)


def test_nothing_is_written_for_a_page_that_is_closed(tmp_path, scan):
    with pytest.raises(OSError, match="closed_session"):
        upscale_picture(available_upscalers([])["Bicubic x2"], scan, tmp_path / "closed_session")
    assert not (tmp_path / "closed_session").exists()
