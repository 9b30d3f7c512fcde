import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from basicsr_m2trans.apps.preparation import presets
from basicsr_m2trans.cli import main


@pytest.fixture
def hr(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "hr").mkdir()
    for number in range(2):
        image = rng.integers(0, 256, (24, 36), np.uint8)
        (tmp_path / "hr" / f"{number}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return tmp_path / "hr"


def test_prints_counts_and_the_options_to_use(hr, tmp_path, capsys):
    out = tmp_path / "out"
    (hr / "text.png").write_text("not an image")
    assert main(["prepare", str(hr), f"{out}/", "--scales", "2", "--workers", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}/: 2 HR images; 3 sources read in this run",
        "wrote HR.lmdb, LR_bicubic_X2.lmdb",
        "skipped 1 sources:",
        f"  {hr}/text.png: cannot be read as an image; the file is damaged or of an unknown format",
        "options of the data set for scale 2:",
        f"  dataroot_gt: {out}/HR.lmdb",
        f"  dataroot_lq: {out}/LR_bicubic_X2.lmdb",
        f"  captions: {out}/captions.csv",
        "  io_backend: {type: lmdb}",
    ]


def test_raw_pixels(hr, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        main(["prepare", str(hr), str(out), "--scales", "3", "--workers", "1", "--lmdb", "raw"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert "wrote HR.raw_lmdb, LR_bicubic_X3.raw_lmdb" in lines
    assert lines[-4:-2] == [
        f"  dataroot_gt: {out}/HR.raw_lmdb",
        f"  dataroot_lq: {out}/LR_bicubic_X3.raw_lmdb",
    ]
    assert lines[-1] == "  io_backend: {type: lmdb}"


def test_a_format_and_no_lmdb_exclude_each_other(hr, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["prepare", str(hr), str(tmp_path / "out"), "--lmdb", "raw", "--no-lmdb"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_second_run_says_that_there_is_nothing_to_do(hr, tmp_path, capsys):
    command = [
        "prepare",
        str(hr),
        str(tmp_path / "out"),
        "--no-lmdb",
        "--workers",
        "1",
        "--sub-image",
        "24",
        "--step",
        "12",
    ]
    assert main(command) == 0
    assert "4 HR images; 2 sources read" in capsys.readouterr().out
    assert main(command) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{tmp_path / 'out'}: nothing to do, its 4 HR images are up to date\n")
    assert f"  dataroot_lq: {tmp_path / 'out'}/LR_bicubic/X3\n" in output
    assert "  filename_tmpl: '{}x3'\n  io_backend: {type: disk}\n" in output


def test_changes_are_reported(hr, tmp_path, capsys):
    command = ["prepare", str(hr), str(tmp_path / "out"), "--scales", "4", "--workers", "1"]
    main(command)
    (hr / "0.png").unlink()
    assert main([*command, "--no-lmdb"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "removed the images of 1 sources that no longer exist" in lines
    assert "removed HR.lmdb, LR_bicubic_X4.lmdb, which had become out of date" in lines


def test_mistakes_give_status_2(hr, tmp_path, capsys):
    assert main(["prepare", str(hr), str(tmp_path / "out"), "--workers", "1", "--seed", "0"]) == 0
    capsys.readouterr()
    assert main(["prepare", str(hr), str(tmp_path / "out"), "--seed", "1"]) == 2
    assert "seed was 0 and is now 1" in capsys.readouterr().err


def test_dicom_files_are_pointed_out(tmp_path, capsys):
    (tmp_path / "scans").mkdir()
    shutil.copy(get_testdata_file("examples_ybr_color.dcm", download=False), tmp_path / "scans")
    command = [
        "prepare",
        str(tmp_path / "scans"),
        str(tmp_path / "out"),
        "--scales",
        "2",
        "--workers",
        "1",
    ]
    assert main(command) == 2
    assert "does not lie in its frame of 320 x 240" in capsys.readouterr().err
    command[2] = str(tmp_path / "out2")
    assert main([*command, "--whole-frames", "--frame-step", "10", "--no-lmdb"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}/out2: 3 HR images; 1 sources read in this run"
    assert (
        lines[1]
        == "1 sources are DICOM: look over their images, names may be burnt into the picture"
    )


def test_a_published_data_set(tmp_path, monkeypatch, capsys):
    part = presets.PRESETS["cca-us"][0]
    monkeypatch.setitem(presets.PRESETS, "cca-us", (replace(part, count=1),))
    rng = np.random.default_rng(0)
    for path, shape in {"HR/0001.jpg": (25, 36), "LR_bicubic/X2/0001x2.jpg": (12, 18)}.items():
        file = tmp_path / "UI5" / path
        file.parent.mkdir(parents=True)
        file.write_bytes(cv2.imencode(".jpg", rng.integers(0, 256, shape, np.uint8))[1].tobytes())
    command = [
        "prepare",
        "--preset",
        "cca-us",
        str(tmp_path),
        str(tmp_path / "out"),
        "--scales",
        "2",
    ]
    assert main([*command, "--seed", "1", "--no-lmdb"]) == 2
    assert "--seed, --no-lmdb: has no meaning with --preset" in capsys.readouterr().err
    assert main(command) == 0
    out = tmp_path / "out" / "test"
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 1 pairs of scale 2; wrote HR_X2.lmdb, LR_bicubic_X2.lmdb",
        "options of the data set for test, scale 2:",
        f"  dataroot_gt: {out}/HR_X2.lmdb",
        f"  dataroot_lq: {out}/LR_bicubic_X2.lmdb",
        f"  captions: {out}/captions.csv",
        "  io_backend: {type: lmdb}",
    ]
