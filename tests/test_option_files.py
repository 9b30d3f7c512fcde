"""The option files of the repository: they parse, agree with each other, and build what they name."""

from pathlib import Path

import pytest
import torch
import yaml

import basicsr_m2trans

basicsr_m2trans.register()

from basicsr.archs import build_network  # noqa: E402
from basicsr.utils import registry  # noqa: E402

ROOT = Path(__file__).parents[1]
FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "options").rglob("*.yml"))
COUNTS = {2: 3_613_120, 3: 3_633_920, 4: 3_629_760}


def read(file):
    return yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))


def numbers_as_text(value, path=""):
    """Entries such as 1e-4 without !!float, which YAML reads as text."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in numbers_as_text(item, f"{path}: {key}")]
    try:
        return [path] if isinstance(value, str) and float(value) is not None else []
    except ValueError:
        return []


@pytest.mark.parametrize("file", FILES)
def test_names_and_scales_agree(file):
    opt = read(file)
    assert opt["model_type"] in registry.MODEL_REGISTRY
    assert opt["network_g"]["upscale"] == opt["scale"]
    for dataset in opt["datasets"].values():
        assert dataset["type"] in registry.DATASET_REGISTRY
        assert dataset["dataroot_lq"].endswith(f"LR_bicubic_X{opt['scale']}.lmdb")
    for name, metric in opt["val"]["metrics"].items():
        assert metric["type"] in registry.METRIC_REGISTRY
        assert (metric.get("better") == "lower") == (name == "gmsd")
    assert numbers_as_text(opt) == []
    assert file in (ROOT / file).read_text(), "the file shows the command that runs it"


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_paper_network(mode, scale):
    opt = read(f"options/{mode}_M2Trans_x{scale}.yml")
    with torch.device("meta"):
        net = build_network(opt["network_g"])
    assert sum(p.numel() for p in net.parameters()) == COUNTS[scale]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_paper_setting(scale):
    """Sec. V-A: HR patch 384, batch 2, Adam 1e-4 to 1e-6 by cosine, 500,000 iterations, beta 0.01, K 3."""
    opt = read(f"options/train_M2Trans_x{scale}.yml")
    data, train = opt["datasets"]["train"], opt["train"]
    assert (data["gt_size"], data["batch_size_per_gpu"]) == (384, 2)
    assert data["use_hflip"]
    assert data["use_rot"]
    assert train["optim_g"] == {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.999]}
    assert train["scheduler"]["periods"] == [train["total_iter"]] == [500_000]
    assert train["scheduler"]["eta_min"] == 1e-6
    assert train["pixel_opt"]["type"] == "L1Loss"
    semantic = train["semantic_opt"]
    assert (semantic["loss_weight"], semantic["num_patches"], semantic["patch_size"]) == (0.01, 3, 224)
    assert semantic["encoder"]["type"] == "MedCLIPEncoder"


def test_scales_differ_in_the_scale_alone():
    texts = [(ROOT / f"options/train_M2Trans_x{s}.yml").read_text() for s in (2, 3, 4)]
    for scale, text in zip((3, 4), texts[1:], strict=True):
        differing = [pair for pair in zip(texts[0].splitlines(), text.splitlines(), strict=True) if pair[0] != pair[1]]
        assert differing
        for ours, other in differing:
            markers = (("x2", f"x{scale}"), ("X2", f"X{scale}"), (" 2", f" {scale}"))
            assert any(ours.replace(old, new) == other for old, new in markers), (ours, other)


def test_readme_is_finished():
    assert "@@" not in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_key_is_explained_in_the_readme():
    """The README's table goes through the option file key by key."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("## The option file, key by key") : readme.index("## What the released code does")]
    opt = read("options/train_M2Trans_x2.yml")
    keys = set(opt) - {"datasets", "network_g", "path", "train", "val", "logger"}
    keys |= set(opt["datasets"]["train"]) - {"name", "type"}
    for section in ("network_g", "path", "train", "val", "logger"):
        keys |= set(opt[section]) - {"type", "upscale"}
    keys |= set(opt["train"]["semantic_opt"]) - {"type"}
    missing = [key for key in sorted(keys) if f"`{key}`" not in table and f": {key}`" not in table]
    assert missing == []
