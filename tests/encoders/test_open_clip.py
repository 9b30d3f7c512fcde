import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from basicsr_m2trans import compat
from basicsr_m2trans.encoders import build_encoder
from basicsr_m2trans.encoders.medclip import VOCABULARY
from basicsr_m2trans.losses import ImageTextSemanticLoss
from basicsr_m2trans.utils.errors import InputError

compat.declare_torchvision_operators()
open_clip = pytest.importorskip("open_clip")

CAPTIONS = ["a clean, sharp ultrasound image", "a blurred image"]
STATISTICS = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
OPENAI_LIKE = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def save(folder, config, tokenizer=None):
    """Random weights and configuration as open_clip itself publishes them."""
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    (folder / "tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "tiny.json")
    model = open_clip.create_model("tiny", pretrained_text=False, force_preprocess_cfg=STATISTICS)
    if tokenizer is None:
        from open_clip.push_to_hf_hub import save_config_for_hf

        save_config_for_hf(model, folder / "open_clip_config.json", config)
        torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    else:
        from open_clip.push_to_hf_hub import save_for_hf

        save_for_hf(model, tokenizer, config, folder, safe_serialization=True)
    return model.eval()


@pytest.fixture(params=["openai", "biomedclip"])
def saved(request, tmp_path):
    """A folder with a tiny CLIP of OpenAI's or of BiomedCLIP's layout, and the model that was
    saved.
    """
    if request.param == "openai":
        return tmp_path, save(tmp_path, OPENAI_LIKE)
    from transformers import BertConfig, BertTokenizerFast

    bert = {
        "vocab_size": 28996,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    BertConfig(**bert, intermediate_size=32).save_pretrained(tmp_path / "bert")
    BertTokenizerFast(str(VOCABULARY)).save_pretrained(tmp_path / "bert")
    text = {
        "hf_model_name": str(tmp_path / "bert"),
        "hf_tokenizer_name": str(tmp_path / "bert"),
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 24,
    }
    vision = {
        "timm_model_name": "test_vit",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 160,
    }
    config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}
    tokenizer = open_clip.tokenizer.HFTokenizer(str(tmp_path / "bert"), context_length=24)
    return tmp_path, save(tmp_path, config, tokenizer)


def test_equals_the_library(saved):
    """Features of the library's own model, preprocessing and tokeniser."""
    folder, model = saved
    encoder = build_encoder({"type": "OpenCLIPEncoder", "model": f"local-dir:{folder}"})
    size = encoder.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    preprocess = open_clip.transform.image_transform(size, is_train=False, **STATISTICS)
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(CAPTIONS)
    with torch.no_grad():
        image = model.encode_image(preprocess(Image.fromarray(pixels))[None], normalize=True)
        text = model.encode_text(tokens, normalize=True)
    ours = encoder.encode_image(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    torch.testing.assert_close(ours, image, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_text(CAPTIONS), text, atol=1e-5, rtol=0)
    assert not torch.allclose(text[0], text[1], atol=1e-4)


def test_captions_do_not_depend_on_their_neighbours(saved):
    encoder = build_encoder({"type": "OpenCLIPEncoder", "model": f"local-dir:{saved[0]}"})
    together = encoder.encode_text([*CAPTIONS, "sharp " * 500])
    torch.testing.assert_close(together[1:2], encoder.encode_text(CAPTIONS[1:]), atol=1e-6, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_the_semantic_loss_reaches_the_image_and_no_weight(saved):
    loss = ImageTextSemanticLoss(
        {"type": "OpenCLIPEncoder", "model": f"local-dir:{saved[0]}"}, patch_size=48
    )
    sr = torch.rand(2, 3, 64, 64, requires_grad=True)
    loss(sr, torch.rand(2, 3, 64, 64), CAPTIONS).backward()
    assert sr.grad.abs().sum() > 0
    loss.train()
    assert not any(module.training for module in loss.encoder.modules())
    assert not any(parameter.requires_grad for parameter in loss.encoder.parameters())


def test_name_with_a_file_of_weights(tmp_path):
    folder = tmp_path / "saved"
    save(folder, OPENAI_LIKE)
    weights = str(folder / "open_clip_pytorch_model.bin")
    named = build_encoder({"type": "OpenCLIPEncoder", "model": "tiny", "pretrained": weights})
    local = build_encoder({"type": "OpenCLIPEncoder", "model": f"local-dir:{folder}"})
    torch.testing.assert_close(named.encode_text(CAPTIONS), local.encode_text(CAPTIONS))


def test_a_model_of_images_that_are_not_square_is_refused(tmp_path):
    save(
        tmp_path, OPENAI_LIKE | {"vision_cfg": OPENAI_LIKE["vision_cfg"] | {"image_size": [32, 48]}}
    )
    with pytest.raises(InputError, match="takes images of 48 x 32; use a square one"):
        build_encoder({"type": "OpenCLIPEncoder", "model": f"local-dir:{tmp_path}"})


def test_never_random_weights(tmp_path):
    save(tmp_path, OPENAI_LIKE)
    (tmp_path / "open_clip_pytorch_model.bin").unlink()
    for options in ({"model": "ViT-B-32"}, {"model": f"local-dir:{tmp_path}"}):
        with pytest.raises(InputError, match="could not be loaded"):
            build_encoder({"type": "OpenCLIPEncoder"} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "ViT-Nothing"}, "ViT-Nothing"),
        ({"model": "ViT-B-32", "pretrained": "nowhere.pt"}, "nowhere.pt"),
        ({"model": "local-dir:nowhere"}, "nowhere"),
        ({}, "model"),
    ],
)
def test_what_is_missing_is_named(options, message):
    with pytest.raises(InputError, match=message):
        build_encoder({"type": "OpenCLIPEncoder"} | options)


def test_without_the_library_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match=r"pip install 'basicsr_m2trans\[open-clip\]'"):
        build_encoder({"type": "OpenCLIPEncoder", "model": "ViT-B-32"})
