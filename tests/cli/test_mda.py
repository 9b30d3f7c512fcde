import csv

import pytest
import torch

from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.cli import main

NETWORK = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Prepared sets of 12 and of 2 images, and checkpoints of two experiments."""
    folder = tmp_path_factory.mktemp("mda")
    for name, count in (("set", 12), ("few", 2)):
        write_phantoms(folder / "images" / name, count, height=72, width=72)
        prepare(folder / "images" / name, folder / name, Preparation(scales=(2,), workers=1))
    for seed, name in enumerate(("with", "without")):
        torch.manual_seed(seed)
        weights = M2Trans(2, num_feat=8, num_block=2).state_dict()
        models = folder / "experiments" / name / "models"
        models.mkdir(parents=True)
        torch.save({"params": weights, "network_g": NETWORK}, models / "net_g_latest.pth")
    return folder


def checkpoint(run, name):
    return str(run / "experiments" / name / "models/net_g_latest.pth")


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow  # UMAP is compiled
def test_two_networks_and_their_controls_give_a_figure_and_tables(run, tmp_path, capsys):
    command = [
        "mda",
        checkpoint(run, "with"),
        checkpoint(run, "without"),
        "--data",
        str(run / "set"),
        "--crop",
        "32",
    ]
    assert main([*command, "--control", "--out", str(tmp_path / "one")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{checkpoint(run, 'with')}, x2, 12 images of {run / 'set'}"
    assert lines[-1] == f"{tmp_path / 'one'}: mda.png, coordinates.csv and trustworthiness.csv"
    rows = read(tmp_path / "one/coordinates.csv")
    networks = [
        f"{name}_net_g_latest{control}"
        for name in ("with", "without")
        for control in ("", ", shuffled")
    ]
    assert list(dict.fromkeys(row["network"] for row in rows)) == networks
    assert len(rows) == len(networks) * 2 * 12
    assert {row["image"] for row in rows} == {f"phantom_{number:04d}" for number in range(1, 13)}
    values = read(tmp_path / "one/trustworthiness.csv")
    assert [(row["network"], row["layer"]) for row in values] == [
        (name, n) for name in networks for n in ("1", "2")
    ]
    printed = [line.split(": ")[1].split() for line in lines if "trustworthiness of" in line]
    assert printed == [
        [f"{float(row['trustworthiness']):.4f}" for row in values[i : i + 2]] for i in (0, 4)
    ]

    # The same seed gives the same points, whatever else is drawn.
    assert main([*command[:2], *command[3:], "--out", str(tmp_path / "two")]) == 0
    assert read(tmp_path / "two/coordinates.csv") == rows[:24]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crop", "0"], "--crop 0: give a number above 0"),
        (["--components", "0"], "--components 0: give a number above 0"),
        (["--seed", "-1"], "--seed -1: give a number from 0"),
        (["--crop", "37"], "12 of 12 LR images at x2 are smaller than --crop 37"),
        (["--data", "few"], "has 2 images; manifolds need at least 11"),
    ],
)
def test_mistakes_are_named_before_anything_is_computed(arguments, message, run, tmp_path, capsys):
    arguments = [str(run / "few") if text == "few" else text for text in arguments]
    command = ["mda", checkpoint(run, "with"), "--data", str(run / "set"), "--crop", "32", "--out"]
    assert main([*command, str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_of_one_name_are_refused(run, tmp_path, capsys):
    command = [
        "mda",
        *[checkpoint(run, "with")] * 2,
        "--data",
        str(run / "set"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 2
    assert "some checkpoints have equal names" in capsys.readouterr().err
