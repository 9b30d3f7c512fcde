import numpy as np
import pytest
import torch

from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation
from basicsr_m2trans.archs import Bicubic, M2Trans
from basicsr_m2trans.checkpoints.networks import load_network, trained_network
from basicsr_m2trans.evaluation.prepared_set import (
    Scores,
    build_set,
    evaluate,
    image_names,
    set_digest,
    upscale_on_device,
)
from basicsr_m2trans.evaluation.protocols import METRICS, PROTOCOLS
from basicsr_m2trans.utils.errors import InputError

NETWORK = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1}


def weights(seed):
    torch.manual_seed(seed)
    return M2Trans(2, num_feat=8, num_block=1).state_dict()


def test_scores_are_written_in_full_and_read_back(tmp_path):
    rng = np.random.default_rng(0)
    values = {(protocol, name): rng.random(3) for protocol in PROTOCOLS for name in METRICS}
    values["paper", "psnr"][1] = np.inf
    scores = Scores(("a", "b", "c"), values)
    scores.write(tmp_path / "results/val.csv")
    read = Scores.read(tmp_path / "results/val.csv")
    assert read.images == scores.images
    assert all(np.array_equal(read.values[key], values[key]) for key in values)
    assert (tmp_path / "results/val.csv").read_text().splitlines()[
        0
    ] == "image,protocol,psnr,ssim,fsim,gmsd"


def test_other_files_are_no_scores(tmp_path):
    (tmp_path / "val.csv").write_text("image,caption\na,b\n")
    with pytest.raises(InputError, match="not a table of scores"):
        Scores.read(tmp_path / "val.csv")


def test_evaluation_measures_every_image_of_the_set(data):
    network = trained_network({"type": "Bicubic", "upscale": 2}, None)
    seen = []
    scores = evaluate(network, data / "val", 2, lambda done, total: seen.append((done, total)))
    assert (
        list(scores.images)
        == image_names(data / "val", 2)
        == ["phantom_0001", "phantom_0002", "phantom_0003"]
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    item = build_set(data / "val", 2)[1]
    expected = PROTOCOLS["standard"](Bicubic(2)(item["lq"][None]), item["gt"][None], 2)
    for name in METRICS:
        assert scores.values["standard", name][1] == pytest.approx(expected[name], abs=1e-9)


def test_sets_of_equal_names_are_told_by_their_pixels(tmp_path):
    digests = []
    for seed in (0, 0, 1):
        folder = tmp_path / str(len(digests))
        write_phantoms(folder / "images", 2, height=48, width=64, seed=seed)
        for number, path in enumerate(sorted((folder / "images").iterdir())):
            path.rename(folder / "images" / f"{number}.png")
        prepare(folder / "images", folder / "set", Preparation(scales=(2,), workers=1))
        digests.append(set_digest(folder / "set", 2))
    assert digests[0] == digests[1] != digests[2]


def test_the_average_of_the_weights_is_used_where_there_is_one(tmp_path):
    torch.save({"params": weights(0), "params_ema": weights(1)}, tmp_path / "both.pth")
    torch.save({"params": weights(0)}, tmp_path / "one.pth")
    x = torch.rand(1, 3, 9, 11)
    for file, seed in (("both.pth", 1), ("one.pth", 0)):
        expected = M2Trans(2, num_feat=8, num_block=1)
        expected.load_state_dict(weights(seed))
        with torch.no_grad():
            found = upscale_on_device(trained_network(NETWORK, tmp_path / file), x)
            torch.testing.assert_close(found, expected(x), atol=1e-5, rtol=0)


def test_weights_must_fit(tmp_path):
    torch.save({"params": weights(0)}, tmp_path / "net.pth")
    with pytest.raises(InputError, match="does not hold the weights of M2Trans"):
        trained_network(NETWORK | {"num_feat": 16}, tmp_path / "net.pth")
    torch.save({"model": weights(0)}, tmp_path / "net.pth")
    with pytest.raises(InputError, match="has no entry 'params'"):
        trained_network(NETWORK, tmp_path / "net.pth")


def test_settings_are_found_in_the_checkpoint(tmp_path):
    alone, whole = tmp_path / "alone.pth", tmp_path / "whole.pth"
    torch.save({"params": weights(0)}, alone)
    torch.save({"params": weights(0), "network_g": NETWORK}, whole)
    with pytest.raises(InputError, match=r"alone.pth holds weights alone.* by --opt"):
        load_network(alone)
    trained = load_network(whole)
    assert trained.scale == trained.network.upscale == 2
    option_file = tmp_path / "run.yml"
    option_file.write_text("network_g: {type: M2Trans, upscale: 2, num_feat: 8, num_block: 1}\n")
    assert load_network(alone, options=option_file).scale == 2
    option_file.write_text("name: test\n")
    with pytest.raises(InputError, match="no section network_g"):
        load_network(whole, options=option_file)


def test_networks_upscale_where_they_are_and_metrics_get_the_result_on_the_cpu(device):
    torch.manual_seed(0)
    network, lq = M2Trans(2, num_feat=8, num_block=1).eval(), torch.rand(1, 3, 20, 12)
    expected = upscale_on_device(network, lq)
    result = upscale_on_device(network.to(device), lq)
    assert result.device.type == "cpu"
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
