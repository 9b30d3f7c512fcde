"""What checkpoints hold, when they are written, and which of them stay."""

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import basicsr_m2trans
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.checkpoints.training_states import read_training_state
from basicsr_m2trans.utils.errors import InputError

basicsr_m2trans.register()

from basicsr.models import build_model  # noqa: E402

PSNR = {"type": "calculate_psnr", "crop_border": 0}
GMSD = {"type": "calculate_gmsd", "crop_border": 0, "better": "lower"}


def build(folder, logger=None, metrics=None, val_freq=2, sets=("val", "other"), **train):
    """A model on a network with two weights, which can be set to any quality."""
    torch.manual_seed(0)
    return build_model(
        {
            "name": "tiny",
            "model_type": "M2TransModel",
            "scale": 2,
            "num_gpu": 0,
            "dist": False,
            "rank": 0,
            "world_size": 1,
            "is_train": True,
            "manual_seed": 5,
            "datasets": {f"val_{number}": {"name": name} for number, name in enumerate(sets)},
            "network_g": {
                "type": "EDSR",
                "num_in_ch": 3,
                "num_out_ch": 3,
                "num_feat": 4,
                "num_block": 1,
                "upscale": 2,
            },
            "path": {"models": str(folder), "training_states": str(folder)},
            "train": {
                "optim_g": {"type": "Adam", "lr": 1e-2},
                "scheduler": {"type": "MultiStepLR", "milestones": [2, 4], "gamma": 0.5},
                "pixel_opt": {"type": "L1Loss"},
                "total_iter": 100,
                **train,
            },
            "val": {"val_freq": val_freq, "metrics": metrics} if metrics else None,
            "logger": logger or {},
        }
    )


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        "lq": torch.rand(2, 3, 8, 8, generator=generator),
        "gt": torch.rand(2, 3, 16, 16, generator=generator),
    }


def iterate(model, iteration):
    model.update_learning_rate(iteration)
    model.feed_data(batch(iteration))
    model.optimize_parameters(iteration)


class Images(torch.utils.data.Dataset):
    """Two validation pairs."""

    def __init__(self, name="val"):
        self.opt = {"name": name}

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {key: images[0] for key, images in batch(100 + index).items()} | {
            "lq_path": f"{index}.png"
        }


def validate(model, iteration, name="val"):
    model.validation(torch.utils.data.DataLoader(Images(name)), iteration, None, False)


def names(folder):
    return {path.name for path in folder.iterdir()}


