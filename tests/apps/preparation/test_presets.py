from dataclasses import replace

import numpy as np
import pytest

from basicsr_m2trans.apps.preparation import presets
from basicsr_m2trans.apps.preparation.presets import PRESETS, prepare_published
from basicsr_m2trans.data.captions import make_caption, read_captions, write_captions
from basicsr_m2trans.data.images import read_image
from basicsr_m2trans.data.lmdb_store import LmdbReader
from basicsr_m2trans.utils.errors import InputError

TEXTS = ["a clear ultrasound image", "ein schärferes Bild", "a nice image of an ultrasound"]


@pytest.fixture(autouse=True)
def small_presets(monkeypatch):
    """The published data sets with 3 images for training and 2 for testing."""
    small = {
        name: tuple(replace(part, count=3 if part.name == "train" else 2) for part in parts)
        for name, parts in PRESETS.items()
    }
    monkeypatch.setattr(presets, "PRESETS", small)


@pytest.fixture
def publish(tmp_path, save_image, random_image):
    """Lays out images of 600 x 448 or another size as the authors do."""

    def lay_out(hr, lr, count, extension, size=(448, 600)):
        for number in range(1, count + 1):
            save_image(tmp_path / "data" / hr / f"{number:04d}{extension}", random_image(*size))
            for scale in (2, 3, 4):
                lr_image = random_image(size[0] // scale, size[1] // scale)
                save_image(
                    tmp_path / "data" / lr / f"X{scale}" / f"{number:04d}x{scale}{extension}",
                    lr_image,
                )

    return lay_out


@pytest.fixture
def mmus1k(tmp_path, publish):
    publish("MMUS1K/MMUS1K_train_HR", "MMUS1K/MMUS1K_train_LR_bicubic", 3, ".png")
    publish("benchmark/US1K_23/HR", "benchmark/US1K_23/LR_bicubic", 2, ".png")
    (tmp_path / "data" / "text_description.txt").write_text(
        "\n".join(TEXTS) + "\n", encoding="utf-16"
    )
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_published_counts():
    counts = {name: [(part.name, part.count) for part in parts] for name, parts in PRESETS.items()}
    assert counts == {
        "mmus1k": [("train", 1000), ("test", 23)],
        "cca-us": [("test", 84)],
        "us-case": [("test", 111)],
    }


def test_mmus1k(mmus1k, out):
    done = prepare_published("mmus1k", mmus1k, out)
    assert done.notes == []
    assert list(done.conversions) == [
        (part, scale) for part in ("train", "test") for scale in (2, 3, 4)
    ]
    # 448 is not a multiple of 3.
    assert done.conversions["train", 2].written == ["HR.lmdb", "LR_bicubic_X2.lmdb"]
    assert done.conversions["train", 3].written == ["HR_X3.lmdb", "LR_bicubic_X3.lmdb"]
    assert done.conversions["train", 3].hr == "HR_X3.lmdb"
    assert (done.conversions["train", 4].written, done.conversions["train", 4].kept) == (
        ["LR_bicubic_X4.lmdb"],
        ["HR.lmdb"],
    )
    source = read_image(mmus1k / "MMUS1K/MMUS1K_train_HR/0002.png")
    assert np.array_equal(LmdbReader(out / "train/HR.lmdb").image("0002"), source)
    assert np.array_equal(LmdbReader(out / "train/HR_X3.lmdb").image("0002"), source[:447, :600])
    assert np.array_equal(
        LmdbReader(out / "test/LR_bicubic_X3.lmdb").image("0001"),
        read_image(mmus1k / "benchmark/US1K_23/LR_bicubic/X3/0001x3.png"),
    )
    assert list(read_captions(out / "train/captions.csv").items()) == list(
        zip(["0001", "0002", "0003"], TEXTS, strict=True)
    )
    assert read_captions(out / "test/captions.csv") == {
        name: make_caption(name) for name in ("0001", "0002")
    }


def test_a_second_run_keeps_everything_and_edited_captions(mmus1k, out):
    prepare_published("mmus1k", mmus1k, out, [2])
    captions = read_captions(out / "train/captions.csv") | {"0001": "edited"}
    write_captions(out / "train/captions.csv", captions)
    done = prepare_published("mmus1k", mmus1k, out, [2], "png")
    assert all(conversion.written == [] for conversion in done.conversions.values())
    assert read_captions(out / "train/captions.csv") == captions


def test_captions_for_all_images(mmus1k, out):
    (mmus1k / "text_description.txt").write_text(
        "\n".join([*TEXTS, "fourth", "fifth"]), encoding="utf-8"
    )
    prepare_published("mmus1k", mmus1k, out, [2])
    assert read_captions(out / "test/captions.csv") == {"0001": "fourth", "0002": "fifth"}


def test_captions_that_come_later_replace_made_ones(mmus1k, out):
    text = (mmus1k / "text_description.txt").read_bytes()
    (mmus1k / "text_description.txt").unlink()
    done = prepare_published("mmus1k", mmus1k, out, [2])
    assert done.notes == [
        f"{mmus1k}: lacks text_description.txt; captions were made by the paper's templates"
    ]
    assert read_captions(out / "train/captions.csv")["0001"] == make_caption("0001")
    (mmus1k / "text_description.txt").write_bytes(text)
    prepare_published("mmus1k", mmus1k, out, [2])
    assert list(read_captions(out / "train/captions.csv").values()) == TEXTS


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (
            "a\nb".encode("utf-16"),
            r"holds 2 captions instead of 3, one for each training image, or 5",
        ),
        (b"a\n\nb\nc", r"line 2 holds no caption"),
        (b"\xe4\n", r"is neither UTF-16 with a byte order mark nor UTF-8"),
    ],
)
def test_captions_that_do_not_fit_are_named(mmus1k, out, data, problem):
    (mmus1k / "text_description.txt").write_bytes(data)
    with pytest.raises(InputError, match=rf"text_description\.txt: {problem}"):
        prepare_published("mmus1k", mmus1k, out, [2])
    assert not out.exists()


