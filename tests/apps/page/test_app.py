"""The page in a real browser: headless Chromium, driven by Playwright."""

import os
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from basicsr_m2trans.apps.page import app
from basicsr_m2trans.apps.page.pictures import available_upscalers
from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.data.images import read_image
from basicsr_m2trans.utils.errors import InputError

pytest.importorskip("gradio", reason="the extra `page` is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)"),
]
SETTINGS = {"upscale": 2, "num_feat": 8, "num_block": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint, a phantom as the reference, the small image, and a file that is no image."""
    folder = tmp_path_factory.mktemp("page")
    torch.manual_seed(0)
    torch.save(
        {"params": M2Trans(**SETTINGS).state_dict(), "network_g": {"type": "M2Trans"} | SETTINGS},
        folder / "tiny.pth",
    )
    write_phantoms(folder, 1, height=192, width=256)
    (truth,) = folder.glob("*.png")
    (folder / "truth").mkdir()
    truth = truth.rename(folder / "truth/scan.png")  # pairs of files often share their name
    cv2.imwrite(
        str(folder / "scan.png"),
        cv2.resize(read_image(truth), (128, 96), interpolation=cv2.INTER_AREA),
    )
    (folder / "notes.txt").write_text("no image")
    (folder / "large.png").write_bytes(bytes(300_000))
    return folder


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # Chromium's sandbox does not work for root, and containers often have nothing but root.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(files):
    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", "restored at the end")
    patch.setattr(app, "MAX_FILE_SIZE", "200kb")
    with app.running_page(available_upscalers([files / "tiny.pth"]), port=None) as address:
        yield address
    patch.undo()


@pytest.fixture
def page(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 960})
    page.set_default_timeout(120_000)
    page.requested = []
    page.on("request", lambda request: page.requested.append(request.url))
    page.goto(address)
    page.wait_for_selector("#upscale")
    yield page
    page.close()


def upload(page, component, path):
    page.set_input_files(f"{component} input[type=file]", path)
    # The link appears when the server has the file.
    page.wait_for_selector(f"{component} a[href*='/session_'][download='{path.name}']")


def upscale_image(page):
    page.click("#upscale")
    page.wait_for_function("document.querySelectorAll('#comparison img').length === 2")
    page.wait_for_function(
        "[...document.querySelectorAll('#comparison img')].every(image => image.naturalWidth)"
    )


def error_message(page):
    return page.wait_for_selector("[data-testid='toast-body']").inner_text()


def kept_files():
    """What the server has on disk: names of files that are not empty."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def test_upload_upscale_compare_download_and_forget(page, files, tmp_path):
    upload(page, "#source", files / "scan.png")
    upload(page, "#reference", files / "truth/scan.png")
    upscale_image(page)
    report = page.inner_text("#report")
    assert "128 x 96 → 256 x 192 pixels, M2Trans x2 (tiny.pth)" in report
    assert "Research use, not for diagnosis." in report
    assert page.locator("#report tbody tr").count() == 2
    assert page.locator("#report th").all_inner_texts()[1:] == ["PSNR (dB)", "SSIM", "FSIM", "GMSD"]

    with page.expect_download() as download:
        page.click("#download a")
    download.value.save_as(tmp_path / "out.png")
    assert download.value.suggested_filename == "scan_x2.png"
    expected = available_upscalers([files / "tiny.pth"])["M2Trans x2 (tiny.pth)"](
        read_image(files / "scan.png")
    )
    assert np.array_equal(read_image(tmp_path / "out.png"), expected)

    # The slider uncovers the result from its right side.
    image = page.locator("#comparison img").first.bounding_box()
    middle = image["y"] + image["height"] / 2

    def covered():
        return page.locator("#comparison img").nth(1).evaluate("image => image.style.clipPath")

    before = covered()
    handle = page.locator("#comparison [data-testid='slider']").bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(image["x"] + image["width"] * 0.2, middle, steps=4)
    page.mouse.up()
    assert covered() != before

    # The lens shows both images at the pointer: here a quarter from the left and the top, upscaled
    # 4 times, in the middle of 180 x 180 pixels. The picture is as high as its element and in the
    # middle of it.
    left = image["x"] + (image["width"] - image["height"] * 256 / 192) / 2
    page.mouse.move(left + image["height"] * 256 / 192 / 4, image["y"] + image["height"] / 4)
    assert page.locator("#lens").is_visible()
    styles = page.locator("#lens > div").evaluate_all(
        "halves => halves.map(({style}) => [style.backgroundImage, style.backgroundPosition])"
    )
    for name, (shown, position) in zip(("scan_bicubic_x2.png", "scan_x2.png"), styles, strict=True):
        assert name in shown
        places = [float(value.removesuffix("px")) for value in position.split()]
        assert places == pytest.approx([90 - 4 * 256 / 4, 90 - 4 * 192 / 4], abs=4)
    page.mouse.move(2, 2)
    assert not page.locator("#lens").is_visible()

    assert {"scan.png", "scan_x2.png", "scan_bicubic_x2.png"} <= set(kept_files())
    assert [
        url for url in page.requested if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))
    ] == []
    page.close()
    deadline = time.monotonic() + 120
    while kept_files() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert kept_files() == []


def test_the_models_follow_the_scale(page, files):
    page.locator("#scale label", has_text="3").click()
    page.wait_for_function("document.querySelector('#model input').value === 'Bicubic x3'")
    upload(page, "#source", files / "scan.png")
    upscale_image(page)
    assert "128 x 96 → 384 x 288 pixels, Bicubic x3" in page.inner_text("#report")


def test_wrong_files_are_answered(page, files):
    page.click("#upscale")
    assert "Drop an image first." in error_message(page)
    page.locator("[data-testid='toast-body'] button").first.click()
    upload(page, "#source", files / "notes.txt")
    page.click("#upscale")
    page.wait_for_function(
        "document.body.innerText.includes('notes.txt: cannot be read as an image')"
    )
    assert str(files) not in page.inner_text("body")
    assert "/session_" not in page.inner_text("body")


def test_a_reference_of_another_size_is_answered(page, files):
    upload(page, "#source", files / "scan.png")
    upload(page, "#reference", files / "scan.png")
    page.click("#upscale")
    assert "The reference has 128 x 96 pixels." in error_message(page)


def test_large_files_are_answered(page, files):
    page.set_input_files("#source input[type=file]", files / "large.png")
    assert "size" in error_message(page).lower()


def test_a_port_that_is_taken_is_named(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken"),
        app.running_page(available_upscalers([]), port),
    ):
        pass


def test_the_server_leaves_nothing(files):
    with app.running_page(available_upscalers([files / "tiny.pth"]), port=None) as address:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert address.startswith("http://127.0.0.1:")
        assert folder.is_dir()
    assert not folder.exists()
