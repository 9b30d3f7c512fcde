"""Every architecture that can be compared: sizes, batches, number formats, a training step,
parameter counts.
"""

from pathlib import Path

import pytest
import torch
import yaml

import basicsr_m2trans
from basicsr_m2trans.utils.errors import InputError

basicsr_m2trans.register()

from basicsr.archs import build_network  # noqa: E402
from basicsr.models import build_model  # noqa: E402
from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402

OPTIONS = Path(__file__).parents[2] / "options"
SWIN = {
    "in_chans": 3,
    "embed_dim": 12,
    "depths": [2],
    "num_heads": [2],
    "mlp_ratio": 2,
    "upsampler": "pixelshuffle",
}
TINY = {
    "EDSR": {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2},
    "PaddedSwinIR": {**SWIN, "img_size": 64, "window_size": 8},
    "ELAN": {"num_feat": 15, "num_block": 4},
    "ESRT": {"num_feat": 16, "num_block": 1},
    "HAT": {**SWIN, "img_size": 64, "window_size": 16, "squeeze_factor": 4},
    "M2Trans": {"num_feat": 8, "num_block": 1},
}
TINY["GlobalSkip"] = {"network": {"type": "EDSR", **TINY["EDSR"]}}
# Table I, in millions at x2, x3 and x4, and what the option files build. EDSR's 14.17 fits no
# standard configuration.
PARAMETERS = {
    "EDSR": ((14.17, 14.17, 14.17), (12_405_763, 15_356_163, 14_766_083)),
    "PaddedSwinIR": ((11.75, 11.94, 11.90), (11_752_487, 11_937_127, 11_900_199)),
    "ELAN": ((3.56, 3.58, 3.61), (3_561_012, 3_581_277, 3_609_648)),
    "ESRT": ((4.89, 4.98, 4.96), (4_885_667, 4_978_147, 4_959_651)),
    "HAT": ((20.62, 20.81, 20.77), (20_624_795, 20_809_435, 20_772_507)),
    "M2Trans": ((3.61, 3.63, 3.63), (3_613_120, 3_633_920, 3_629_760)),
}


def tiny(name, upscale=2):
    torch.manual_seed(0)
    net = build_network({"type": name, "upscale": upscale, **TINY[name]}).eval()
    for parameter in net.parameters():
        if (
            not parameter.any()
        ):  # such as a last layer that starts at 0, behind which nothing would show
            torch.nn.init.normal_(parameter, std=0.05)
    return net


@pytest.mark.parametrize("name", ["ELAN", "ESRT"])
@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_equals_official_network(official, name, upscale):
    net, expected = official(name, upscale)
    with torch.no_grad():
        output = net(expected["input"])
    torch.testing.assert_close(output, expected["output"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["ELAN", "ESRT"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 3e-2)])
def test_float_types(official, name, dtype, tolerance):
    net, expected = official(name, 2)
    with torch.no_grad():
        output = net.to(dtype)(expected["input"].to(dtype))
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected["output"], atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_any_size(name, upscale):
    net = tiny(name, upscale)
    for size in [(1, 1), (1, 7), (2, 17), (16, 16), (23, 33)]:
        with torch.no_grad():
            out = net(torch.rand(1, 3, *size))
        assert out.shape == (1, 3, upscale * size[0], upscale * size[1])
        assert out.isfinite().all()


