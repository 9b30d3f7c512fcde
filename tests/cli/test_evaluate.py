import subprocess
import sys

import pytest
import torch

from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.cli import main
from basicsr_m2trans.evaluation.prepared_set import Scores


@pytest.fixture
def run(tmp_path):
    """A prepared set of two images, and an experiment with a checkpoint."""
    write_phantoms(tmp_path / "images", 2, height=72, width=96)
    prepare(tmp_path / "images", tmp_path / "set", Preparation(scales=(2,), workers=1))
    models = tmp_path / "experiments/tiny/models"
    models.mkdir(parents=True)
    network_g = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1}
    weights = M2Trans(2, num_feat=8, num_block=1).state_dict()
    torch.save({"params": weights, "network_g": network_g}, models / "net_g_latest.pth")
    return tmp_path


def test_prints_averages_and_keeps_the_images_values(run, capsys):
    checkpoint = run / "experiments/tiny/models/net_g_latest.pth"
    assert (
        main(["evaluate", str(checkpoint), "--data", str(run / "set"), "--out", str(run / "out")])
        == 0
    )
    scores = Scores.read(run / "out/tiny_net_g_latest.csv")
    assert scores.images == ("phantom_0001", "phantom_0002")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{checkpoint}, x2, 2 images of {run / 'set'}"
    assert lines[1].split() == ["protocol", "PSNR", "SSIM", "FSIM", "GMSD"]
    for line, protocol in zip(lines[2:4], ("standard", "paper"), strict=True):
        means = [scores.values[protocol, name].mean() for name in ("psnr", "ssim", "fsim", "gmsd")]
        assert line.split() == [protocol, *(f"{value:.4f}" for value in means)]


def test_networks_that_come_with_the_package_go_by_name(run, capsys):
    assert (
        main(["evaluate", "m2trans-x2", "--data", str(run / "set"), "--out", str(run / "out")]) == 0
    )
    assert capsys.readouterr().out.startswith(f"m2trans-x2, x2, 2 images of {run / 'set'}")
    # Trained, unlike the network of the fixture.
    assert Scores.read(run / "out/m2trans-x2.csv").values["standard", "psnr"].min() > 30


def test_a_process_of_its_own(run):
    """Nothing but the command has imported BasicSR, whose imports need repairs."""
    command = [sys.executable, "-m", "basicsr_m2trans.cli", "evaluate"]
    arguments = [
        str(run / "experiments/tiny/models/net_g_latest.pth"),
        "--data",
        str(run / "set"),
        "--tile",
        "24",
    ]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    assert "x2, 2 images" in result.stdout


def test_wrong_files_are_named(run, capsys):
    (run / "text.pth").write_text("no weights")
    for file, message in (("absent.pth", "there is no such file"), ("text.pth", "cannot be read")):
        assert main(["evaluate", str(run / file), "--data", str(run / "set")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert file in error


def test_equal_names_would_overwrite_each_other(run, capsys):
    checkpoint = str(run / "experiments/tiny/models/net_g_latest.pth")
    other = run / "other/tiny/models/net_g_latest.pth"
    other.parent.mkdir(parents=True)
    other.touch()
    assert (
        main(
            [
                "evaluate",
                checkpoint,
                str(other),
                "--data",
                str(run / "set"),
                "--out",
                str(run / "out"),
            ]
        )
        == 2
    )
    assert "equal names" in capsys.readouterr().err
