"""Which checkpoint a run resumes from, and what is said about the others."""

import contextlib
import logging
import os
import re
from types import SimpleNamespace

import pytest
import torch

from basicsr_m2trans import register
from basicsr_m2trans.models.training_position import TrainingPosition
from basicsr_m2trans.models.training_run import TrainingRun
from basicsr_m2trans.training.training_start import TrainingStart
from basicsr_m2trans.utils.errors import InputError

LOADER_OPTIONS = {"manual_seed": 0, "model_type": "M2TransModel", "datasets": {"train": {}}}


register()

from basicsr.models import lr_scheduler  # noqa: E402
from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402


def write_checkpoint(root, iteration):
    for folder in ("models", "training_states"):
        (root / folder).mkdir(exist_ok=True)
    torch.save({"params": {"weight": torch.ones(100)}}, root / f"models/net_g_{iteration}.pth")
    state = {"epoch": 1, "iter": iteration, "optimizers": [], "schedulers": []}
    torch.save(state, root / f"training_states/{iteration}.state")


def options(root, **path):
    paths = {
        "models": str(root / "models"),
        "training_states": str(root / "training_states"),
        **path,
    }
    auto_resume = "resume_state" not in path
    return {
        "name": "tiny",
        "auto_resume": auto_resume,
        "dist": False,
        "manual_seed": 7,
        "network_g": {},
        "path": paths,
    }


def tear(path):
    path.write_bytes(path.read_bytes()[:-100])


def change(path):
    data = bytearray(path.read_bytes())
    data[data.index(torch.ones(2).numpy().tobytes())] ^= 1
    path.write_bytes(data)


class NumberedImages(list):
    """Stands in for a data set like `PairedImageTextDataset`."""

    numbered_draws = True


def make_loaders(_opt, _logger):
    sampler = SimpleNamespace(start_at=lambda *_: None, total_size=8, num_replicas=1)
    dataset = NumberedImages(range(8))
    return torch.utils.data.DataLoader(dataset), sampler, [], None, 20


def test_torn_checkpoints_are_passed_over_and_named_in_the_log(tmp_path, monkeypatch, caplog):
    """Torn, changed or lost, the state or the network: the newest whole one is taken, wherever the
    command runs.
    """
    for iteration in (5, 10, 15, 20, 100):
        write_checkpoint(tmp_path, iteration)
    tear(tmp_path / "training_states/100.state")
    change(tmp_path / "models/net_g_20.pth")
    (tmp_path / "models/net_g_15.pth").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    start = TrainingStart(make_loaders, TrainingRun())
    opt = options(tmp_path)
    assert start.load_resume_state(opt)["iter"] == 10
    assert opt["path"]["resume_state"] == str(tmp_path / "training_states/10.state")
    assert opt["path"]["pretrain_network_g"] == str(tmp_path / "models/net_g_10.pth")

    start.create_train_val_dataloader(LOADER_OPTIONS, logging.getLogger("test_training_start"))
    warnings = [
        record.getMessage() for record in caplog.records if "is skipped" in record.getMessage()
    ]
    assert len(warnings) == 3
    for warning, name in zip(warnings, ("100.state", "net_g_20.pth", "net_g_15.pth"), strict=True):
        assert name in warning


def test_the_networks_of_a_run_are_resumed_whole_whatever_it_began_with(tmp_path):
    """The option file may say that the run began from a bare file of weights, of which only some
    fit.
    """
    write_checkpoint(tmp_path, 5)
    opt = options(tmp_path, param_key_g=None, strict_load_g=False)
    TrainingStart(None, TrainingRun()).load_resume_state(opt)
    assert (opt["path"]["param_key_g"], opt["path"]["strict_load_g"]) == ("params", True)