def test_all_problems_are_listed_before_anything_is_written(mmus1k, out, save_image, random_image):
    for folder, name in (("MMUS1K_train_HR", "0002"), ("MMUS1K_train_LR_bicubic/X2", "0002x2")):
        (mmus1k / "MMUS1K" / folder / f"{name}.png").unlink()
    save_image(mmus1k / "benchmark/US1K_23/LR_bicubic/X2/0001x2.png", random_image(223, 300))
    with pytest.raises(InputError) as caught:
        prepare_published("mmus1k", mmus1k, out, [2, 3])
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{mmus1k}: is not mmus1k as published:"
    assert lines[1].endswith("MMUS1K_train_HR: holds 2 images instead of 3; lacks 0002")
    assert lines[2].endswith("X3/0002x3.png")
    assert lines[3].endswith("0001x2.png (300 x 223) is 600 x 446")
    assert "m2trans lmdb" in lines[4]
    assert len(lines) == 5
    assert not out.exists()


def test_a_missing_part_and_small_images_are_noted(tmp_path, publish, out):
    publish("MMUS1K_train_HR", "MMUS1K_train_LR_bicubic", 3, ".png", size=(448, 598))
    done = prepare_published("mmus1k", tmp_path / "data", out, [2])
    assert list(done.conversions) == [("train", 2)]
    notes = "\n".join(done.notes)
    assert "lacks the test part of 2 images; looked for benchmark/MMUS1K_23/HR" in notes
    assert "3 images are below 600 x 448" in notes
    assert "0001.png (598 x 448)" in notes


@pytest.mark.parametrize(
    ("preset", "place"),
    [
        ("cca-us", "benchmark/UI5/"),
        ("cca-us", "benchmark/CCA-US/"),
        ("us-case", "US15/"),
        ("us-case", ""),
    ],
)
def test_benchmarks(tmp_path, publish, out, preset, place):
    publish(f"{place}HR", f"{place}LR_bicubic", 2, ".jpg", size=(41, 62))
    done = prepare_published(preset, tmp_path / "data", out, [4], "raw")
    assert done.conversions["test", 4].written == ["HR_X4.raw_lmdb", "LR_bicubic_X4.raw_lmdb"]
    source = read_image(tmp_path / "data" / f"{place}HR/0001.jpg")
    assert np.array_equal(LmdbReader(out / "test/HR_X4.raw_lmdb").image("0001"), source[:40, :60])


def test_missing_lr_images_are_named(tmp_path, out, random_image, save_image):
    for number in (1, 2):
        save_image(tmp_path / "data/HR" / f"{number}.jpg", random_image(40, 60))
    with pytest.raises(InputError, match=r"LR_bicubic/X2: this folder does not exist"):
        prepare_published("cca-us", tmp_path / "data", out, [2])


def test_impossible_requests_are_refused(tmp_path, out):
    with pytest.raises(InputError, match="preset: 'us1k' is none of mmus1k, cca-us, us-case"):
        prepare_published("us1k", tmp_path, out)
    with pytest.raises(InputError, match="nowhere: this folder does not exist"):
        prepare_published("mmus1k", tmp_path / "nowhere", out)
    with pytest.raises(
        InputError, match="holds no HR images of cca-us; looked for benchmark/CCA-US/HR"
    ):
        prepare_published("cca-us", tmp_path, out)
