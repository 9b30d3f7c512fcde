import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.cli import main
from basicsr_m2trans.inference.upscaler import Upscaler


@pytest.fixture
def scans(tmp_path):
    torch.manual_seed(0)
    net = M2Trans(2, num_feat=8, num_block=1)
    settings = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1}
    torch.save({"params": net.state_dict(), "network_g": settings}, tmp_path / "net.pth")
    (tmp_path / "scans").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (12, 14), np.uint8)
    Image.fromarray(image).save(tmp_path / "scans/a.png")
    return tmp_path


def command(folder, *more):
    return [
        "upscale",
        str(folder / "scans"),
        "-o",
        str(folder / "out"),
        "--model",
        str(folder / "net.pth"),
        *more,
    ]


def test_a_folder_with_report(scans, capsys):
    assert main(command(scans, "--json", str(scans / "report.json"), "--device", "cpu")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "M2Trans x2 (net.pth) on cpu; research use, not for diagnosis",
        f"{scans / 'out'}: 1 done, 0 skipped, 0 failed",
    ]
    expected = Upscaler.from_checkpoint(scans / "net.pth", device="cpu")(
        Image.open(scans / "scans/a.png")
    )
    assert np.array_equal(np.asarray(Image.open(scans / "out/a.png")), np.asarray(expected))
    report = json.loads((scans / "report.json").read_text())
    assert report["use"] == "research use, not for diagnosis"
    assert report["files"][0]["status"] == "done"
    assert report["files"][0]["upscaled_size"] == [28, 24]


def test_failed_and_existing_files(scans, capsys):
    (scans / "scans/b.png").write_bytes(b"x")
    assert main(command(scans)) == 1
    streams = capsys.readouterr()
    assert "1 done, 0 skipped, 1 failed" in streams.out
    assert "b.png: cannot be read as an image" in streams.err
    (scans / "scans/b.png").unlink()
    assert main(command(scans)) == 0
    assert "0 done, 1 skipped" in capsys.readouterr().out


def test_compiling_needs_a_compiler_before_anything_is_written(scans, capsys, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert main(command(scans, "--device", "cpu", "--compile")) == 2
    assert (
        "compile needs the compiler no-such-compiler, which is not here; install it"
        in capsys.readouterr().err
    )
    assert not (scans / "out").exists()


def test_mistakes_are_told_before_anything_is_written(scans, capsys):
    assert main(command(scans, "--scale", "4")) == 2
    assert "says that the network upscales x2" in capsys.readouterr().err
    assert (
        main(["upscale", str(scans / "none"), "-o", str(scans / "out"), "--model", "m2trans-x2"])
        == 2
    )
    assert "there is no such file or folder" in capsys.readouterr().err
    assert not (scans / "out").exists()


def test_places_that_cannot_be_written_are_told_before_any_work(scans, capsys):
    (scans / "file").touch()
    image = str(scans / "scans/a.png")
    for arguments, message in (
        (
            ["-o", str(scans / "file/out")],
            "file cannot be written (Not a directory); name another folder",
        ),
        (
            ["-o", str(scans / "out"), "--json", str(scans / "file/r.json")],
            "file cannot be written (Not a directory)",
        ),
        (["-o", str(scans / "out"), "--json", str(scans)], "is a folder; name a file"),
    ):
        assert main(["upscale", image, "--scale", "2", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert not (scans / "out").exists()


def test_without_model_and_out_a_network_of_the_package_and_a_folder_of_its_scale(
    scans, monkeypatch, capsys
):
    monkeypatch.chdir(scans)
    assert main(["upscale", "scans/a.png", "--scale", "2", "--device", "cpu"]) == 0
    assert "M2Trans x2 (m2trans-x2.safetensors) on cpu" in capsys.readouterr().out
    expected = Upscaler.from_checkpoint("m2trans-x2", device="cpu")(Image.open("scans/a.png"))
    assert np.array_equal(np.asarray(Image.open("upscaled_x2/a.png")), np.asarray(expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --scale 2, 3 or 4, or your own network by --model"),
        (["--scale", "5"], "give --scale 2, 3 or 4, or your own network by --model"),
        (["--scale", "2", "--batch", "0"], "--batch must be at least 1, but is 0"),
        (
            ["--scale", "2", "--device", "cpu,"],
            "--device cpu,: has an empty entry; write for example cuda:0,cuda:1",
        ),
        (
            ["--scale", "2", "--arch", "EDSR"],
            "--arch and --opt say what your own network is; name its file by --model",
        ),
    ],
)
def test_options_that_cannot_be(scans, capsys, arguments, message):
    assert main(["upscale", str(scans / "scans/a.png"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_ctrl_c_leaves_no_partial_file_and_the_report(scans, monkeypatch, capsys):
    from basicsr_m2trans.apps.files import image_files

    def interrupt(_, path, *__):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(image_files, "write_image", interrupt)
    assert main(command(scans, "--json", str(scans / "report.json"))) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not list((scans / "out").iterdir())
    assert json.loads((scans / "report.json").read_text())["files"] == []


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_ctrl_c_ends_all_processes_and_leaves_what_is_finished(scans, devices):
    """As a terminal sends it: to the command and to the processes that it has started."""
    noise = np.random.default_rng(0)
    for number in range(200):
        Image.fromarray(noise.integers(0, 256, (200, 200), np.uint8)).save(
            scans / f"scans/{number:03}.png"
        )
    arguments = command(scans, "--device", devices, "--json", str(scans / "report.json"))
    with subprocess.Popen(
        [sys.executable, "-m", "basicsr_m2trans.cli", *arguments],
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        while not list(scans.glob("out/*.png")):
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        # The end of what they write is the end of all of them.
        error = process.communicate(timeout=60)[1].decode()
    assert (process.returncode, error) == (130, "m2trans upscale: interrupted\n")
    files = json.loads((scans / "report.json").read_text())["files"]
    assert {file["status"] for file in files} == {"done"}
    reported = {Path(file["target"]).name for file in files}
    found = {path.name for path in (scans / "out").iterdir()}
    assert reported <= found <= {f"{number:03}.png" for number in range(199)}
    # The signal may come while a result is on its way here.
    assert len(found) - len(reported) <= len(devices.split(","))
