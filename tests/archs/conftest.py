"""The small networks of the official repositories: their weights, inputs and outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from basicsr_m2trans.archs import ELAN, ESRT, M2Trans

REFERENCE = Path(__file__).parents[1] / "data/reference"
SMALL = {
    "ELAN": (ELAN, {"num_feat": 30, "num_block": 4}),
    "ESRT": (ESRT, {"num_feat": 16, "num_block": 1}),
    "M2Trans": (M2Trans, {"num_feat": 16, "num_block": 2}),
}


@pytest.fixture
def official():
    """Gives our network with the official weights, and the official values by name (input, output,
    ...).
    """

    def load(name, upscale, **settings):
        arrays = np.load(REFERENCE / f"{name.lower()}_small_x{upscale}.npz")
        values = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        architecture, size = SMALL[name]
        net = architecture(upscale, **size, **settings).eval()
        weights = {
            key.removeprefix("weights/"): value
            for key, value in values.items()
            if key.startswith("weights/")
        }
        result = net.load_state_dict(weights, strict=False)
        assert result.missing_keys == []
        # Scalars that ESRT's official code makes and never applies.
        assert len(result.unexpected_keys) == (12 if name == "ESRT" else 0)
        assert all(key.endswith(".weight1.scale") for key in result.unexpected_keys)
        return net, values

    return load
