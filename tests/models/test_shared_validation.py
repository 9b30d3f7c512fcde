"""Metrics of several ranks against one process and against BasicSR's own validation."""

import math
from types import SimpleNamespace

import pytest
import torch

import basicsr_m2trans

basicsr_m2trans.register()

from basicsr.archs.edsr_arch import EDSR  # noqa: E402
from basicsr.models.sr_model import SRModel  # noqa: E402

from basicsr_m2trans.models.shared_validation import SharedValidationModel  # noqa: E402


class Images(torch.utils.data.Dataset):
    """Five pairs, LR 12x12 and HR 24x24."""

    def __init__(self):
        self.opt = {"name": "five"}

    def __len__(self):
        return 5

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        sizes = {"lq": 12, "gt": 24}
        images = {
            key: torch.rand(3, size, size, generator=generator) for key, size in sizes.items()
        }
        return images | {"lq_path": f"folder/image{index}.png"}


def test_all_processes_measure_the_network_of_the_first(tmp_path, monkeypatch):
    """Each process has its own statistics of BatchNorm until the next iteration of training."""
    model = build(tmp_path, processes=2)
    model.opt["dist"] = True
    model.net_g.register_buffer("running_mean", torch.zeros(3))
    asked = []
    monkeypatch.setattr(
        torch.distributed, "broadcast", lambda buffer, rank: asked.append((buffer.data_ptr(), rank))
    )
    monkeypatch.setattr(
        torch.distributed,
        "all_gather_object",
        lambda shares, rows: shares.__setitem__(slice(None), [rows, rows]),
    )
    model.validation(torch.utils.data.DataLoader(Images()), 1, None)
    assert asked == [(buffer.data_ptr(), 0) for buffer in model.net_g.buffers()]
    assert len(asked) == 1 + len(list(EDSR(3, 3, num_feat=4, num_block=1, upscale=2).buffers()))


def build(folder, rank=0, processes=1, model=SharedValidationModel):
    torch.manual_seed(0)
    opt = {
        "name": "tiny",
        "scale": 2,
        "num_gpu": 0,
        "dist": False,
        "rank": rank,
        "world_size": processes,
        "is_train": True,
        "network_g": {
            "type": "EDSR",
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 4,
            "num_block": 1,
            "upscale": 2,
        },
        "path": {"visualization": str(folder)},
        "train": {
            "optim_g": {"type": "Adam", "lr": 1e-2},
            "scheduler": {"type": "MultiStepLR", "milestones": [2]},
            "pixel_opt": {"type": "L1Loss"},
        },
        "val": {
            "suffix": None,
            "metrics": {
                "psnr": {"type": "calculate_psnr", "crop_border": 2},
                "gmsd": {"type": "calculate_gmsd", "crop_border": 0, "better": "lower"},
            },
        },
    }
    built = model(opt)
    # DDP around the network is for training; validation takes the network itself.
    built.opt["dist"] = processes > 1
    return built


def validate(model, save_img=False):
    model.validation(torch.utils.data.DataLoader(Images()), 7, None, save_img)
    return model.metric_results


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_one_process_measures_and_saves_as_basicsr_does(tmp_path):
    ours, stock = build(tmp_path / "ours"), build(tmp_path / "stock", model=SRModel)
    assert validate(ours, save_img=True) == pytest.approx(validate(stock, save_img=True), rel=1e-14)
    assert written(tmp_path / "ours") == written(tmp_path / "stock")
    assert written(tmp_path / "ours")[0] == "image0/image0_7.png"
    assert ours.best_metric_results == {
        "five": {
            name: {"better": better, "val": ours.metric_results[name], "iter": 7}
            for name, better in (("psnr", "higher"), ("gmsd", "lower"))
        }
    }
    assert not hasattr(ours, "gt")


@pytest.mark.parametrize("processes", [2, 7])
def test_ranks_have_the_metrics_of_one_process_to_the_bit(processes, tmp_path, monkeypatch):
    """Five images, of which two ranks measure 3 and 2, and seven ranks at most one."""
    shares = []
    monkeypatch.setattr(
        torch.distributed, "all_gather_object", lambda _shares, rows: shares.append(rows)
    )
    for rank in range(processes):
        # A rank alone has nothing to average after this gathering.
        with pytest.raises(TypeError):
            validate(build(tmp_path / str(rank), rank, processes), save_img=True)
    assert [len(rows) for rows in shares] == [
        math.ceil((5 - rank) / processes) for rank in range(processes)
    ]

    def gather(into, own):
        assert own in shares
        into[:] = shares

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    expected = validate(build(tmp_path / "one"))
    for rank in (0, processes - 1):
        model = build(tmp_path, rank, processes)
        assert validate(model) == expected
        assert model.best_metric_results["five"]["psnr"]["val"] == expected["psnr"]
    saved = [name for rank in range(processes) for name in written(tmp_path / str(rank))]
    assert sorted(saved) == [f"image{index}/image{index}_7.png" for index in range(5)]


def test_a_test_names_images_after_the_run(tmp_path):
    model = build(tmp_path)
    model.is_train = False
    validate(model, save_img=True)
    assert written(tmp_path) == [f"five/image{index}_tiny.png" for index in range(5)]


def test_without_metrics_images_are_saved_all_the_same(tmp_path):
    model = build(tmp_path)
    model.opt["val"]["metrics"] = None
    model.validation(SimpleNamespace(dataset=Images(), pin_memory=False), 7, None, True)
    assert len(written(tmp_path)) == 5
    assert not hasattr(model, "metric_results")
