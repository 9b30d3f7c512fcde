"""The option files of the repository: they parse, agree with each other, build what they name."""

import functools
import runpy
from pathlib import Path

import pytest
import torch
import yaml

import basicsr_m2trans
from basicsr_m2trans.archs.wavelet import WaveletTransform

basicsr_m2trans.register()

from basicsr.archs import build_network  # noqa: E402
from basicsr.models import build_model  # noqa: E402
from basicsr.utils import registry  # noqa: E402

ROOT = Path(__file__).parents[1]
FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "options").rglob("*.yml"))
COUNTS = {2: 3_613_120, 3: 3_633_920, 4: 3_629_760}
# Of the baselines (Sec. V-A): batch, side of the LR patch (None: that of HR patches of 384),
# learning rate, betas, and when the learning rate is halved.
HALVED_LATE = [250_000, 400_000, 450_000, 475_000]
BASELINES = {
    "EDSR": (2, 48, 1e-4, [0.9, 0.999], [200_000, 400_000]),
    "SwinIR": (2, None, 2e-4, [0.9, 0.99], HALVED_LATE),
    "ELAN": (2, None, 2e-4, [0.9, 0.999], HALVED_LATE),
    "ESRT": (2, 48, 2e-4, [0.9, 0.999], [100_000, 200_000, 300_000, 400_000]),
    "HAT": (1, None, 2e-4, [0.9, 0.99], HALVED_LATE),
}
# scripts/write_ablations.py, which knows what each ablation changes.
WRITER = runpy.run_path(str(ROOT / "scripts/write_ablations.py"))
ABLATIONS = [
    (name, scale) for name, (_, scales, _) in WRITER["ABLATIONS"].items() for scale in scales
]


def read(file):
    return yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))


def numbers_as_text(value, path=""):
    """Entries such as 1e-4 without !!float, which YAML reads as text."""
    if isinstance(value, dict):
        return [
            found
            for key, item in value.items()
            for found in numbers_as_text(item, f"{path}: {key}")
        ]
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
    """Sec. V-A: HR patch 384, batch 2, Adam 1e-4 to 1e-6, 500,000 iterations, beta 0.01, K 3."""
    opt = read(f"options/train_M2Trans_x{scale}.yml")
    data, train = opt["datasets"]["train"], opt["train"]
    assert (data["gt_size"], data["batch_size_per_gpu"]) == (384, 2)
    assert data["use_hflip"]
    assert data["use_rot"]
    assert train["optim_g"] == {
        "type": "Adam",
        "lr": 1e-4,
        "weight_decay": 0,
        "betas": [0.9, 0.999],
    }
    assert train["scheduler"]["periods"] == [train["total_iter"]] == [500_000]
    assert train["scheduler"]["eta_min"] == 1e-6
    assert train["pixel_opt"]["type"] == "L1Loss"
    semantic = train["semantic_opt"]
    assert (semantic["loss_weight"], semantic["num_patches"], semantic["patch_size"]) == (
        0.01,
        3,
        224,
    )
    assert semantic["encoder"]["type"] == "MedCLIPEncoder"


def test_all_baselines_are_there():
    assert {file for file in FILES if "/baselines/" in file} == {
        f"options/baselines/train_{name}_x{scale}.yml"
        for name in (*BASELINES, "EDSR_open")
        for scale in (2, 3, 4)
    }


