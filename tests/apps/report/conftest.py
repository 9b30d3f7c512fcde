"""Option files of tiny networks."""

from pathlib import Path

import pytest
import yaml

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