@pytest.mark.parametrize(("saved", "seed"), [({"manual_seed": 3}, 3), ({}, 7)])
def test_the_seed_of_the_interrupted_run_is_kept(saved, seed, tmp_path, caplog):
    """Without `manual_seed` in the option file BasicSR draws another one for each start; `SRModel`
    saves none.
    """
    write_checkpoint(tmp_path, 5)
    file = tmp_path / "training_states/5.state"
    torch.save(torch.load(file) | saved, file)
    opt = options(tmp_path) | LOADER_OPTIONS | {"manual_seed": 7}
    start = TrainingStart(make_loaders, TrainingRun())
    start.load_resume_state(opt)
    assert opt["manual_seed"] == seed
    start.create_train_val_dataloader(opt, logging.getLogger("test_training_start"))
    assert (
        "manual_seed stays 3, with which the run began; 7 has no effect." in caplog.messages
    ) is (seed == 3)


def write_run(root, **arguments):
    """A checkpoint of iteration 5 of a run with this schedule; its options."""
    write_checkpoint(root, 5)
    network = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1, "bias": True}
    weights = ARCH_REGISTRY.get("M2Trans")(upscale=2, num_feat=8, num_block=1).state_dict()
    torch.save({"params": weights, "network_g": network}, root / "models/net_g_5.pth")
    file = root / "training_states/5.state"
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    name = "CosineAnnealingRestartLR" if "periods" in arguments else "MultiStepRestartLR"
    schedule = getattr(lr_scheduler, name)(optimizer, **arguments)
    states = {"schedulers": [schedule.state_dict()], "optimizers": [optimizer.state_dict()]}
    torch.save(torch.load(file) | states, file)
    scheduler = {"type": name, **arguments}
    train = {
        "total_iter": 20,
        "scheduler": scheduler,
        "optim_g": {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.999]},
    }
    return options(root) | LOADER_OPTIONS | {"network_g": network, "train": train, "manual_seed": 7}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_feat": 16}, "network_g: num_feat is 16, but was 8; write what the run began with"),
        (
            {"bias": False, "norm": "none"},
            "bias is False, but was True; norm is 'none', but was not given",
        ),
        (
            {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3},
            "network_g: type is 'EDSR', but was 'M2Trans'; write",
        ),
    ],
)
def test_another_network_is_named_by_its_settings(changes, message, tmp_path):
    opt = write_run(tmp_path, periods=[20])
    opt["network_g"] = opt["network_g"] | changes
    if changes.get("type") == "EDSR":
        del opt["network_g"]["bias"]
    with pytest.raises(InputError, match=rf"cannot resume tiny: .*{re.escape(message)}"):
        TrainingStart(None, TrainingRun()).load_resume_state(opt)


def test_settings_that_change_no_weights_may_change_and_are_told(tmp_path, caplog):
    opt = write_run(tmp_path, periods=[20])
    opt["network_g"] = opt["network_g"] | {"fast": False}
    start = TrainingStart(make_loaders, TrainingRun())
    assert start.load_resume_state(opt)["iter"] == 5
    start.create_train_val_dataloader(opt, logging.getLogger("test_training_start"))
    text = (
        "network_g: fast is False, but was not given; the weights fit, so the run goes on with the "
        "new setting."
    )
    assert text in caplog.messages


def test_a_run_cannot_go_on_behind_its_schedule(tmp_path):
    opt = write_run(tmp_path, periods=[12, 8], restart_weights=[1, 1])
    opt["train"]["total_iter"] = 40
    opt["train"]["scheduler"]["periods"] = [40, 8]
    text = (
        "train: total_iter is 40, but the run began with the learning rate of scheduler: periods "
        "[12, 8]"
    )
    with pytest.raises(InputError, match=re.escape(text)):
        TrainingStart(None, TrainingRun()).load_resume_state(opt)


