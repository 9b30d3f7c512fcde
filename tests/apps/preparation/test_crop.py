import csv

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from basicsr_m2trans.apps.preparation import crop as module
from basicsr_m2trans.apps.preparation.crop import COLUMNS, crop_images
from basicsr_m2trans.data.images import read_image
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture
def smooth_image():
    """A blurred noise image, as large as the smallest crop and 100 pixels more; each call another
    one.
    """
    rng = np.random.default_rng(0)

    def make():
        return cv2.resize(
            rng.integers(0, 256, (12, 16, 3), np.uint8), (700, 548), interpolation=cv2.INTER_CUBIC
        )

    return make


@pytest.fixture
def annotate(tmp_path):
    """Writes an annotation in YOLO's format of a box in an image of 700 x 548."""

    def write(name, left, top, right, bottom):
        x, y, w, h = (
            (left + right) / 2 / 700,
            (top + bottom) / 2 / 548,
            (right - left) / 700,
            (bottom - top) / 548,
        )
        path = tmp_path / "boxes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").write(f"0 {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n")

    return write


@pytest.fixture
def crop(tmp_path):
    def run(**options):
        return crop_images(tmp_path / "scans", tmp_path / "out", tmp_path / "boxes", **options)

    return run


def test_crops_are_numbered_and_carry_nothing_over(tmp_path, smooth_image, annotate, crop):
    scans = tmp_path / "scans"
    (scans / "DOE").mkdir(parents=True)
    images = [smooth_image(), smooth_image()]
    text = PngImagePlugin.PngInfo()
    text.add_text("PatientName", "DOE^JANE")
    for image, name in zip(images, ("DOE/1.png", "b.png"), strict=True):
        Image.fromarray(image[..., ::-1]).save(scans / name, pnginfo=text)
    annotate("DOE/1.txt", 10, 20, 620, 500)
    annotate("DOE/1.txt", 0, 0, 700, 548)
    annotate("b.txt", 100, 100, 700, 548)
    crops = crop(max_distance=0)
    assert [(c.image, c.source, c.box, c.reason) for c in crops] == [
        ("0001.png", "DOE/1.png", (10, 20, 620, 500), ""),
        ("0002.png", "DOE/1.png", (0, 0, 700, 548), ""),
        ("0003.png", "b.png", (100, 100, 700, 548), ""),
    ]
    out = tmp_path / "out"
    assert np.array_equal(read_image(out / "images/0001.png"), images[0][20:500, 10:620])
    assert np.array_equal(read_image(out / "images/0003.png"), images[1][100:, 100:])
    for file in (out / "images").iterdir():
        data, position, chunks = file.read_bytes(), 8, set()
        while position < len(data):
            chunks.add(data[position + 4 : position + 8])
            position += 12 + int.from_bytes(data[position : position + 4], "big")
        assert chunks == {b"IHDR", b"IDAT", b"IEND"}
    with open(out / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [rows[0][column] for column in COLUMNS] == [
        "0001.png",
        "DOE/1.png",
        "10",
        "20",
        "620",
        "500",
        "",
    ]
    assert not (tmp_path / "out.partial").exists()


def test_what_is_left_out_is_named_and_the_rest_goes_on(
    tmp_path, smooth_image, annotate, crop, save_image
):
    scans, boxes = tmp_path / "scans", tmp_path / "boxes"
    for name in (
        "good.png",
        "lone.png",
        "out.png",
        "small.png",
        "xml.png",
        "twice.png",
        "same.jpg",
        "same.png",
    ):
        save_image(scans / name, smooth_image())
    (scans / "damaged.png").write_text("x")
    annotate("damaged.txt", 0, 0, 700, 548)
    annotate("good.txt", 0, 0, 600, 448)
    annotate("out.txt", 110, 0, 710, 448)
    annotate("small.txt", 0, 0, 599, 448)
    annotate("small.txt", 0, 0, 600, 447)
    annotate("twice.txt", 0, 0, 700, 548)
    annotate("same.txt", 0, 0, 700, 548)
    annotate("sub/gone.txt", 0, 0, 700, 548)
    (boxes / "twice.xml").write_text("<annotation/>")
    (boxes / "xml.xml").write_text("<annotation>")
    (boxes / "classes.txt").write_text("scan\n")
    crops = crop()
    assert [crop.source for crop in crops if not crop.reason] == ["good.png"]
    reasons = [(crop.source, crop.reason) for crop in crops if crop.reason]
    expected = [
        ("damaged.png", "cannot be read as an image"),
        ("lone.png", "boxes: holds no annotation for it; lone.xml or lone.txt is needed"),
        ("out.png", "the box is empty or reaches out of the image of 700 x 548"),
        ("same.jpg", "another image has the same name but for the extension"),
        ("same.png", "another image has the same name but for the extension"),
        ("small.png", "too small: 599 x 448, and 600 x 448 is needed"),
        ("small.png", "too small: 600 x 447, and 600 x 448 is needed"),
        ("twice.png", "boxes: holds two annotations for it"),
        ("xml.png", "xml.xml: is no Pascal VOC annotation"),
        ("sub/gone.txt", "scans: holds no image of this name"),
    ]
    assert [source for source, _ in reasons] == [source for source, _ in expected]
    assert all(part in reason for (_, reason), (_, part) in zip(reasons, expected, strict=True))


def test_images_that_viewers_turn_are_left_out(tmp_path, smooth_image, annotate, crop):
    (tmp_path / "scans").mkdir()
    for name, orientation in (("turned", 6), ("upright", 1)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(smooth_image()).save(tmp_path / "scans" / f"{name}.jpg", exif=exif)
        annotate(f"{name}.txt", 0, 0, 700, 548)
    Image.fromarray(smooth_image()).save(
        tmp_path / "scans" / "damaged.jpg", exif=b"Exif\0\0no TIFF"
    )
    annotate("damaged.txt", 0, 0, 700, 548)
    damaged, turned, upright = crop()
    assert (damaged.source, damaged.image) == ("damaged.jpg", "0001.png")
    assert turned.reason.startswith("its EXIF orientation turns it")
    assert (upright.source, upright.image) == ("upright.jpg", "0002.png")


def test_near_duplicates_are_left_out(tmp_path, smooth_image, annotate, crop, save_image):
    image = smooth_image()
    noisy = np.clip(image + np.random.default_rng(1).normal(0, 3, image.shape), 0, 255).astype(
        np.uint8
    )
    for name, scan in {
        "a.png": image,
        "b.jpg": image,
        "c.png": noisy,
        "d.png": smooth_image(),
    }.items():
        save_image(tmp_path / "scans" / name, scan)
        annotate(f"{name[0]}.txt", 0, 0, 700, 548)
    crops = crop()
    assert [crop.image for crop in crops] == ["0001.png", "", "", "0002.png"]
    assert all("near-duplicate of 0001.png (" in crop.reason for crop in crops[1:3])


def test_options(tmp_path, smooth_image, annotate, crop, save_image):
    for name in ("a", "b"):
        save_image(tmp_path / "scans" / f"{name}.png", smooth_image())
        annotate(f"{name}.txt", 0, 0, 40, 30)
    with pytest.raises(InputError, match=r"no crop is left of 2 images: a\.png: too small"):
        crop()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == []
    assert [c.image for c in crop(min_width=40, min_height=30, max_distance=256)] == [
        "0001.png",
        "",
    ]


def test_impossible_requests_are_refused(
    tmp_path, smooth_image, annotate, crop, save_image, monkeypatch
):
    with pytest.raises(InputError, match="scans: this folder does not exist"):
        crop()
    save_image(tmp_path / "scans" / "a.png", smooth_image())
    with pytest.raises(InputError, match="boxes: this folder of annotations does not exist"):
        crop()
    annotate("a.txt", 0, 0, 700, 548)
    with pytest.raises(InputError, match="must be 1 or more"):
        crop(min_width=0)
    with pytest.raises(InputError, match="lies in the folder of images"):
        crop_images(tmp_path / "scans", tmp_path / "scans/out", tmp_path / "boxes")
    with monkeypatch.context() as patch:
        patch.setattr(module, "find_spec", lambda name: None if name == "imagehash" else name)
        with pytest.raises(
            InputError, match="imagehash is missing; install it with `pip install imagehash`"
        ):
            crop()
    crop()
    with pytest.raises(InputError, match="out: exists and is not empty"):
        crop()


def test_an_interrupted_run_leaves_nothing(
    tmp_path, smooth_image, annotate, crop, save_image, monkeypatch
):
    save_image(tmp_path / "scans" / "a.png", smooth_image())
    annotate("a.txt", 0, 0, 700, 548)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_csv", interrupt)
    with pytest.raises(KeyboardInterrupt):
        crop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes", "scans"]
