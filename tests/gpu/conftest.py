"""A model of a tiny network with both losses, on the GPU."""

import pytest
import torch

import basicsr_m2trans

SEMANTIC = {
    "type": "ImageTextSemanticLoss",
    "encoder": "QualityCLIPEncoder",
    "patch_size": 16,
    "loss_weight": 0.5,
}
NETWORK = {"type": "M2Trans", "upscale": 2, "num_feat": 16, "num_block": 2}


@pytest.fixture
def build(model_options):
    """Builds an `M2TransModel`; arguments are options of the section `train`."""
    basicsr_m2trans.register()
    from basicsr.models import build_model

    def with_options(**train):
        torch.manual_seed(0)
        options = model_options(**{"ema_decay": 0.9, "semantic_opt": dict(SEMANTIC), **train})
        return build_model(options | {"num_gpu": 1, "network_g": dict(NETWORK)})

    return with_options


@pytest.fixture
def batch():
    """Two images with captions, in pinned memory as a loader gives them."""
    images = {
        "lq": torch.rand(2, 3, 32, 40).pin_memory(),
        "gt": torch.rand(2, 3, 64, 80).pin_memory(),
    }
    return images | {"text": ["a sharp ultrasound image", "a noisy ultrasound image"]}
