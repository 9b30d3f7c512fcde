import pytest
import torch

from basicsr_m2trans.apps.report.methods import base_files, run_options
from basicsr_m2trans.apps.report.settings import Method, Run, Settings
from basicsr_m2trans.apps.report.training import Trainer, TrainingError
from basicsr_m2trans.apps.report.training_log import read_training_log


def base(options, data):
    settings = Settings(data, {"EDSR": Method("EDSR")}, (2,), None, {}, "EDSR", options=options)
    return base_files(settings, [Run("EDSR", 2, 0)])["EDSR_x2"].opt


@pytest.mark.slow
def test_a_training_stops_at_the_checkpoint_after_its_time(options, data, tmp_path):
    opt = base(options, data)
    # Of the option file: it would delete the checkpoint that counts.
    opt["logger"]["keep_last"] = 1
    opt = run_options(opt, Run("EDSR", 2, 0), 2000, 0)
    trained = Trainer(tmp_path / "out").train(opt, 0.05, lambda log: None)  # noqa: ARG005
    assert 0 < trained.iterations < 2000
    assert trained.iterations % 100 == 0
    assert trained.checkpoint == f"experiments/EDSR_x2_seed0/models/net_g_{trained.iterations}.pth"
    assert "params" in torch.load(tmp_path / "out" / trained.checkpoint, weights_only=True)
    log = read_training_log(tmp_path / "out/experiments/EDSR_x2_seed0", 2000)
    assert trained.seconds == round(log.seconds_until(trained.iterations), 1) < log.seconds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_type", "kept"), [("M2TransModel", ["15", "20"]), ("SRModel", ["5", "10", "15", "20"])]
)
def test_a_training_of_given_length_keeps_two_checkpoints_where_it_can(
    model_type, kept, options, data, tmp_path
):
    opt = run_options(base(options, data) | {"model_type": model_type}, Run("EDSR", 2, 0), 20, 0)
    Trainer(tmp_path / "out").train(opt, None, lambda log: None)  # noqa: ARG005
    folder = tmp_path / "out/experiments/EDSR_x2_seed0"
    networks = {path.stem for path in (folder / "models").iterdir()}
    assert networks == {f"net_g_{each}" for each in [*kept, "latest"]}
    assert {path.stem for path in (folder / "training_states").iterdir()} == set(kept)


@pytest.mark.slow
def test_the_probe_leaves_nothing_but_its_output(options, data, tmp_path, monkeypatch):
    monkeypatch.setattr("basicsr_m2trans.apps.report.training.PROBE_ITERATIONS", 8)
    opt = run_options(base(options, data), Run("EDSR", 2, 0), 8, 0)
    assert 0 < Trainer(tmp_path / "out").probe(opt) < 60
    files = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files == ["probe_EDSR_x2_seed0.txt"]


def test_a_failing_training_names_its_output(options, data, tmp_path):
    opt = run_options(base(options, data), Run("EDSR", 2, 0), 8, 0)
    opt["datasets"]["train"]["gt_size"] = 480
    with pytest.raises(
        TrainingError, match=r"ended with status 2; its messages are in .*/logs/EDSR_x2_seed0\.txt"
    ):
        Trainer(tmp_path / "out").train(opt, None, lambda log: None)  # noqa: ARG005
    assert "gt_size is 480, but" in (tmp_path / "out/logs/EDSR_x2_seed0.txt").read_text()
