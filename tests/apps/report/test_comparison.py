"""A miniature comparison through the command: killed, resumed, extended, and its tables checked."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from basicsr_m2trans.archs.m2trans_arch import M2Trans
from basicsr_m2trans.cli import main
from basicsr_m2trans.evaluation.prepared_set import Scores

METHODS = ("Bicubic", "EDSR", "M2Trans")


@pytest.fixture
def arguments(data, options, tmp_path):
    return [
        *("compare", "--data", str(data), "--methods", "bicubic,EDSR,M2Trans", "--scales", "2"),
        *(
            "--iters",
            "60,EDSR=80",
            "--validations",
            "3",
            "--options",
            str(options),
            "--out",
            str(tmp_path / "out"),
        ),
    ]


def table_rows(out):
    with (out / "tables.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_its_tables_hold(arguments, tmp_path, capsys):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "basicsr_m2trans.cli", *arguments]
    first = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    states = out / "experiments/EDSR_x2_seed0/training_states"
    deadline = time.monotonic() + 120
    while len(list(states.glob("*.state"))) < 2:  # the kill may tear the newest one
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (out / "tables.md").exists()

    assert main(arguments) == 0
    assert "Resuming training from epoch" in (out / "logs/EDSR_x2_seed0.txt").read_text()
    assert "Resuming" not in (out / "logs/M2Trans_x2_seed0.txt").read_text()

    scores = {
        method: Scores.read(
            out / f"results/{method}_x2{'' if method == 'Bicubic' else '_seed0'}/val.csv"
        )
        for method in METHODS
    }
    rows = table_rows(out)
    assert len(rows) == 3 * 2 * 4
    for row in rows:
        key = row["protocol"], row["metric"]
        values = scores[row["method"]].values[key]
        assert float(row["mean"]) == pytest.approx(values.mean(), abs=1e-12)
        if row["method"] == "M2Trans":
            assert row["M2Trans_minus_method"] == ""
        else:
            difference = (scores["M2Trans"].values[key] - values).mean()
            assert float(row["M2Trans_minus_method"]) == pytest.approx(difference, abs=1e-12)
            assert float(row["low"]) <= difference <= float(row["high"])
    text = (out / "tables.md").read_text()
    best = max(scores[method].values["standard", "psnr"].mean() for method in METHODS)
    assert f"**{best:.2f}**" in text
    assert "| x2 | EDSR | 0 | 80 |" in text
    assert "| x2 | M2Trans | 0 | 60 |" in text
    assert {path.name for path in (out / "figures").iterdir()} == {
        "training_x2.png",
        "complexity_x2.png",
        "val_phantom_0002_x2.png",
    }

    # The same command again does nothing; another budget is refused; a second seed is added.
    networks = {path: path.stat().st_mtime_ns for path in out.rglob("net_g_latest.pth")}
    assert len(networks) == 2
    assert main(arguments) == 0
    assert networks == {path: path.stat().st_mtime_ns for path in out.rglob("net_g_latest.pth")}
    capsys.readouterr()
    assert main([*arguments, "--iters", "70,EDSR=80"]) == 2
    assert "iterations of M2Trans_x2 was 60 and is now 70" in capsys.readouterr().err
    assert main([*arguments, "--seeds", "0,1"]) == 0
    deviation = next(
        row for row in table_rows(out) if row["method"] == "EDSR" and row["metric"] == "ssim"
    )
    seeds = [
        Scores.read(out / f"results/EDSR_x2_seed{seed}/val.csv").values["standard", "ssim"]
        for seed in (0, 1)
    ]
    assert float(deviation["deviation"]) == pytest.approx(
        np.std([value.mean() for value in seeds], ddof=1)
    )


def test_weights_that_do_not_fit_are_named_with_the_lines_of_the_plan(
    options, data, tmp_path, capsys
):
    torch.save({"params": M2Trans(2, num_feat=16, num_block=1).state_dict()}, tmp_path / "net.pth")
    (tmp_path / "torn.pth").write_bytes(b"no weights")
    plan = tmp_path / "plan.yml"
    plan.write_text(
        f"data: {data}\nout: {tmp_path / 'out'}\noptions: {options}\nscales: [2]\niterations: "
        "9\nmethods:\n  M2Trans:\n"
        f"    changes: {{path: {{pretrain_network_g: {tmp_path / 'net.pth'}}}}}\n"
        "  EDSR:\n"
        f"    changes: {{path: {{pretrain_network_g: {tmp_path / 'torn.pth'}}}}}\n"
    )
    assert main(["check", str(plan)]) == 2
    report = capsys.readouterr().out
    assert (
        f"method M2Trans_x2 has 1 problem\n  {plan}:8: path: pretrain_network_g cannot be used: "
        in report
    )
    assert "head.weight has shape (16, 3, 3, 3), not (8, 3, 3, 3)" in report
    assert (
        f"method EDSR_x2 has 1 problem\n  {plan}:10: path: pretrain_network_g cannot be used: "
        in report
    )


@pytest.mark.slow
def test_a_failing_method_leaves_the_others(arguments, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        main([*arguments, "--set", "EDSR.datasets:train:batch_size_per_gpu=1000", "--iters", "5"])
        == 1
    )
    error = capsys.readouterr().err
    assert "1 runs failed; the same command tries them again" in error
    assert str(out / "logs/EDSR_x2_seed0.txt") in error
    assert {row["method"] for row in table_rows(out)} == {"Bicubic", "M2Trans"}


def test_nothing_is_written_when_the_input_is_wrong(arguments, tmp_path, capsys, data):
    for extra, message in (
        (["--set", "datasets:train:gt_size=96"], "smaller than the patch of gt_size 96"),
        (["--methods", "EDSR,M2trans"], "'M2trans' has no option file"),
        (["--scales", "4"], "has no option file train_EDSR_x4.yml"),
        (["--reference", "HAT"], "--reference HAT: name one of --methods Bicubic,EDSR,M2Trans"),
        (["--test", f"other={data / 'nowhere'}"], "nowhere has no HR and LR images of scale 2"),
        (["--panels", "val/phantom_9"], "--panels val/phantom_9: write TEST/IMAGE"),
        (
            ["--set", "M2Trans.path:pretrain_network_g=lost.pth"],
            "files that M2Trans_x2 needs are missing",
        ),
    ):
        assert main([*arguments, *extra]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
