import os

import numpy as np
import pytest

from basicsr_m2trans.apps.preparation import prepare as module
from basicsr_m2trans.apps.preparation import prepare_lmdb
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation
from basicsr_m2trans.data.captions import make_caption, read_captions, write_captions
from basicsr_m2trans.data.dicom import anonymous_name
from basicsr_m2trans.data.images import read_image
from basicsr_m2trans.data.lmdb_store import LmdbReader
from basicsr_m2trans.utils.errors import InputError

RAW_LMDBS = ["HR.raw_lmdb", "LR_bicubic_X2.raw_lmdb"]
LMDBS = ["HR.lmdb", "LR_bicubic_X2.lmdb", "LR_bicubic_X3.lmdb", "LR_bicubic_X4.lmdb"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def made(monkeypatch):
    """Names of the sources that are made from now on."""
    names = []
    original = module.make_images

    def record(job, path, name):
        names.append(name)
        return original(job, path, name)

    monkeypatch.setattr(module, "make_images", record)
    return names


def files_of(folder):
    """Content of all files but LMDB's lock files, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock.mdb"
    }


def test_layout(hr, out):
    summary = prepare(hr, out, Preparation(workers=1))
    assert (summary.images, summary.made, summary.skipped, summary.lmdbs) == (4, 4, [], LMDBS)
    names = ["0000", "0001", "0002", "grey"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*LMDBS, "HR", "LR_bicubic", "captions.csv", "manifest.json", "meta_info.txt"]
    )
    assert sorted(path.name for path in (out / "HR").iterdir()) == [f"{name}.png" for name in names]
    for scale in (2, 3, 4):
        folder = out / "LR_bicubic" / f"X{scale}"
        assert sorted(path.name for path in folder.iterdir()) == [
            f"{name}x{scale}.png" for name in names
        ]
    assert read_captions(out / "captions.csv") == {name: make_caption(name) for name in names}
    assert (out / "meta_info.txt").read_text().splitlines() == [
        "0000.png (24,36,3)",
        "0001.png (24,36,3)",
        "0002.png (24,36,3)",
        "grey.png (24,24,1)",
    ]
    assert LmdbReader(out / "LR_bicubic_X3.lmdb").shapes["grey"] == (8, 8, 1)


def test_a_second_run_changes_nothing(hr, out, made):
    prepare(hr, out, Preparation(workers=1))
    made.clear()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    summary = prepare(hr, out, Preparation(workers=1))
    assert (summary.images, summary.made, summary.removed, summary.lmdbs) == (4, 0, 0, [])
    assert made == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_interrupted_run_goes_on(hr, out, tmp_path, monkeypatch):
    prepare(hr, tmp_path / "uninterrupted", Preparation(workers=1))
    original = module.make_images

    def interrupted(job, path, name):
        record = original(job, path, name)
        if name == "0002":
            raise KeyboardInterrupt
        return record

    monkeypatch.setattr(module, "make_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(hr, out, Preparation(workers=1))
    assert not any((out / name).exists() for name in LMDBS)

    names = []
    monkeypatch.setattr(module, "make_images", lambda *job: names.append(job[2]) or original(*job))
    summary = prepare(hr, out, Preparation(workers=1))
    assert names == ["0002", "grey"]
    assert (summary.images, summary.made, summary.lmdbs) == (4, 2, LMDBS)
    assert files_of(out) == files_of(tmp_path / "uninterrupted")


def test_an_interrupted_lmdb_is_made_again(hr, out, monkeypatch):
    original = prepare_lmdb.write_lmdb

    def interrupted(folder, entries):
        if folder.name == "LR_bicubic_X3.lmdb":
            entries = iter([next(iter(entries)), None])
        original(folder, entries)

    monkeypatch.setattr(prepare_lmdb, "write_lmdb", interrupted)
    with pytest.raises(TypeError):
        prepare(hr, out, Preparation(workers=1))
    assert not (out / "LR_bicubic_X3.lmdb").exists()
    monkeypatch.setattr(prepare_lmdb, "write_lmdb", original)
    summary = prepare(hr, out, Preparation(workers=1))
    assert (summary.made, summary.lmdbs) == (0, LMDBS[2:])
    assert not list(out.glob("*.partial"))


def test_only_what_is_missing_is_made_again(hr, out, made):
    prepare(hr, out, Preparation(workers=1))
    before = files_of(out)
    made.clear()
    (out / "LR_bicubic/X3/0001x3.png").unlink()
    (out / "HR/grey.png").unlink()
    assert prepare(hr, out, Preparation(workers=1)).lmdbs == []
    assert made == ["0001", "grey"]
    assert files_of(out) == before


def test_changed_added_and_removed_sources_are_followed(hr, out, made, save_image, random_image):
    prepare(hr, out, Preparation(workers=1))
    made.clear()
    changed = save_image(hr / "0000.png", random_image(36, 48, 3))
    save_image(hr / "new.png", random_image(24, 24, 3))
    (hr / "0001.png").unlink()
    (hr / "0002.png").write_text("not an image any more")
    summary = prepare(hr, out, Preparation(workers=1))
    assert made == ["0000", "0002", "new"]
    assert (summary.images, summary.made, summary.removed, summary.lmdbs) == (3, 3, 1, LMDBS)
    assert len(summary.skipped) == 1
    assert np.array_equal(read_image(out / "HR/0000.png"), changed)
    assert {path.stem for path in (out / "HR").iterdir()} == {"0000", "grey", "new"}
    assert {path.stem for path in (out / "LR_bicubic/X4").iterdir()} == {
        "0000x4",
        "greyx4",
        "newx4",
    }
    assert read_captions(out / "captions.csv").keys() >= {"0000", "grey", "new"}
    assert LmdbReader(out / "HR.lmdb").shapes == {
        "0000": (36, 48, 3),
        "grey": (24, 24, 1),
        "new": (24, 24, 3),
    }


def test_lmdbs_come_later_and_never_stay_out_of_date(hr, out, save_image, random_image):
    assert prepare(hr, out, Preparation(lmdb=None, workers=1)).lmdbs == []
    summary = prepare(hr, out, Preparation(workers=1))
    assert (summary.made, summary.lmdbs) == (0, LMDBS)
    assert prepare(hr, out, Preparation(lmdb=None, workers=1)).lmdbs_removed == []
    save_image(hr / "new.png", random_image(24, 24, 3))
    assert prepare(hr, out, Preparation(lmdb=None, workers=1)).lmdbs_removed == LMDBS
    assert not list(out.glob("*.lmdb"))


def test_lmdbs_of_raw_pixels(hr, out):
    assert prepare(hr, out, Preparation(scales=[2], lmdb="raw", workers=1)).lmdbs == RAW_LMDBS
    assert not list(out.glob("*.lmdb"))
    for name, file in zip(RAW_LMDBS, ("HR/{}.png", "LR_bicubic/X2/{}x2.png"), strict=True):
        reader = LmdbReader(out / name)
        assert sorted(reader.shapes) == ["0000", "0001", "0002", "grey"]
        for key, shape in reader.shapes.items():
            image = read_image(out / file.format(key))
            assert image.shape == shape
            assert np.array_equal(reader.image(key), image)


def test_lmdbs_of_both_formats_stand_side_by_side(hr, out, save_image, random_image):
    prepare(hr, out, Preparation(scales=[2], workers=1))
    before = files_of(out / "HR.lmdb")
    summary = prepare(hr, out, Preparation(scales=[2], lmdb="raw", workers=1))
    assert (summary.made, summary.lmdbs, summary.lmdbs_removed) == (0, RAW_LMDBS, [])
    assert prepare(hr, out, Preparation(scales=[2], lmdb="raw", workers=1)).lmdbs == []
    assert files_of(out / "HR.lmdb") == before
    save_image(hr / "new.png", random_image(24, 24, 3))
    summary = prepare(hr, out, Preparation(scales=[2], lmdb="raw", workers=1))
    assert (summary.lmdbs, summary.lmdbs_removed) == (RAW_LMDBS, LMDBS[:2])
    assert "new" in LmdbReader(out / "HR.raw_lmdb").shapes


def test_edited_captions_are_kept(hr, out, save_image, random_image):
    prepare(hr, out, Preparation(workers=1))
    captions = read_captions(out / "captions.csv") | {"0001": "thyroid, transverse"}
    write_captions(out / "captions.csv", captions)
    save_image(hr / "new.png", random_image(24, 24, 3))
    prepare(hr, out, Preparation(workers=1))
    assert read_captions(out / "captions.csv") == captions | {"new": make_caption("new")}


def test_names_are_made_safe_and_folders_joined(out, tmp_path, save_image, random_image):
    for name in ("1.2.840", "left kidney", "médiastin", "sub/0001"):
        save_image(tmp_path / "hr" / f"{name}.png", random_image(24, 24))
    prepare(tmp_path / "hr", out, Preparation(workers=1))
    keys = LmdbReader(out / "HR.lmdb").shapes.keys()
    assert keys == read_captions(out / "captions.csv").keys()
    assert [key.rpartition("-")[0] or key for key in sorted(keys)] == [
        "1_2_840",
        "left_kidney",
        "m_diastin",
        "sub_0001",
    ]


@pytest.mark.slow
def test_worker_processes_give_the_same_files(hr, out, tmp_path):
    prepare(hr, out, Preparation(scales=[2], workers=1))
    summary = prepare(hr, tmp_path / "parallel", Preparation(scales=[2], workers=2))
    assert summary.made == 4
    assert files_of(tmp_path / "parallel") == files_of(out)


def test_skipped_images_are_listed_every_time(hr, out, made, save_image, random_image):
    (hr / "text.png").write_text("not an image")
    save_image(hr / "small.png", random_image(10, 10))
    first, second = (
        prepare(hr, out, Preparation(workers=1)),
        prepare(hr, out, Preparation(workers=1)),
    )
    assert first.images == second.images == 4
    assert first.skipped == second.skipped
    assert ["small.png" in first.skipped[0], "text.png" in first.skipped[1]] == [True, True]
    assert made.count("text") == made.count("small") == 1


def test_sub_images(hr, out):
    summary = prepare(hr, out, Preparation(scales=[4], sub_image=24, workers=1))
    assert summary.images == 7
    assert read_captions(out / "captions.csv")["0000_s002"] == make_caption("0000_s002")
    assert LmdbReader(out / "LR_bicubic_X4.lmdb").shapes["0000_s002"] == (6, 6, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"sub_image": 24}, "step was None and is now 12; sub_image was None and is now 24"),
    ],
)
def test_other_parameters_are_refused(hr, out, changes, message):
    prepare(hr, out, Preparation(workers=1))
    before = files_of(out)
    with pytest.raises(InputError, match=message):
        prepare(hr, out, Preparation(workers=1, **changes))
    assert files_of(out) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": [5]}, r"scales: \[5\] is not a choice of 2, 3, 4"),
        ({"scales": []}, r"scales: \[\] is not a choice"),
        ({"step": 12}, "step: has no meaning without sub_image"),
        ({"sub_image": 25}, "sub_image: 25 is not a multiple of 12"),
        ({"sub_image": 12}, "sub_image: 12 is not a multiple of 12 of at least 24"),
        ({"sub_image": 24, "step": 25}, r"step: 25 is not between 1 and sub_image \(24\)"),
        ({"sub_image": 24, "step": 0}, "step: 0 is not between"),
        ({"lmdb": "bmp"}, "lmdb: 'bmp' is none of png, raw"),
        ({"workers": 0}, "workers: 0 is not a positive number"),
        ({"min_side": 12}, "min_side: 12 is below the smallest possible, 24"),
    ],
)
def test_impossible_parameters_are_refused(hr, out, arguments, message):
    with pytest.raises(InputError, match=message):
        prepare(hr, out, Preparation(**arguments))
    assert not out.exists()


def test_unusable_folders_are_refused(hr, out, tmp_path):
    with pytest.raises(InputError, match="nowhere: this folder does not exist"):
        prepare(tmp_path / "nowhere", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: this folder holds no image"):
        prepare(tmp_path / "empty", out)
    for inside in (hr / "out", hr, tmp_path):
        with pytest.raises(InputError, match="may not contain each other"):
            prepare(hr, inside)
    out.mkdir()
    (out / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty and was not made by this command"):
        prepare(hr, out)
    assert os.listdir(out) == ["notes.txt"]


def test_one_image_is_enough(out, tmp_path, save_image, random_image):
    save_image(tmp_path / "scans/a.png", random_image(24, 24, 3))
    assert prepare(tmp_path / "scans", out, Preparation(scales=[2], workers=1)).images == 1
    assert LmdbReader(out / "LR_bicubic_X2.lmdb").shapes == {"a": (12, 12, 3)}


def test_two_sources_of_one_name_are_refused(hr, out, save_image, random_image):
    save_image(hr / "0001.jpg", random_image(24, 24))
    with pytest.raises(InputError, match=r"0001\.jpg and 0001\.png would both be called 0001"):
        prepare(hr, out)
    (hr / "0001.jpg").unlink()
    for name in ("a/b_c.png", "a_b/c.png"):
        save_image(hr / name, random_image(24, 24))
    with pytest.raises(InputError, match=r"a/b_c\.png and a_b/c\.png would both be called a_b_c"):
        prepare(hr, out)
    assert not out.exists()


def test_a_folder_without_any_usable_image_is_refused(out, tmp_path):
    (tmp_path / "hr").mkdir()
    (tmp_path / "hr" / "text.png").write_text("not an image")
    with pytest.raises(
        InputError, match=r"none of its 1 images can be used: .*text\.png: cannot be read"
    ):
        prepare(tmp_path / "hr", out, Preparation(workers=1))


def test_edited_caption_of_an_image_that_went_and_came_back(hr, out):
    prepare(hr, out, Preparation(scales=[2], workers=1))
    write_captions(
        out / "captions.csv", read_captions(out / "captions.csv") | {"0001": "my own words"}
    )
    (hr / "0001.png").rename(hr.parent / "away.png")
    prepare(hr, out, Preparation(scales=[2], workers=1))
    (hr.parent / "away.png").rename(hr / "0001.png")
    prepare(hr, out, Preparation(scales=[2], workers=1))
    assert read_captions(out / "captions.csv")["0001"] == "my own words"


def test_scales_are_added_to_those_of_earlier_runs(hr, out, tmp_path):
    prepare(hr, out, Preparation(scales=[2], workers=1))
    prepare(hr, out, Preparation(scales=[3], workers=1))
    prepare(hr, tmp_path / "once", Preparation(scales=[2, 3], workers=1))
    assert {p.name for p in out.iterdir()} == {p.name for p in (tmp_path / "once").iterdir()}
    assert LmdbReader(out / "LR_bicubic_X3.lmdb").get("0001") == LmdbReader(
        tmp_path / "once/LR_bicubic_X3.lmdb"
    ).get("0001")


def test_two_runs_on_one_folder_at_once(hr, out):
    with module._alone_in(out), pytest.raises(InputError, match="another run is writing here"):
        prepare(hr, out, Preparation(workers=1))
    assert prepare(hr, out, Preparation(workers=1)).images == 4


def test_small_images_can_be_left_out(hr, out, save_image, random_image):
    save_image(hr / "large.png", random_image(96, 120, 3))
    summary = prepare(hr, out, Preparation(scales=[2], workers=1, min_side=96))
    assert list(LmdbReader(out / "HR.lmdb").shapes) == ["large"]
    assert len(summary.skipped) == 4
    assert all("96 x 96 is needed" in reason for reason in summary.skipped)


def test_dicom_files_leave_no_trace_of_their_patient(hr, out, make_dicom_image, random_image):
    pixels = random_image(60, 80)
    scan = make_dicom_image(pixels, regions=[(1, 1, 4, 2, 75, 49)])
    loop = make_dicom_image(
        random_image(24, 36),
        name="IM0001",
        NumberOfFrames=3,
        PixelData=random_image(72, 36).tobytes(),
    )
    other = make_dicom_image(pixels, name="other", Modality="CT")
    names = [anonymous_name(path) for path in (scan, loop, other)]
    folder = hr / "DOE_JANE"
    folder.mkdir()
    scan.rename(folder / "DOE.dcm")
    (folder / "copy.dcm").write_bytes((folder / "DOE.dcm").read_bytes())
    loop.rename(folder / "1.2.840.7")
    other.rename(folder / "other")
    summary = prepare(hr, out, Preparation(workers=1, scales=[2]))
    frames = [f"{names[1]}_f{number:04d}" for number in (1, 2, 3)]
    assert sorted(LmdbReader(out / "HR.lmdb").shapes) == sorted(
        ["0000", "0001", "0002", "grey", names[0], *frames]
    )
    assert np.array_equal(read_image(out / "HR" / f"{names[0]}.png")[..., 0], pixels[2:50, 4:76])
    assert (summary.images, summary.made, summary.dicom) == (8, 7, 3)
    assert summary.skipped == [
        f"{folder}/other: {names[2]}: is no ultrasound image: its modality is CT",
        f"{folder}/copy.dcm: is a copy of {folder}/DOE.dcm",
    ]
    for path, content in files_of(out).items():
        assert b"DOE" not in content.upper(), path
        assert "doe" not in path.lower()
        assert str(os.stat(folder / "DOE.dcm").st_mtime_ns).encode() not in content

    (folder / "DOE.dcm").rename(folder / "renamed.dcm")
    again = prepare(hr, out, Preparation(workers=1, scales=[2]))
    # What was skipped is tried again, because a decoder may have been installed.
    assert (again.made, again.removed, again.lmdbs) == (1, 0, [])


def test_frame_step_and_whole_frames(tmp_path, out, make_dicom_image, random_image):
    pixels = random_image(4 * 36, 48)
    path = make_dicom_image(
        pixels[:36], regions=[(1, 1, 0, 0, 23, 23)], NumberOfFrames=4, PixelData=pixels.tobytes()
    )
    (tmp_path / "hr").mkdir()
    path.rename(tmp_path / "hr" / "a.dcm")
    summary = prepare(
        tmp_path / "hr", out, Preparation(workers=1, frame_step=2, whole_frames=True, lmdb=None)
    )
    assert summary.images == 2
    files = sorted((out / "HR").iterdir())
    assert [file.stem[-6:] for file in files] == ["_f0001", "_f0003"]
    assert np.array_equal(read_image(files[1])[..., 0], pixels[72:108])
    with pytest.raises(InputError, match="whole_frames was True and is now False"):
        prepare(tmp_path / "hr", out, Preparation(workers=1, frame_step=2, lmdb=None))
    with pytest.raises(InputError, match="frame_step: 0 is not a positive number"):
        prepare(tmp_path / "hr", out, Preparation(frame_step=0))