def equal(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


@pytest.mark.parametrize("ema_decay", [0, 0.9])
def test_a_resumed_model_goes_on_to_the_bit(tmp_path, ema_decay):
    model = build(tmp_path, ema_decay=ema_decay)
    for iteration in (1, 2, 3):
        iterate(model, iteration)
    model.save(0, 3)
    resumed = build(tmp_path, ema_decay=ema_decay)
    for net, key in [("net_g", "params"), ("net_g_ema", "params_ema")][: 2 if ema_decay else 1]:
        resumed.load_network(getattr(resumed, net), tmp_path / "net_g_3.pth", True, key)
    resumed.resume_training(read_training_state(tmp_path / "3.state"))
    for each in (model, resumed):
        iterate(each, 4)
        iterate(each, 5)
    assert model.get_current_learning_rate() == resumed.get_current_learning_rate() == [0.0025]
    assert equal(model.net_g.state_dict(), resumed.net_g.state_dict())
    if ema_decay:
        assert equal(model.net_g_ema.state_dict(), resumed.net_g_ema.state_dict())


def test_training_can_start_from_a_safetensors_file(tmp_path):
    """Also where the layers behind belong to another scale, which are then left as they are."""
    settings = {"num_feat": 8, "num_block": 1, "global_skip": True}
    save_file(
        {name: value.half() for name, value in M2Trans(2, **settings).state_dict().items()},
        tmp_path / "n.safetensors",
    )
    model = build(tmp_path)
    with torch.no_grad():
        start = M2Trans(2, **settings)
        model.load_network(start, str(tmp_path / "n.safetensors"))
        other = M2Trans(4, **settings)
        model.load_network(other, str(tmp_path / "n.safetensors"), strict=False)
    given = load_file(tmp_path / "n.safetensors")
    assert equal({name: value.half() for name, value in start.state_dict().items()}, given)
    assert torch.equal(other.head.weight.half(), given["head.weight"])
    with pytest.raises(RuntimeError, match=r"tail\.3\.weight"):
        model.load_network(other, str(tmp_path / "n.safetensors"))


def test_weights_that_fit_partly_are_counted(tmp_path, monkeypatch):
    model = build(tmp_path)
    weights = model.net_g.state_dict()
    weights["conv_first.weight"] = torch.zeros(4, 3, 5, 5)
    del weights["conv_last.bias"]
    torch.save({"params": weights}, tmp_path / "partly.pth")
    messages = []
    monkeypatch.setattr(logging.getLogger("basicsr"), "warning", messages.append)
    model.load_network(model.net_g, str(tmp_path / "partly.pth"), strict=False)
    loaded = f"{len(weights) - 1} of {len(weights) + 1} weights and buffers are loaded"
    assert messages[-1] == f"{loaded}, the others stay."


def test_the_state_waits_for_its_validation(tmp_path):
    """The best metrics of an iteration are in its state, which is written when the
    next one begins.
    """
    model = build(tmp_path, metrics={"psnr": PSNR}, val_freq=2)
    iterate(model, 1)
    model.save(0, 1)
    assert names(tmp_path) == {"net_g_1.pth", "1.state"}  # no validation is to come
    assert read_training_state(tmp_path / "1.state")["best_metric_results"] == {}
    iterate(model, 2)
    model.save(0, 2)
    assert "2.state" not in names(tmp_path)
    validate(model, 2)
    optimizer = model.optimizer_g.state_dict()["state"][0]["exp_avg"].clone()
    model.update_learning_rate(3)
    state = read_training_state(tmp_path / "2.state")
    best = state["best_metric_results"]["val"]["psnr"]
    assert best == {"better": "higher", "val": float(model.metric_results["psnr"]), "iter": 2}
    assert (state["epoch"], state["iter"], state["schedulers"][0]["last_epoch"]) == (0, 2, 1)
    assert torch.equal(state["optimizers"][0]["state"][0]["exp_avg"], optimizer)
    # What a signal saves at that moment is complete at once.
    model.save(0, 2)
    assert model._due_state is None


def test_the_last_state_is_written_at_the_end(tmp_path):
    model = build(tmp_path, metrics={"psnr": PSNR}, val_freq=1)
    iterate(model, 1)
    model.save(0, 1)
    validate(model, 1)
    model.save(-1, -1)
    assert names(tmp_path) == {"net_g_1.pth", "1.state", "net_g_latest.pth"}


def test_best_metrics_survive_a_resume(tmp_path):
    """Of metrics that are still measured; new ones start again."""
    model = build(tmp_path, metrics={"psnr": PSNR, "gmsd": GMSD})
    model._initialize_best_metric_results("val")
    model._update_best_metric_result("val", "psnr", np.float64(40), 8)
    model._update_best_metric_result("val", "gmsd", 0.25, 6)
    model.save(0, 9)
    resumed = build(tmp_path, metrics={"gmsd": GMSD, "ssim": {"type": "calculate_ssim"}})
    resumed.resume_training(read_training_state(tmp_path / "9.state"))
    assert resumed.best_metric_results == {
        "val": {
            "gmsd": {"better": "lower", "val": 0.25, "iter": 6},
            "ssim": {"better": "higher", "val": float("-inf"), "iter": -1},
        }
    }
    renamed = build(tmp_path, metrics={"psnr": PSNR}, sets=("new",))
    renamed.resume_training(read_training_state(tmp_path / "9.state"))
    assert not hasattr(renamed, "best_metric_results")
    without = build(tmp_path)
    without.resume_training(read_training_state(tmp_path / "9.state"))
    assert not hasattr(without, "best_metric_results")


def test_only_the_last_checkpoints_stay(tmp_path):
    model = build(tmp_path, {"keep_last": 2})
    for iteration in (1, 2, 3, 10):
        model.save(0, iteration)
        assert f"{iteration}.state" in names(tmp_path)
    assert names(tmp_path) == {"net_g_3.pth", "3.state", "net_g_10.pth", "10.state"}


def test_nothing_is_deleted_before_the_new_state_is_whole(tmp_path, monkeypatch):
    model = build(tmp_path, {"keep_last": 1})
    model.save(0, 1)
    write = torch.save

    def fill_disk(entries, file):
        if "optimizers" in entries:
            raise OSError("disk full")
        write(entries, file)

    monkeypatch.setattr(torch, "save", fill_disk)
    with pytest.raises(OSError, match="disk full"):
        model.save(0, 2)
    assert {"net_g_1.pth", "1.state"} <= names(tmp_path)


@pytest.mark.parametrize(("keep_best", "deciding", "sign"), [(True, PSNR, 1), ("gmsd", GMSD, -1)])
def test_the_best_network_of_the_first_data_set_is_kept(
    tmp_path, monkeypatch, keep_best, deciding, sign
):
    model = build(tmp_path, {"keep_best": keep_best}, {"psnr": PSNR, "gmsd": GMSD}, ema_decay=0.5)
    quality = 0.0

    def calculate_metric(_data, opt):
        return sign * quality if opt["type"] == deciding["type"] else 0

    monkeypatch.setattr(
        "basicsr_m2trans.models.shared_validation.calculate_metric", calculate_metric
    )
    averages = {}
    for iteration, quality, best in ((1, 20, 1), (2, 30, 2), (3, 25, 2), (4, 30, 4)):
        iterate(model, iteration)
        averages[iteration] = {
            name: value.clone() for name, value in model.net_g_ema.state_dict().items()
        }
        validate(model, iteration)
        quality = 99 + iteration
        validate(model, iteration, "other")
        saved = torch.load(tmp_path / "net_g_best.pth", weights_only=True)
        assert equal(saved["params_ema"], averages[best])
    assert names(tmp_path) == {"net_g_best.pth"}


def test_iterations_do_not_count_on_behind_the_end(tmp_path):
    """BasicSR validates once more after the last iteration, under a higher number."""
    model = build(tmp_path, metrics={"psnr": PSNR}, total_iter=4)
    validate(model, 6)
    assert model.best_metric_results["val"]["psnr"]["iter"] == 4


def test_a_full_disk_stops_training_and_keeps_what_is_there(tmp_path, files_no_larger_than):
    """The network fits, the state does not."""
    model = build(tmp_path)
    iterate(model, 1)
    model.save(0, 1)
    size = (tmp_path / "net_g_1.pth").stat().st_size
    assert size < (tmp_path / "1.state").stat().st_size
    iterate(model, 2)
    with files_no_larger_than(size), pytest.raises(InputError) as error:
        model.save(0, 2)
    assert f"training stopped: {tmp_path}/2.state cannot be written (File too large)" in str(
        error.value
    )
    assert "go on with --auto_resume" in str(error.value)
    assert names(tmp_path) == {"net_g_1.pth", "1.state", "net_g_2.pth"}
    assert read_training_state(tmp_path / "1.state")["iter"] == 1


def test_options_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(InputError, match="logger: keep_last is 0"):
        build(tmp_path, {"keep_last": 0})
