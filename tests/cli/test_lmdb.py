import cv2
import numpy as np
import pytest

from basicsr_m2trans.cli import main
from basicsr_m2trans.data.captions import read_captions


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for folder, name, h, w in (
        ("hr", "00 01", 24, 36),
        ("X2", "00 01x2", 12, 18),
        ("X3", "00 01x3", 8, 12),
    ):
        (tmp_path / folder).mkdir()
        image = rng.integers(0, 256, (h, w), np.uint8)
        (tmp_path / folder / f"{name}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return tmp_path


def test_prints_what_was_done_and_the_options_to_use(folders, capsys):
    out = folders / "out"
    arguments = ["lmdb", "--gt", str(folders / "hr"), "--out", str(out)]
    (folders / "captions.csv").write_text("image,caption\n00 01.png,a fine ultrasound image\n")
    command = [
        *arguments,
        "--lq",
        str(folders / "X2"),
        "--scale",
        "2",
        "--captions",
        str(folders / "captions.csv"),
    ]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 1 pairs of scale 2",
        "wrote HR.lmdb, LR_bicubic_X2.lmdb",
        f"renamed 1 images whose names do not suit BasicSR; see {out}/names.csv",
        "options of the data set:",
        f"  dataroot_gt: {out}/HR.lmdb",
        f"  dataroot_lq: {out}/LR_bicubic_X2.lmdb",
        f"  captions: {out}/captions.csv",
        "  io_backend: {type: lmdb}",
    ]
    assert list(read_captions(out / "captions.csv").values()) == ["a fine ultrasound image"]

    assert main([*arguments, "--lq", str(folders / "X3")]) == 0
    assert "kept HR.lmdb, which held the same images already" in capsys.readouterr().out


def test_raw_pixels(folders, capsys):
    out = folders / "out"
    arguments = ["--gt", str(folders / "hr"), "--lq", str(folders / "X2"), "--out", str(out)]
    assert main(["lmdb", *arguments, "--lmdb", "raw"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "wrote HR.raw_lmdb, LR_bicubic_X2.raw_lmdb"
    assert lines[-4:] == [
        f"  dataroot_gt: {out}/HR.raw_lmdb",
        f"  dataroot_lq: {out}/LR_bicubic_X2.raw_lmdb",
        f"  captions: {out}/captions.csv",
        "  io_backend: {type: lmdb}",
    ]


def test_mistakes_give_status_2(folders, capsys):
    arguments = [
        "--gt",
        str(folders / "hr"),
        "--lq",
        str(folders / "X2"),
        "--out",
        str(folders / "out"),
    ]
    assert main(["lmdb", *arguments, "--scale", "3"]) == 2
    assert "m2trans lmdb:" in (error := capsys.readouterr().err)
    assert "1 of 1 LR images do not fit scale 3" in error
