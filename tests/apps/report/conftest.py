"""Small prepared phantoms, and option files of tiny networks."""

from pathlib import Path

import pytest
import yaml

from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.preparation.prepare import Preparation, prepare

ROOT = Path(__file__).parents[3]
NETWORKS = {
    "M2Trans": {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1},
    "EDSR": {
        "type": "EDSR",
        "upscale": 2,
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 8,
        "num_block": 1,
    },
}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with the prepared sets train (4 images) and val (3 images) at x2."""
    folder = tmp_path_factory.mktemp("comparison")
    for split, count, seed in (("train", 4, 0), ("val", 3, 100)):
        write_phantoms(folder / "images" / split, count, height=72, width=96, seed=seed)
        prepare(
            folder / "images" / split, folder / "data" / split, Preparation(scales=(2,), workers=1)
        )
    return folder / "data"


@pytest.fixture
def options(tmp_path):
    """A folder of option files: M2Trans on top, EDSR among the baselines, both tiny and on L1
    alone.
    """
    for method, network in NETWORKS.items():
        opt = yaml.safe_load((ROOT / "options/demo/train_M2Trans_x2.yml").read_text())
        opt["network_g"] = network
        opt["datasets"]["train"] |= {
            "gt_size": 48,
            "batch_size_per_gpu": 2,
            "num_worker_per_gpu": 0,
        }
        del opt["train"]["semantic_opt"], opt["train"]["ema_decay"]
        if method == "EDSR":
            opt["train"]["scheduler"] = {
                "type": "MultiStepLR",
                "milestones": [500, 800],
                "gamma": 0.5,
            }
        path = (
            tmp_path
            / "options"
            / ("." if method == "M2Trans" else "baselines")
            / f"train_{method}_x2.yml"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(opt))
    return tmp_path / "options"