@pytest.mark.parametrize(
    ("section", "changes", "text"),
    [
        ("scheduler", {"periods": [15]}, None),
        (
            "scheduler",
            {"periods": [18]},
            "scheduler: periods stays [15], with which the run began; [18] has no",
        ),
        (
            "scheduler",
            {"eta_min": 1e-5},
            "scheduler: eta_min stays 0, with which the run began; 1e-05 has no effect",
        ),
        (
            "optim_g",
            {"lr": 5e-4},
            "optim_g: lr stays 0.001, with which the run began; 0.0005 has no effect.",
        ),
        (
            "optim_g",
            {"betas": [0.9, 0.99]},
            "optim_g: betas stays [0.9, 0.999], with which the run began; [0.9, 0.99]",
        ),
    ],
)
def test_the_settings_of_the_interrupted_run_are_kept_and_told(
    section, changes, text, tmp_path, caplog
):
    opt = write_run(tmp_path, periods=[15])
    opt["train"]["total_iter"] = 15
    opt["train"][section] |= changes
    start = TrainingStart(make_loaders, TrainingRun())
    start.load_resume_state(opt)
    start.create_train_val_dataloader(opt, logging.getLogger("test_training_start"))
    told = [message for message in caplog.messages if "with which the run began" in message]
    assert len(told) == (text is not None)
    assert text is None or f"train: {text}" in told[0]


def test_milestones_of_the_interrupted_run_are_kept_and_told(tmp_path, caplog):
    opt = write_run(tmp_path, milestones=[5, 9])
    opt["train"]["scheduler"] = {"type": "MultiStepRestartLR", "milestones": [7]}
    start = TrainingStart(make_loaders, TrainingRun())
    start.load_resume_state(opt)
    start.create_train_val_dataloader(opt, logging.getLogger("test_training_start"))
    text = "train: scheduler: milestones stays [5, 9], with which the run began; [7] has no effect."
    assert text in caplog.messages


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"scheduler": {"type": "MultiStepLR", "milestones": [7]}},
            "scheduler: type is not the one that the run",
        ),
        ({"total_iter": 4}, "total_iter is 4, but the run has come to 5"),
    ],
)
def test_another_scheduler_or_an_earlier_end_is_refused(changes, message, tmp_path):
    opt = write_run(tmp_path, periods=[20])
    opt["train"] |= changes
    with pytest.raises(InputError, match=f"cannot resume tiny: train: {message}"):
        TrainingStart(None, TrainingRun()).load_resume_state(opt)


@pytest.mark.parametrize(("total", "told"), [(20, False), (12, True)])
def test_a_training_that_ends_before_its_schedule_is_told(total, told, caplog):
    train = {"total_iter": total, "scheduler": {"periods": [15, 5]}}
    opt = LOADER_OPTIONS | {"train": train}
    logger = logging.getLogger("test_training_start")
    caplog.set_level(logging.INFO, logger.name)
    TrainingStart(make_loaders, TrainingRun()).create_train_val_dataloader(opt, logger)
    text = (
        "total_iter 12 ends before scheduler: periods [15, 5]: the learning rate does not fall to "
        "its end"
    )
    assert any(text in message for message in caplog.messages) is told