@pytest.mark.parametrize("name", TINY)
def test_images_of_a_batch_do_not_mix(name):
    net = tiny(name)
    batch = torch.rand(3, 3, 19, 21)
    with torch.no_grad():
        each = torch.cat([net(image[None]) for image in batch])
        torch.testing.assert_close(net(batch), each, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", TINY)
def test_bfloat16(name):
    """As in training with mixed precision: float32 weights under autocast."""
    net = tiny(name)
    image = torch.rand(2, 3, 19, 21)
    with torch.no_grad():
        expected = net(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = net(image).float()
    error = (output - expected).abs().max()
    assert 0 < error < 0.05 * expected.abs().max()


@pytest.mark.parametrize("name", TINY)
def test_trains_and_validates_through_m2trans_model(name, tmp_path):
    """Steps reach every parameter and lower the loss; validation takes an image whose sides fit no
    window.
    """
    opt = {
        "model_type": "M2TransModel",
        "scale": 2,
        "num_gpu": 0,
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "is_train": True,
        "manual_seed": 5,
        "network_g": {"type": name, "upscale": 2, **TINY[name]},
        "path": {"models": str(tmp_path), "training_states": str(tmp_path)},
        "train": {
            "optim_g": {"type": "Adam", "lr": 1e-3},
            "scheduler": {"type": "MultiStepLR", "milestones": [10], "gamma": 0.5},
            "pixel_opt": {"type": "L1Loss"},
        },
    }
    torch.manual_seed(0)
    model = build_model(opt)
    model.feed_data({"lq": torch.full((2, 3, 16, 32), 0.5), "gt": torch.full((2, 3, 32, 64), 0.75)})
    losses = []
    for iteration in range(1, 9):
        model.optimize_parameters(iteration)
        losses.append(model.log_dict["l_pix"])
    assert losses[-1] < 0.95 * losses[0]
    assert [key for key, value in model.net_g.named_parameters() if value.grad is None] == []
    model.feed_data({"lq": torch.rand(1, 3, 13, 21)})
    model.test()
    assert model.output.shape == (1, 3, 26, 42)


@pytest.mark.parametrize("name", ["EDSR", "PaddedSwinIR", "ELAN", "HAT"])
@pytest.mark.parametrize("upscale", [2, 4])
def test_with_the_skip_they_start_from_bicubic_interpolation(name, upscale):
    torch.manual_seed(0)
    network = build_network(
        {"type": "GlobalSkip", "upscale": upscale, "network": {"type": name, **TINY[name]}}
    ).eval()
    images = torch.rand(1, 3, 19, 16)
    bicubic = torch.nn.functional.interpolate(images, scale_factor=upscale, mode="bicubic")
    with torch.no_grad():
        torch.testing.assert_close(network(images), bicubic, atol=1e-6, rtol=0)
    network.train()
    alone = build_network({"type": name, "upscale": upscale, **TINY[name]})
    assert network.state_dict().keys() == {f"network.{key}" for key in alone.state_dict()} | {
        "offset"
    }


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"type": "EDRS"}, "'EDRS' is not a registered network"),
        ({"num_feat": 8}, "None is not a registered"),
        (
            {"type": "M2Trans"},
            "GlobalSkip cannot wrap M2Trans; it has the skip itself: write global_skip: true",
        ),
        ({"type": "ELAN", "num_out_ch": 1, **TINY["ELAN"]}, "ELAN makes 1 channels of 3"),
        (
            {"type": "ESRT", **TINY["ESRT"]},
            "GlobalSkip cannot wrap ESRT; it adds up several outputs",
        ),
        ({"type": "WithSkip", "num_feat": 8, "num_block": 1}, "WithSkip has a skip of its own"),
    ],
)
def test_the_skip_names_what_it_cannot_wrap(network, message, monkeypatch):
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "WithSkip", ARCH_REGISTRY.get("MSRResNet"))
    with pytest.raises(InputError, match=message):
        build_network({"type": "GlobalSkip", "upscale": 2, "network": network})


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    paper, counts = PARAMETERS[name]
    folder = OPTIONS if name == "M2Trans" else OPTIONS / "baselines"
    for upscale, expected, published in zip((2, 3, 4), counts, paper, strict=True):
        file = f"train_{name.removeprefix('Padded')}_x{upscale}.yml"
        opt = yaml.safe_load((folder / file).read_text(encoding="utf-8"))
        net = build_network(opt["network_g"])
        assert sum(p.numel() for p in net.parameters()) == expected
        assert name == "EDSR" or abs(expected / 1e6 - published) <= 0.005
