import pytest

from basicsr_m2trans.data.captions import write_captions
from basicsr_m2trans.data.lmdb_store import LmdbReader, write_lmdb
from basicsr_m2trans.data.pairs import (
    Pair,
    captions_of,
    pairs_from_folders,
    pairs_from_lmdbs,
    pairs_from_meta_info,
    size_problem,
)
from basicsr_m2trans.utils.errors import InputError

NAMES = ["a", "left kidney", "médiastin", "1.2.840"]


@pytest.fixture
def folders(tmp_path, save_image, random_image):
    for name in NAMES:
        save_image(tmp_path / "gt" / f"{name}.png", random_image(8, 12, 3))
        save_image(tmp_path / "lq" / f"{name}x2.jpg", random_image(4, 6, 3))
    return tmp_path / "gt", tmp_path / "lq"


def test_folders_are_paired_whatever_the_names_and_formats(folders):
    gt, lq = folders
    pairs = pairs_from_folders(gt, lq, "{}x2")
    assert {pair.name for pair in pairs} == set(NAMES)
    for pair in pairs:
        assert pair.gt_path == str(gt / f"{pair.name}.png")
        assert pair.lq_path == str(lq / f"{pair.name}x2.jpg")
        assert (pair.gt_size, pair.lq_size) == ((8, 12), (4, 6))


def test_folders_that_do_not_pair_up_are_refused(folders, save_image, random_image):
    gt, lq = folders
    with pytest.raises(InputError, match=r"lq: 4 of 4 HR images .* '\{\}' .*1\.2\.840\.png"):
        pairs_from_folders(gt, lq, "{}")
    save_image(lq / "bx2.png", random_image(4, 6))
    with pytest.raises(InputError, match=r"gt: 1 LR images have no HR image here: .*bx2\.png"):
        pairs_from_folders(gt, lq, "{}x2")
    (lq / "bx2.png").unlink()
    (lq / "ax2.jpg").unlink()
    with pytest.raises(InputError, match=r"lq: 1 of 4 HR images have no LR image .*a\.png"):
        pairs_from_folders(gt, lq, "{}x2")


def test_one_name_twice_in_a_folder_is_refused(folders, save_image, random_image):
    gt, lq = folders
    save_image(gt / "a.bmp", random_image(8, 12))
    with pytest.raises(InputError, match=r"a\.bmp and a\.png have the same name"):
        pairs_from_folders(gt, lq, "{}x2")


def test_meta_information_selects_pairs_in_its_order(tmp_path, save_image, random_image):
    for name in [*NAMES, "left (1)"]:
        save_image(tmp_path / "gt" / f"{name}.png", random_image(8, 12, 3))
        save_image(tmp_path / "lq" / f"{name}x2.png", random_image(4, 6, 3))
    lines = [
        "left kidney.png (8,12,3)",
        "1.2.840.png (8, 12, 3) 1",
        "",
        "left (1).png (8,12,3)",
        "a.png",
    ]
    (tmp_path / "meta_info.txt").write_text("\n".join(lines))
    pairs = pairs_from_meta_info(
        tmp_path / "gt", tmp_path / "lq", tmp_path / "meta_info.txt", "{}x2"
    )
    assert [pair.name for pair in pairs] == ["left kidney", "1.2.840", "left (1)", "a"]
    assert pairs[1].lq_path == str(tmp_path / "lq" / "1.2.840x2.png")
    assert pairs[1].gt_size == (8, 12)


def test_meta_information_that_cannot_be_used_is_refused(folders, tmp_path):
    gt, lq = folders
    path = tmp_path / "meta_info.txt"
    with pytest.raises(InputError, match="this meta_info_file does not exist"):
        pairs_from_meta_info(gt, lq, path, "{}x2")
    path.write_text("\n")
    with pytest.raises(InputError, match="names no image"):
        pairs_from_meta_info(gt, lq, path, "{}x2")
    path.write_text("a.png (8,12,3)\nb.png (8,12,3)\n")
    with pytest.raises(
        InputError, match=r"3 files .* do not exist: .*ax2\.png, .*gt/b\.png, .*lq/bx2\.png"
    ):
        pairs_from_meta_info(gt, lq, path, "{}x2")


def test_lmdbs_are_paired_by_whole_keys(tmp_path):
    for side, (h, w) in (("gt", (8, 12)), ("lq", (4, 6))):
        write_lmdb(
            tmp_path / f"{side}.lmdb", [(key, b"", (h, w, 3)) for key in ("1.2.840", "1.2.113")]
        )
    gt, lq = LmdbReader(tmp_path / "gt.lmdb"), LmdbReader(tmp_path / "lq.lmdb")
    assert pairs_from_lmdbs(gt, lq) == [
        Pair("1.2.113", "1.2.113", "1.2.113", (8, 12), (4, 6)),
        Pair("1.2.840", "1.2.840", "1.2.840", (8, 12), (4, 6)),
    ]


def test_lmdbs_with_different_keys_are_refused(tmp_path):
    write_lmdb(tmp_path / "gt.lmdb", [("a", b"", (8, 12, 3)), ("b", b"", (8, 12, 3))])
    write_lmdb(tmp_path / "lq.lmdb", [("a", b"", (4, 6, 3)), ("c", b"", (4, 6, 3))])
    with pytest.raises(
        InputError, match=r"gt\.lmdb and .*lq\.lmdb hold different images; 2 keys .*: b, c"
    ):
        pairs_from_lmdbs(LmdbReader(tmp_path / "gt.lmdb"), LmdbReader(tmp_path / "lq.lmdb"))


def test_size_problem():
    pair = Pair("a", "gt/a.png", "lq/a.png", (8, 12), (4, 6))
    assert size_problem(pair, 2) is None
    assert size_problem(pair, 3) == "gt/a.png is 12 x 8 but x3 of lq/a.png (6 x 4) is 18 x 12"


def test_captions_of_images(tmp_path):
    path = tmp_path / "captions.csv"
    write_captions(path, {"a": "one", "b": "two"})
    assert captions_of(["b", "a"], path, None) == ["two", "one"]
    assert captions_of(["b", "c"], path, "other") == ["two", "other"]
    assert captions_of(["b", "c"], None, "other") == ["other", "other"]


def test_missing_captions_are_counted_and_named(tmp_path):
    path = tmp_path / "captions.csv"
    write_captions(path, {"a": "one"})
    names = ["a", *(f"image{number}" for number in range(8))]
    with pytest.raises(
        InputError,
        match=r"captions\.csv: has no caption for 8 of 9 images: image0, image1, image2, image3, "
        r"image4 and 3 more",
    ):
        captions_of(names, path, None)
