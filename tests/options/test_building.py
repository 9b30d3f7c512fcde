import cv2
import numpy as np
import pytest
import torch
import yaml

from basicsr_m2trans import register
from basicsr_m2trans.options import building
from basicsr_m2trans.options.checks import check_file

register()

from basicsr.utils import logger  # noqa: E402
from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402

SWINIR = {
    "type": "SwinIR",
    "upscale": 2,
    "embed_dim": 12,
    "depths": [1],
    "num_heads": [2],
    "window_size": 4,
}


def devices(network):
    return {parameter.device.type for parameter in network.parameters()}


class NeedsValues(torch.nn.Linear):
    """Looks into a tensor while it is built, which has no values on the meta device."""

    def __init__(self):
        super().__init__(1, 1)
        torch.zeros(1).numpy()


def test_networks_are_built_without_values_where_they_can_be(monkeypatch):
    monkeypatch.setattr(logger, "initialized_logger", {})
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "NeedsValues", NeedsValues)
    assert devices(building.trial_network({"type": "M2Trans", "upscale": 2, "num_block": 1})) == {
        "meta"
    }
    assert devices(building.trial_network({"type": "NeedsValues"})) == {"cpu"}
    assert (
        logger.initialized_logger == {}
    )  # a log that is open already would get no file from the run


def test_a_skip_of_a_network_that_is_unknown_here_is_found_by_its_output(monkeypatch):
    """Not only at the start of training, when the folder of the run is made."""
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Stranger", ARCH_REGISTRY.get("MSRResNet"))
    stranger = {"type": "Stranger", "num_feat": 8, "num_block": 1}
    (problem,) = building.find_refused_values(
        {"network_g": {"type": "GlobalSkip", "upscale": 2, "network": stranger}}
    )
    assert (
        "network_g cannot be used: GlobalSkip says: network: Stranger has a skip of its own"
        in str(problem)
    )


def test_what_the_machine_lacks_is_no_refusal(monkeypatch):
    def absent(_settings):
        raise FileNotFoundError("weights.pth")

    monkeypatch.setattr(building, "trial_network", absent)
    assert list(building.find_refused_values({"network_g": SWINIR})) == []


@pytest.fixture
def on_disk(stored, tmp_path):
    """Writes pairs of 3 images, HR 72x96, as files, and an option file for them with a data set of
    a type.
    """

    def write(data_set, **changes):
        for folder, shape in (("gt", (72, 96, 3)), ("lq", (36, 48, 3))):
            (tmp_path / folder).mkdir()
            for number in range(3):
                cv2.imwrite(str(tmp_path / folder / f"i{number}.png"), np.zeros(shape, np.uint8))
        path = stored([(64, 64)] * 3)
        opt = yaml.safe_load(path.read_text())
        train = opt["datasets"]["train"]
        train |= {
            "type": data_set,
            "io_backend": {"type": "disk"},
            "batch_size_per_gpu": 2,
            **changes,
        }
        train |= {"dataroot_gt": str(tmp_path / "gt"), "dataroot_lq": str(tmp_path / "lq")}
        if data_set == "PairedImageDataset":
            train.pop("captions")
            opt["train"].pop("semantic_opt")
        path.write_text(yaml.safe_dump(opt))
        return path

    return write


@pytest.fixture(params=["PairedImageTextDataset", "PairedImageDataset"])
def data_set(request):
    return request.param


def test_images_smaller_than_the_patch_are_told(stored):
    statement, remedy = check_file(stored([(64, 64), (96, 60), (64, 80)])).splitlines()[1:]
    assert "train: gt_size is 64, but 1 of 3 images are smaller, such as i1 (60x96)" in statement
    assert remedy.endswith("m2trans prepare --min-side 64")


def test_files_are_compared_with_patch_and_batch(data_set, on_disk):
    report = check_file(on_disk(data_set, gt_size=128, batch_size_per_gpu=500))
    assert "train: gt_size is 128, but 3 of 3 images are smaller, such as " in report
    assert "gt/i0.png (96x72)" in report
    assert (
        "train: batch_size_per_gpu makes a batch of 500, but an epoch has only 60 images" in report
    )


def test_what_the_data_set_refuses_is_told_at_its_line(data_set, on_disk, tmp_path):
    path = on_disk(data_set)
    assert check_file(path) is None
    (tmp_path / "lq/i1.png").unlink()
    statement = check_file(path).splitlines()[1]
    assert ": datasets: train cannot be used: " in statement
    number = int(statement.split(":")[1])
    assert path.read_text().splitlines()[number - 1] == "  train:"


def test_a_batch_that_an_epoch_does_not_fill_is_told(stored, monkeypatch):
    path = stored([(64, 64)] * 3)
    path.write_text(
        path.read_text().replace("dataset_enlarge_ratio: 20", "dataset_enlarge_ratio: 3")
    )
    assert check_file(path) is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (
        "makes a batch of 8, but an epoch has only 4 images for each of 2 processes"
        in check_file(path)
    )


def test_an_lmdb_without_its_list_is_told(stored, tmp_path):
    path = stored([(64, 64)])
    (tmp_path / "HR.lmdb/meta_info.txt").unlink()
    assert (
        check_file(path).count("HR.lmdb, which is not an LMDB: it holds no meta_info.txt") == 2
    )  # train and val