@pytest.mark.parametrize("numbered", [True, False])
def test_data_sets_whose_crops_no_checkpoint_holds_are_told(
    numbered, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(NumberedImages, "numbered_draws", numbered)
    write_checkpoint(tmp_path, 5)
    start = TrainingStart(make_loaders, TrainingRun())
    start.load_resume_state(options(tmp_path))
    opt = dict(LOADER_OPTIONS)
    start.create_train_val_dataloader(opt, logging.getLogger("test_training_start"))
    told = ["NumberedImages draws its crops from random states" in text for text in caplog.messages]
    assert any(told) is not numbered


def test_without_any_whole_checkpoint_nothing_is_begun_anew(tmp_path):
    for iteration in (5, 10):
        write_checkpoint(tmp_path, iteration)
        tear(tmp_path / f"training_states/{iteration}.state")
    with pytest.raises(
        InputError, match=r"(?s)no checkpoint of tiny can be resumed; .*10\.state.*/5\.state"
    ):
        TrainingStart(None, TrainingRun()).load_resume_state(options(tmp_path))


def test_a_state_given_by_hand_needs_a_whole_network(tmp_path):
    write_checkpoint(tmp_path, 5)
    state = str(tmp_path / "training_states/5.state")
    assert (
        TrainingStart(None, TrainingRun()).load_resume_state(options(tmp_path, resume_state=state))[
            "iter"
        ]
        == 5
    )
    change(tmp_path / "models/net_g_5.pth")
    with pytest.raises(
        InputError, match=r"cannot resume tiny from .*5\.state: .*net_g_5\.pth cannot be read"
    ):
        TrainingStart(None, TrainingRun()).load_resume_state(options(tmp_path, resume_state=state))


def test_networks_that_are_not_resumed_are_not_needed(tmp_path):
    write_checkpoint(tmp_path, 5)
    opt = options(tmp_path) | {"network_d": {}}
    with pytest.raises(InputError, match=r"net_d_5\.pth does not exist"):
        TrainingStart(None, TrainingRun()).load_resume_state(opt)
    opt["path"]["ignore_resume_networks"] = "network_d"
    assert TrainingStart(None, TrainingRun()).load_resume_state(opt)["iter"] == 5


def test_processes_that_find_different_states_do_not_start(tmp_path, monkeypatch):
    """As where each machine has its own folder of experiments."""

    def gather(iterations, own):
        iterations[:] = [own, 0]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    write_checkpoint(tmp_path, 5)
    opt = options(tmp_path) | {"dist": True, "world_size": 2}
    with pytest.raises(
        InputError,
        match=rf"rank 0: 5, rank 1: 0\); make {tmp_path}/training_states and .* the same",
    ):
        TrainingStart(None, TrainingRun()).load_resume_state(opt)


@pytest.mark.parametrize(
    ("saved", "done", "warning"),
    [
        ({"samples_per_iteration": 1}, 3, None),
        (
            {"samples_per_iteration": 2},
            3,
            "now takes 1 samples .* before the interruption 2: the remaining 5 of the 8",
        ),
        (
            {"samples_per_epoch": 9},
            0,
            "The data set has changed .* epoch 1 restarts at its first sample",
        ),
    ],
)
def test_position_of_a_state_in_another_run(saved, done, warning, tmp_path, caplog):
    write_checkpoint(tmp_path, 5)
    file = tmp_path / "training_states/5.state"
    position = {"samples_done": 3, "samples_per_epoch": 8, "samples_per_iteration": 1}
    torch.save(torch.load(file) | position | saved, file)
    start = TrainingStart(make_loaders, TrainingRun())
    start.load_resume_state(options(tmp_path))
    opt = dict(LOADER_OPTIONS)
    *_, total_epochs, _ = start.create_train_val_dataloader(
        opt, logging.getLogger("test_training_start")
    )
    assert start.run.position == TrainingPosition(1, 5, done, 8, 1)
    # 15 iterations are left: the rest of epoch 1, and what BasicSR's loop needs to see that they
    # are over.
    assert total_epochs == {3: 4, 0: 3}[done]
    assert [re.search(warning, text) is not None for text in caplog.messages] == (
        [True] if warning else []
    )


def test_a_state_that_would_run_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made by the pickle"),)

    write_checkpoint(tmp_path, 5)
    state = tmp_path / "training_states/5.state"
    torch.save({"epoch": 1, "iter": 5, "optimizers": [Hostile()], "schedulers": []}, state)
    with pytest.raises(
        InputError, match=r"5\.state cannot be read: .*could run code and are refused"
    ):
        TrainingStart(None, TrainingRun()).load_resume_state(
            options(tmp_path, resume_state=str(state))
        )
    assert not (tmp_path / "made by the pickle").exists()


def test_a_log_that_cannot_be_written_stops_training():
    logger = logging.Logger("full")
    handler = logging.FileHandler("/dev/full")
    logger.addHandler(handler)
    TrainingStart(make_loaders, TrainingRun()).create_train_val_dataloader(LOADER_OPTIONS, logger)
    with pytest.raises(
        InputError, match=r"the log /dev/full cannot be written \(.*No space left on device\)"
    ):
        logger.info("an iteration")
    with contextlib.suppress(OSError):
        handler.close()
