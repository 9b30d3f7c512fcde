"""A model of a tiny network with both losses, on the GPU."""

import pytest
import torch

import basicsr_m2trans


@pytest.fixture
def build(tmp_path):
    """Builds an `M2TransModel`; arguments are options of the section `train`."""
    basicsr_m2trans.register()
    from basicsr.models import build_model

    def with_options(**train):
        torch.manual_seed(0)
        return build_model(
            {
                "name": "tiny",
                "model_type": "M2TransModel",
                "scale": 2,
                "num_gpu": 1,
                "dist": False,
                "rank": 0,
                "world_size": 1,
                "is_train": True,
                "manual_seed": 0,
                "network_g": {"type": "M2Trans", "upscale": 2, "num_feat": 16, "num_block": 2},
                "path": {"models": str(tmp_path), "training_states": str(tmp_path)},
                "train": {
                    "ema_decay": 0.9,
                    "optim_g": {"type": "Adam", "lr": 1e-3},
                    "scheduler": {"type": "MultiStepLR", "milestones": [100]},
                    "pixel_opt": {"type": "L1Loss"},
                    "semantic_opt": {
                        "type": "ImageTextSemanticLoss",
                        "encoder": "QualityCLIPEncoder",
                        "patch_size": 16,
                        "loss_weight": 0.5,
                    },
                    **train,
                },
            }
        )

    return with_options


@pytest.fixture
def batch():
    """Two images with captions, in pinned memory as a loader gives them."""
    images = {"lq": torch.rand(2, 3, 32, 40).pin_memory(), "gt": torch.rand(2, 3, 64, 80).pin_memory()}
    return images | {"text": ["a sharp ultrasound image", "a noisy ultrasound image"]}
