"""Tiny randomly initialised models of the very classes that the annotation uses,
saved as folders.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from basicsr_m2trans import compat
from basicsr_m2trans.encoders.medclip import VOCABULARY

WIDTH = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.fixture(scope="session")
def tokenizer():
    compat.declare_torchvision_operators()
    from transformers import BertTokenizerFast

    return BertTokenizerFast(str(VOCABULARY), do_lower_case=False)


@pytest.fixture(scope="session")
def sam_folder(tmp_path_factory) -> Path:
    compat.declare_torchvision_operators()
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "window_size": 2,
            "global_attn_indexes": [0],
            "mlp_dim": 16,
            "num_pos_feats": 4,
        },
        prompt_encoder_config={
            "hidden_size": 8,
            "image_size": 64,
            "patch_size": 16,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 8,
            "mlp_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 8,
        },
    )
    processor = SamImageProcessor(
        size={"longest_edge": 64},
        pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )
    return save(tmp_path_factory.mktemp("sam"), lambda: SamModel(config), SamProcessor(processor))


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory, tokenizer) -> Path:
    from transformers import (
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    config = BlipConfig(
        vision_config=WIDTH | {"image_size": 32, "patch_size": 8},
        text_config=WIDTH
        | {
            "vocab_size": len(tokenizer),
            "encoder_hidden_size": 16,
            "projection_dim": 16,
            "max_position_embeddings": 64,
            "bos_token_id": tokenizer.cls_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "sep_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )
    processor = BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer)
    return save(
        tmp_path_factory.mktemp("blip"), lambda: BlipForConditionalGeneration(config), processor
    )


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory, tokenizer) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=512,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return save(tmp_path_factory.mktemp("llm"), lambda: GPT2LMHeadModel(config), tokenizer)


def save(folder, build, processor) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        build().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def image() -> np.ndarray:
    """Noise, (48, 60, 3), RGB, uint8."""
    return np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8)


@pytest.fixture
def scans(tmp_path) -> Path:
    """A folder of three colour images of 40 x 30."""
    folder = tmp_path / "scans"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        pixels = rng.integers(0, 256, (30, 40, 3), np.uint8)
        (folder / f"{number:04d}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return folder
