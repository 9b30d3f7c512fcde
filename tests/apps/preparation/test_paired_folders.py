import csv

import numpy as np
import pytest
import torch

from basicsr_m2trans import compat
from basicsr_m2trans.apps.preparation.paired_folders import convert_paired_folders
from basicsr_m2trans.data.captions import make_caption, read_captions, write_captions
from basicsr_m2trans.data.images import decode_image, read_image
from basicsr_m2trans.data.lmdb_store import LmdbReader
from basicsr_m2trans.utils.errors import InputError

NAMES = ["0001", "0002", "left kidney"]


@pytest.fixture
def mmus1k(tmp_path, save_image, random_image):
    """Folders laid out and named as in MMUS1K."""
    for name in NAMES:
        save_image(tmp_path / "train_HR" / f"{name}.png", random_image(24, 36, 3))
        for scale in (2, 3, 4):
            lr = random_image(24 // scale, 36 // scale, 3)
            save_image(tmp_path / "train_LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png", lr)
    return tmp_path / "train_HR", tmp_path / "train_LR_bicubic"


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_mmus1k(mmus1k, tmp_path, scale):
    gt, lq = mmus1k
    done = convert_paired_folders(gt, lq / f"X{scale}", tmp_path / "out")
    lmdbs = ["HR.lmdb", f"LR_bicubic_X{scale}.lmdb"]
    assert (done.images, done.scale, done.written, done.kept, done.renamed) == (
        3,
        scale,
        lmdbs,
        [],
        1,
    )
    with open(tmp_path / "out" / "names.csv", newline="") as file:
        sources = {row["image"]: row["source"] for row in csv.DictReader(file)}
    hr, lr = (LmdbReader(tmp_path / "out" / name) for name in lmdbs)
    assert hr.shapes.keys() == lr.shapes.keys() == sources.keys()
    for key, source in sources.items():
        name = source.removeprefix(f"{gt}/").removesuffix(".png")
        assert np.array_equal(decode_image(hr.get(key), key), read_image(source))
        assert np.array_equal(
            decode_image(lr.get(key), key), read_image(lq / f"X{scale}" / f"{name}x{scale}.png")
        )
    assert read_captions(tmp_path / "out" / "captions.csv") == {
        key: make_caption(key) for key in sources
    }


def test_stock_basicsr_reads_the_result(mmus1k, tmp_path):
    compat.apply()
    from basicsr.data.paired_image_dataset import PairedImageDataset

    gt, lq = mmus1k
    convert_paired_folders(gt, lq / "X2", tmp_path / "out")
    opt = {
        "dataroot_gt": str(tmp_path / "out" / "HR.lmdb"),
        "dataroot_lq": str(tmp_path / "out" / "LR_bicubic_X2.lmdb"),
        "io_backend": {"type": "lmdb"},
        "scale": 2,
        "phase": "val",
    }
    dataset = PairedImageDataset(opt)
    assert len(dataset) == 3
    item = dataset[1]
    rgb = read_image(lq / "X2" / "0002x2.png")[..., ::-1].transpose(2, 0, 1).astype(np.float32)
    assert torch.equal((item["lq"] * 255).round(), torch.from_numpy(rgb))
    for environment in dataset.file_client.client._client.values():
        environment.close()


def test_hr_of_an_earlier_scale_is_kept(mmus1k, tmp_path):
    gt, lq = mmus1k
    out = tmp_path / "out"
    convert_paired_folders(gt, lq / "X2", out)
    captions = read_captions(out / "captions.csv") | {"0001": "edited"}
    write_captions(out / "captions.csv", captions)
    written = (out / "HR.lmdb" / "data.mdb").stat().st_mtime_ns
    done = convert_paired_folders(gt, lq / "X4", out)
    assert (done.written, done.kept) == (["LR_bicubic_X4.lmdb"], ["HR.lmdb"])
    assert (out / "HR.lmdb" / "data.mdb").stat().st_mtime_ns == written
    assert read_captions(out / "captions.csv") == captions
    again = convert_paired_folders(gt, lq / "X4", out)
    assert (again.written, again.kept) == ([], ["HR.lmdb", "LR_bicubic_X4.lmdb"])


def test_raw_pixels(mmus1k, tmp_path, save_image, random_image):
    gt, lq = mmus1k
    out = tmp_path / "out"
    save_image(gt / "0001.png", random_image(24, 36, dtype=np.uint16))
    convert_paired_folders(gt, lq / "X2", out)
    lmdbs = ["HR.raw_lmdb", "LR_bicubic_X2.raw_lmdb"]
    done = convert_paired_folders(gt, lq / "X2", out, lmdb="raw")
    assert (done.written, done.kept) == (lmdbs, [])
    for name in lmdbs:
        raw, png = LmdbReader(out / name), LmdbReader(out / name.replace("raw_", ""))
        assert raw.shapes == png.shapes
        assert all(np.array_equal(raw.image(key), png.image(key)) for key in raw.shapes)
        assert raw.image("0001").dtype == png.image("0001").dtype
    assert convert_paired_folders(gt, lq / "X2", out, lmdb="raw").kept == lmdbs
    save_image(gt / "0002.png", random_image(24, 36, 3))
    with pytest.raises(InputError, match=r"HR\.raw_lmdb: exists and holds other images"):
        convert_paired_folders(gt, lq / "X2", out, lmdb="raw")


def test_unknown_formats_are_refused(mmus1k, tmp_path):
    gt, lq = mmus1k
    with pytest.raises(InputError, match="lmdb: 'jpg' is none of png, raw"):
        convert_paired_folders(gt, lq / "X2", tmp_path / "out", lmdb="jpg")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_with_other_images_is_refused(mmus1k, tmp_path, save_image, random_image):
    gt, lq = mmus1k
    out = tmp_path / "out"
    convert_paired_folders(gt, lq / "X2", out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    save_image(gt / "0002.png", random_image(24, 36, 3))
    with pytest.raises(InputError, match=r"HR\.lmdb: exists and holds other images"):
        convert_paired_folders(gt, lq / "X4", out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_scale_is_found_from_sizes_where_names_are_equal(tmp_path, save_image, random_image):
    hr = save_image(tmp_path / "gt" / "a.jpg", random_image(24, 36, 3))
    save_image(tmp_path / "lq" / "a.png", random_image(8, 12, dtype=np.uint16))
    assert convert_paired_folders(tmp_path / "gt", tmp_path / "lq", tmp_path / "out").scale == 3
    stored = LmdbReader(tmp_path / "out" / "HR.lmdb").get("a")
    assert stored.startswith(b"\x89PNG")
    assert np.array_equal(decode_image(stored, "a"), read_image(tmp_path / "gt" / "a.jpg"))
    assert hr.shape == (24, 36, 3)
    assert np.array_equal(
        decode_image(LmdbReader(tmp_path / "out" / "LR_bicubic_X3.lmdb").get("a"), "a"),
        read_image(tmp_path / "lq" / "a.png"),
    )


def test_all_sizes_that_do_not_fit_are_listed(mmus1k, tmp_path, save_image, random_image):
    gt, lq = mmus1k
    save_image(gt / "0001.png", random_image(25, 36, 3))
    save_image(lq / "X2" / "0002x2.png", random_image(12, 17, 3))
    with pytest.raises(InputError) as caught:
        convert_paired_folders(gt, lq / "X2", tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("X2: 2 of 3 LR images do not fit scale 2:")
    assert lines[1].endswith(
        "0001.png is 36 x 25 but x2 of " + str(lq / "X2/0001x2.png") + " (18 x 12) is 36 x 24"
    )
    assert "0002.png is 36 x 24" in lines[2]
    assert not (tmp_path / "out").exists()


def test_given_captions_follow_their_images(mmus1k, tmp_path):
    gt, lq = mmus1k
    path = tmp_path / "captions.csv"
    write_captions(path, {name: f"text of {name}" for name in NAMES[:2]})
    with pytest.raises(
        InputError, match=r"captions\.csv: has no caption for 1 of 3 images: left kidney"
    ):
        convert_paired_folders(gt, lq / "X2", tmp_path / "out", captions=path)
    assert not (tmp_path / "out").exists()
    write_captions(path, {name: f"text of {name}" for name in NAMES})
    convert_paired_folders(gt, lq / "X2", tmp_path / "out", captions=path)
    captions = read_captions(tmp_path / "out" / "captions.csv")
    assert captions.keys() == LmdbReader(tmp_path / "out" / "HR.lmdb").shapes.keys()
    assert captions["0002"] == "text of 0002"
    assert "text of left kidney" in captions.values()


def test_folders_that_do_not_pair_up_are_refused(mmus1k, tmp_path):
    gt, lq = mmus1k
    (lq / "X2" / "0001x2.png").unlink()
    with pytest.raises(InputError, match=r"X2: 1 of 3 HR images have no LR image here .*0001\.png"):
        convert_paired_folders(gt, lq / "X2", tmp_path / "out")
    with pytest.raises(InputError, match="scale: 1 is none of 2, 3, 4"):
        convert_paired_folders(gt, gt, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hr_is_cropped_to_lr_on_request(tmp_path, save_image, random_image):
    hr = save_image(tmp_path / "gt" / "a.png", random_image(25, 37, 3))
    save_image(tmp_path / "lq" / "ax3.png", random_image(8, 12, 3))
    with pytest.raises(InputError, match="1 of 1 LR images do not fit scale 3"):
        convert_paired_folders(tmp_path / "gt", tmp_path / "lq", tmp_path / "out")
    done = convert_paired_folders(tmp_path / "gt", tmp_path / "lq", tmp_path / "out", crop=True)
    assert (done.hr, done.written) == ("HR_X3.lmdb", ["HR_X3.lmdb", "LR_bicubic_X3.lmdb"])
    assert np.array_equal(LmdbReader(tmp_path / "out/HR_X3.lmdb").image("a"), hr[:24, :36])
    save_image(tmp_path / "gt" / "a.png", random_image(27, 36, 3))
    with pytest.raises(InputError, match="is 36 x 27 but x3 of"):
        convert_paired_folders(tmp_path / "gt", tmp_path / "lq", tmp_path / "other", crop=True)