def test_ablations_are_as_the_script_writes_them():
    folder = ROOT / "options/ablations"
    assert {path: path.read_text(encoding="utf-8") for path in folder.iterdir()} == WRITER[
        "files"
    ]()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_differ_from_the_paper_setting_in_their_own_alone(name, scale):
    batch, lr_patch, lr, betas, milestones = BASELINES[name]
    opt, paper = (
        read(f"options/baselines/train_{name}_x{scale}.yml"),
        read(f"options/train_M2Trans_x{scale}.yml"),
    )
    assert opt["network_g"]["type"] == {"SwinIR": "PaddedSwinIR"}.get(name, name)
    paper["name"] = f"train_{name}_x{scale}"
    paper["network_g"] = opt["network_g"]
    paper["datasets"]["train"] |= {
        "batch_size_per_gpu": batch,
        "gt_size": lr_patch * scale if lr_patch else 384,
    }
    del paper["train"]["semantic_opt"]
    paper["train"]["optim_g"] |= {"lr": lr, "betas": betas}
    paper["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.5}
    assert opt == paper


@pytest.mark.parametrize(("name", "scale"), ABLATIONS)
def test_ablations_change_their_own_keys_alone(name, scale):
    expected = read(f"options/train_M2Trans_x{scale}.yml")
    expected["name"] = f"train_M2Trans_{name}_x{scale}"
    for key, value in WRITER["ABLATIONS"][name][2].items():
        *parents, last = key.split(":")
        section = functools.reduce(dict.__getitem__, parents, expected)
        if value is None:
            del section[last]
        else:
            section[last] = value
    assert read(f"options/ablations/train_M2Trans_{name}_x{scale}.yml") == expected


def test_a_network_with_another_wavelet_trains(model_options):
    network_g = read("options/ablations/train_M2Trans_wavelet_db2_x2.yml")["network_g"]
    model = build_model(
        model_options() | {"network_g": network_g | {"num_feat": 8, "num_block": 1}}
    )
    assert isinstance(model.net_g.body[0].wavelet, WaveletTransform)
    before = [parameter.clone() for parameter in model.net_g.parameters()]
    model.feed_data({"lq": torch.rand(2, 3, 32, 32), "gt": torch.rand(2, 3, 64, 64)})
    model.optimize_parameters(1)
    assert not any(map(torch.equal, before, model.net_g.parameters()))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_recipe_for_long_trainings(scale):
    opt, expected = (
        read(f"options/train_M2Trans_open_x{scale}.yml"),
        read(f"options/train_M2Trans_x{scale}.yml"),
    )
    expected["name"] = f"train_M2Trans_open_x{scale}"
    expected["network_g"] |= {
        "num_feat": 32,
        "num_block": 2,
        "norm": "none",
        "bias": False,
        "num_res_block": 16,
    }
    expected["network_g"] |= {"reconstruction": "conv", "global_skip": True}
    # LR patches are multiples of 32, to which the network pads.
    expected["datasets"]["train"] |= {
        "gt_size": {2: 256, 3: 288, 4: 256}[scale],
        "batch_size_per_gpu": 1,
    }
    expected["datasets"]["train"] |= {
        "num_worker_per_gpu": 1,
        "degradation": {"probability": 0.2, "gain": [0.03, 1.0]},
    }
    del expected["train"]["semantic_opt"]
    expected["train"] |= {"total_iter": 200_000, "warmup_iter": 100, "ema_decay": 0.999}
    expected["train"]["optim_g"]["lr"] = 5e-4
    expected["train"]["scheduler"]["periods"] = [200_000]
    expected["logger"] |= {"save_checkpoint_freq": 1000, "keep_last": 5, "keep_best": True}
    assert opt == expected


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_baseline_has_the_same_recipe(scale):
    opt, ours = (
        read(f"options/baselines/train_EDSR_open_x{scale}.yml"),
        read(f"options/train_M2Trans_open_x{scale}.yml"),
    )
    assert opt["network_g"]["network"]["type"] == "EDSR"
    assert opt == ours | {"name": f"train_EDSR_open_x{scale}", "network_g": opt["network_g"]}


@pytest.mark.parametrize("file", [file for file in FILES if "/test/" not in file])
def test_networks_are_built(file):
    network_g = read(file)["network_g"]
    # They take numbers from tensors, which the meta device has none in.
    with torch.device(
        "cpu" if network_g["type"] in ("PaddedSwinIR", "HAT", "GlobalSkip") else "meta"
    ):
        net = build_network(network_g)
    assert type(net).__name__ == network_g["type"]


def test_scales_differ_in_the_scale_alone():
    texts = [(ROOT / f"options/train_M2Trans_x{s}.yml").read_text() for s in (2, 3, 4)]
    for scale, text in zip((3, 4), texts[1:], strict=True):
        differing = [
            pair
            for pair in zip(texts[0].splitlines(), text.splitlines(), strict=True)
            if pair[0] != pair[1]
        ]
        assert differing
        for ours, other in differing:
            markers = (("x2", f"x{scale}"), ("X2", f"X{scale}"), (" 2", f" {scale}"))
            assert any(ours.replace(old, new) == other for old, new in markers), (ours, other)


def test_pages_are_finished():
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        assert "@@" not in page.read_text(encoding="utf-8"), page


def test_every_key_is_explained():
    """docs/options.md goes through the option files key by key."""
    table = (ROOT / "docs/options.md").read_text(encoding="utf-8")
    keys = set()
    for file in FILES:
        opt = read(file)
        if "train" not in opt["datasets"]:
            continue
        keys |= set(opt) - {"datasets", "network_g", "path", "train", "val", "logger"}
        keys |= set(opt["datasets"]["train"]) - {"name", "type"}
        for section in ("network_g", "path", "train", "val", "logger"):
            keys |= set(opt[section]) - {"type", "upscale"}
        keys |= set(opt["train"].get("semantic_opt") or {}) - {"type"}
    missing = [key for key in sorted(keys) if f"`{key}`" not in table and f": {key}`" not in table]
    assert missing == []
