"""The networks that come with the package."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import safe_open

from basicsr_m2trans import Upscaler
from basicsr_m2trans.apps.preparation.degradation import downsample_bicubic
from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.checkpoints.networks import find_model, shipped_models, trained_network

ROOT = Path(__file__).parents[2]


def test_there_is_one_for_each_scale():
    assert shipped_models() == ["m2trans-x2", "m2trans-x3", "m2trans-x4"]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_files_say_what_they_are(scale):
    path = find_model(f"m2trans-x{scale}")
    assert path.stat().st_size < 8e6
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert set(metadata) == {"format", "network_g", "use", "training", "data", "licence", "commit"}
    settings = json.loads(metadata["network_g"])
    assert (settings.pop("type"), settings["upscale"]) == ("M2Trans", scale)
    trained = sum(parameter.numel() for parameter in M2Trans(**settings).parameters())
    assert trained == {2: 3_613_120, 3: 3_633_920, 4: 3_629_760}[scale]  # the paper's size


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_phantoms_that_they_have_not_seen_come_nearer_to_the_truth_than_by_bicubic(scale):
    truth = make_phantom(0, 144, 192)
    small = downsample_bicubic(truth[..., None], scale)[..., 0]
    upscaler = Upscaler.from_checkpoint(f"m2trans-x{scale}", device="cpu")
    errors = [
        np.square(image[8:-8, 8:-8].astype(float) - truth[8:-8, 8:-8]).mean()
        for image in (upscaler(small), upscaler.bicubic(small))
    ]
    assert 10 * np.log10(errors[1] / errors[0]) > 1  # dB


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_they_fit_the_option_file_changed_as_the_page_says(scale):
    page = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    changes = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    network_g = yaml.safe_load((ROOT / f"options/train_M2Trans_open_x{scale}.yml").read_text())[
        "network_g"
    ]
    settings = network_g | changes["network_g"]
    trained_network(settings, find_model(f"m2trans-x{scale}"))
