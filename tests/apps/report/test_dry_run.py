"""What --dry-run prints, and that nothing is written."""

import itertools
from pathlib import Path

import pytest
import yaml

from basicsr_m2trans.cli import main

ROOT = Path(__file__).parents[3]
PLANS = sorted((ROOT / "plans").glob("*.yml"))


@pytest.fixture
def plan(options, tmp_path):
    """Writes a plan of tiny networks, with its data in a given folder."""

    def write(data):
        path = tmp_path / "plan.yml"
        path.write_text(
            f"data: {data}\nout: {tmp_path / 'out'}\noptions: {options}\nscales: [2]\niterations: "
            "60\nmethods:\n  bicubic:\n  EDSR: {iterations: 1080, seeds: [3, 4]}\n"
            "  wide: {base: M2Trans, changes: {network_g: {num_feat: 16}}}\n"
        )
        return path

    return write


def cells(text, name):
    """The line of a run, in pieces."""
    return next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()


def test_runs_methods_and_data_are_printed(plan, options, data, tmp_path, capsys):
    assert main(["compare", str(plan(data)), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert cells(text, "Bicubic_x2") == ["Bicubic_x2", "-", "-", "-", "-", "to", "do"]
    edsr = cells(text, "EDSR_x2_seed4")
    assert edsr[1] == str(options / "baselines/train_EDSR_x2.yml")
    assert edsr[4:] == ["1,080", "iterations", "to", "do"]
    assert float(edsr[3]) > 0
    assert cells(text, "wide_x2_seed0")[1] == str(options / "train_M2Trans_x2.yml")
    assert "wide_x2: M2Trans, num_block 1, num_feat 16" in text
    assert "  HR patch 48, batch 2, Adam at 0.002, CosineAnnealingRestartLR, L1Loss" in text
    assert "  changed: network_g:num_feat=16" in text
    assert "EDSR_x2: EDSR, num_block 1, num_feat 8" in text
    assert "  changed: nothing" in text
    assert f"test:      val={data / 'val'}" in text
    assert "reference: wide" in text
    assert "missing" not in text
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_printed(plan, tmp_path, capsys):
    arguments = [
        "compare",
        str(plan(tmp_path / "no")),
        "--test",
        "far=far/away",
        "--set",
        "wide.path:pretrain_network_g=w",
    ]
    assert main([*arguments, "--dry-run"]) == 0
    text = capsys.readouterr().out
    missing = text[text.index("missing:") :]
    for folder in (tmp_path / "no/train", tmp_path / "no/val", "far/away"):
        assert (
            f"  {folder} has no HR and LR images of scale 2; make them with m2trans prepare "
            f"YOUR_IMAGES {folder}" in missing
        )
    assert "files that wide_x2 needs are missing" in missing
    # The comparison itself refuses.
    assert main(arguments) == 2
    assert "far/away has no HR and LR images of scale 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_finished_is_printed(plan, data, tmp_path, capsys):
    path = str(plan(data))
    assert main(["compare", path, "--methods", "bicubic"]) == 0
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    capsys.readouterr()
    assert main(["compare", path, "--dry-run", "--time-budget", "2"]) == 2
    assert "minutes was None and is now 2" in capsys.readouterr().err
    assert main(["compare", path, "--dry-run"]) == 0
    assert cells(capsys.readouterr().out, "Bicubic_x2")[-3:] == ["measured", "on", "val"]
    assert {
        file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()
    } == before


def test_a_dry_run_refuses_what_a_run_refuses(plan, data, tmp_path, capsys):
    path = plan(data)
    path.write_text(path.read_text() + "panels: [val/phantom_9]\n")
    assert main(["compare", str(path), "--dry-run"]) == 2
    assert (
        f"{path}:10: write TEST/IMAGE, not val/phantom_9; test sets: val" in capsys.readouterr().err
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    assert main(["compare", str(plan(data)), "--dry-run"]) == 2
    assert "is not empty and holds no comparison" in capsys.readouterr().err


def test_a_time_budget_is_printed(plan, data, capsys):
    assert main(["compare", str(plan(data)), "--dry-run", "--time-budget", "2.5"]) == 0
    assert "60 iterations, at most 2.5 minutes" in capsys.readouterr().out


@pytest.mark.parametrize("path", PLANS, ids=[path.stem for path in PLANS])
def test_the_plans_of_the_repository_resolve_without_data(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options").symlink_to(ROOT / "options")
    assert main(["compare", str(path), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "missing:" in text
    assert [child.name for child in tmp_path.iterdir()] == ["options"]


def test_the_example_of_the_documentation_resolves(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "options").symlink_to(ROOT / "options")
    text = (ROOT / "docs/comparison.md").read_text(encoding="utf-8")
    (tmp_path / "norm.yml").write_text(text.split("```yaml\n")[1].split("```")[0])
    assert main(["compare", "norm.yml", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert cells(text, "EDSR_x3_seed0")[4] == "580"
    changed = " ".join(text[text.index("M2Trans_without_skip_x2: ") :].split()).split(" EDSR_x3: ")[
        0
    ]
    # With EMA, more than half of what is measured would be the initial weights.
    assert changed.endswith("degradation=~, network_g:global_skip=False, train:ema_decay=0")
    assert cells(text, "M2Trans_without_skip_x3_seed2")[4] == "600"
    network, training = next(
        pair
        for pair in itertools.pairwise(text.splitlines())
        if pair[0].startswith("M2Trans_without_skip_x3: M2Trans")
    )
    assert network.endswith(", global_skip False")
    assert training.startswith("  HR patch 144")


def test_all_losses_and_all_that_a_change_takes_away_are_printed(plan, options, tmp_path, capsys):
    (tmp_path / "net.pth").touch()
    file = options / "baselines/train_EDSR_x2.yml"
    opt = yaml.safe_load(file.read_text())
    opt["model_type"] = "SRModel"
    opt["path"]["pretrain_network_g"] = "net.pth"
    opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False}
    opt["train"]["perceptual_opt"] = {"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1}}
    file.write_text(yaml.safe_dump(opt))
    path = plan(tmp_path / "no")
    path.write_text(
        path.read_text().replace(
            "seeds: [3, 4]",
            "changes: {train: {scheduler: {type: CosineAnnealingRestartLR, periods: [1000]}},"
            " datasets: {train: {type: PairedImageDataset, gt_size: 48, use_hflip: true, use_rot: "
            "true, batch_size_per_gpu: 2, num_worker_per_gpu: 0}}}",
        )
    )
    assert main(["compare", str(path), "--dry-run"]) == 0
    text = capsys.readouterr().out
    lines = text[text.index("EDSR_x2: ") :].split("wide_x2")[0]
    assert (
        "CosineAnnealingRestartLR, PerceptualLoss + L1Loss\n" in lines
    )  # in the order of the file
    changed = set(" ".join(lines.split("changed: ")[1].split()).split(", "))
    assert {
        "train:scheduler:type=CosineAnnealingRestartLR",
        "train:scheduler:periods=[1000]",
    } <= changed
    assert {"without train:scheduler:milestones", "without train:scheduler:gamma"} <= changed
    assert "datasets:train:type=PairedImageDataset" in changed
    assert "without datasets:train:dataset_enlarge_ratio" in changed
    # The data of the comparison and a path that is the same are no changes.
    assert not [
        each for each in changed if "dataroot" in each or "captions" in each or "pretrain" in each
    ]


def test_a_section_that_is_taken_away_is_printed_once(plan, options, data, capsys):
    assert (
        main(["compare", str(plan(data)), "--dry-run", "--set", "train:pixel_opt={type: L1Loss}"])
        == 0
    )
    assert (
        "without train:pixel_opt:loss_weight, without train:pixel_opt:reduction"
        in capsys.readouterr().out
    )
    assert main(["compare", str(plan(data)), "--dry-run", "--set", "val:metrics:fsim=~"]) == 0
    assert "without val:metrics:fsim\n" in capsys.readouterr().out
    file = options / "train_M2Trans_x2.yml"
    opt = yaml.safe_load(file.read_text())
    opt["datasets"]["train"]["degradation"] = {"probability": 0.2}
    file.write_text(yaml.safe_dump(opt))
    assert (
        main(
            ["compare", str(plan(data)), "--dry-run", "--set", "wide.datasets:train:degradation=~"]
        )
        == 0
    )
    assert (
        "  changed: datasets:train:degradation=~, network_g:num_feat=16\n"
        in capsys.readouterr().out
    )
