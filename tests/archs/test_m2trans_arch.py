import pytest
import torch

from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.archs.m2trans_arch import CFTM, M2Trans
from basicsr_m2trans.data.images import to_tensor
from basicsr_m2trans.utils.errors import InputError

# Each option of its own, and all together, which is what the option files of long trainings use.
HYBRID = {
    "norm": "none",
    "bias": False,
    "num_res_block": 2,
    "reconstruction": "conv",
    "global_skip": True,
}
OPTIONS = [{key: value} for key, value in HYBRID.items()] + [HYBRID]


def tiny(upscale=2, **settings):
    """In evaluation mode, with a last layer that does not start at 0."""
    torch.manual_seed(0)
    net = M2Trans(upscale, num_feat=8, num_block=1, **settings).eval()
    last = [layer for layer in net.tail if isinstance(layer, torch.nn.Conv2d)][-1]
    if not last.weight.any():
        torch.nn.init.normal_(last.weight, std=0.1)
    return net


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_equals_official_network(official, upscale, fast):
    net, expected = official("M2Trans", upscale, fast=fast)
    seen = {}
    net.head.register_forward_hook(lambda *args: seen.update(feat_head=args[-1]))
    net.body[0].register_forward_hook(lambda *args: seen.update(feat_block0=args[-1]))
    with torch.no_grad():
        seen["output"] = net(expected["input"])
    for name in ("feat_head", "feat_block0", "output"):
        torch.testing.assert_close(seen[name], expected[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({}, (3_613_120, 3_633_920, 3_629_760)),
        ({"num_feat": 256, "wavelet": "none"}, (5_411_584, 5_740_544, 5_674_752)),
    ],
    ids=["paper", "version 1"],
)
def test_parameter_counts(settings, counts):
    with torch.device("meta"):
        nets = [M2Trans(upscale, **settings) for upscale in (2, 3, 4)]
    assert tuple(sum(p.numel() for p in net.parameters()) for net in nets) == counts


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 33), (31, 32), (45, 20)])
@pytest.mark.parametrize("settings", [{}, *OPTIONS], ids=str)
def test_any_size(upscale, size, settings):
    with torch.no_grad():
        out = tiny(upscale, **settings)(torch.rand(1, 3, *size))
    assert out.shape == (1, 3, upscale * size[0], upscale * size[1])
    assert out.isfinite().all()
    assert 0 <= out.min() <= out.max() <= 1


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize("settings", [{"global_skip": True}, HYBRID], ids=str)
def test_global_skip_starts_from_bicubic_interpolation_and_learns(upscale, settings):
    images = torch.rand(2, 3, 9, 20)
    net = M2Trans(upscale, num_feat=8, num_block=1, img_range=255.0, **settings)
    bicubic = torch.nn.functional.interpolate(images, scale_factor=upscale, mode="bicubic").clamp(
        0, 1
    )
    torch.testing.assert_close(net(images), bicubic, atol=1e-6, rtol=0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    target = (bicubic * 0.9).detach()
    for _ in range(20):
        optimizer.zero_grad()
        loss = (net(images) - target).abs().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * (bicubic - target).abs().mean()


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_weights_of_other_settings_are_not_mistaken_for_each_other(settings):
    net, paper = tiny(2, **settings), tiny(2)
    for one, other in ((net, paper), (paper, net)):
        with pytest.raises(RuntimeError, match=r"Missing key|Unexpected key|size mismatch"):
            one.load_state_dict(other.state_dict())


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_without_norm_and_bias_dim_images_are_like_bright_ones(upscale):
    """The result is proportional to the contrast, but for the softmax; InstanceNorm gives the same
    result twice.
    """
    image = torch.rand(1, 3, 20, 20) * 0.5 + 0.25
    differences = []
    homogeneous = {"norm": "none", "bias": False, "reconstruction": "conv"}
    for change in ({}, {"bias": True}, {"reconstruction": "paper"}, {"norm": "instance"}):
        net = tiny(upscale, num_res_block=2, global_skip=True, **homogeneous | change)
        with torch.no_grad():
            added = net(image) - net.interpolate(image)
            dim = net(image * 0.03) - net.interpolate(image * 0.03)
        differences.append(((dim / 0.03 - added).norm() / added.norm()).item())
    assert differences[0] < 0.1 < 1 < differences[3]
    assert all(differences[0] < 0.2 * difference for difference in differences[1:])


@pytest.mark.slow
def test_training_without_norm_and_bias_is_better_than_bicubic_on_dim_images():
    """A tenth of the contrast after a short training at full contrast: InstanceNorm fails there."""
    gains = {norm: trained_gains(norm) for norm in ("none", "instance")}
    assert min(gains["none"][1.0]) > 0.2
    assert gains["none"][0.1] == pytest.approx(gains["none"][1.0], abs=0.05)
    assert max(gains["instance"][0.1]) < 0


def trained_gains(norm):
    """PSNR minus that of bicubic interpolation of 8 phantoms by contrast, after 60 iterations on 16
    others.
    """
    (lr, hr), (test_lr, test_hr) = phantoms(range(16)), phantoms(range(100, 108))
    torch.manual_seed(0)
    net = M2Trans(2, num_feat=16, num_block=1, **HYBRID | {"norm": norm})
    optimizer = torch.optim.Adam(net.parameters())
    for iteration in range(60):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - iteration / 60)
        chosen = (torch.arange(4) + 4 * iteration) % len(lr)
        optimizer.zero_grad()
        (net(lr[chosen]) - hr[chosen]).abs().mean().backward()
        optimizer.step()

    def error(images):
        return (images.clamp(0, 1) - test_hr).square().mean((1, 2, 3))

    with torch.no_grad():
        bicubic = error(net.interpolate(test_lr))
        return {
            c: (10 * (bicubic / error(net(test_lr * c) / c)).log10()).tolist() for c in (1.0, 0.1)
        }


def phantoms(seeds):
    """LR (N, 3, 48, 48) and HR (N, 3, 96, 96) of synthetic ultrasound images."""
    hr = torch.stack([to_tensor(make_phantom(seed, 96, 96)).expand(3, -1, -1) for seed in seeds])
    lr = torch.nn.functional.interpolate(hr, scale_factor=0.5, mode="bicubic", antialias=True)
    return lr.clamp(0, 1), hr


def test_global_skip_needs_equal_channels():
    with pytest.raises(InputError, match="global_skip needs num_out_ch equal to num_in_ch"):
        M2Trans(2, num_in_ch=1, global_skip=True)


def test_images_of_a_batch_do_not_mix(official):
    net, expected = official("M2Trans", 2)
    first = expected["input"]
    batch = torch.cat((first, first.flip(-1)))
    with torch.no_grad():
        out = net(batch)
        torch.testing.assert_close(out[:1], net(batch[:1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(out[1:], net(batch[1:]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_images_of_a_batch_do_not_mix_with_options(settings):
    net, batch = tiny(3, **settings), torch.rand(2, 3, 19, 40)
    with torch.no_grad():
        each = torch.cat([net(image[None]) for image in batch])
        torch.testing.assert_close(net(batch), each, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_bfloat16_and_gradients_with_options(settings):
    net, image = tiny(4, **settings), torch.rand(1, 3, 20, 33)
    expected = net(image)
    (expected - 0.5).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mixed = net(image)
    with torch.no_grad():
        rounded = net.to(torch.bfloat16)(image.to(torch.bfloat16))
    assert rounded.dtype == torch.bfloat16
    assert 0 < (mixed.float() - expected).abs().mean() < 0.01
    assert 0 < (rounded.float() - expected).abs().mean() < 0.01


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_float_types(official, dtype):
    net, expected = official("M2Trans", 2)
    with torch.no_grad():
        out = net.to(dtype)(expected["input"].to(dtype))
    assert out.dtype == dtype
    tolerance = {torch.float64: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(out.float(), expected["output"], atol=tolerance, rtol=0)


@pytest.mark.parametrize(("num_in_ch", "num_out_ch"), [(1, 1), (4, 4), (1, 3)])
def test_other_channel_counts(num_in_ch, num_out_ch):
    with torch.no_grad():
        out = tiny(num_in_ch=num_in_ch, num_out_ch=num_out_ch)(torch.rand(2, num_in_ch, 9, 9))
    assert out.shape == (2, num_out_ch, 18, 18)


def test_img_range_scales_the_inside_only(official):
    net, expected = official("M2Trans", 2, fast=False)
    image = expected["input"]
    # Without blocks and biases the network is linear up to the clamp, so the scale inside must
    # cancel.
    net.body = torch.nn.ModuleList()
    net.tail = torch.nn.PixelShuffle(2)
    torch.nn.init.zeros_(net.head.bias)
    seen = []
    net.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        once = net(image)
        net.img_range = 255.0
        torch.testing.assert_close(net(image), once)
    torch.testing.assert_close(seen[1], 255 * seen[0])


@pytest.mark.parametrize("wavelet", ["none", "db2", "bior2.2"])
def test_other_wavelets_train(wavelet):
    net = tiny(wavelet=wavelet).train()
    net(torch.rand(1, 3, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_wavelet_filters_are_not_in_the_checkpoint():
    assert tiny(wavelet="db2").state_dict().keys() == tiny().state_dict().keys()


def test_only_haar_and_no_wavelet_have_a_fast_path():
    assert [CFTM(8, wavelet, fast=True).fast for wavelet in ("haar", "none", "db2")] == [
        True,
        True,
        False,
    ]
    assert not any(CFTM(8, wavelet, fast=False).fast for wavelet in ("haar", "none", "db2"))


@pytest.mark.parametrize("fast", [True, False])
def test_block_is_the_sum_of_eq_5_to_10(fast):
    """With attention switched off (V = 0) only the cascade of Eq. 8-10 remains, which is written
    out here.
    """
    torch.manual_seed(0)
    block = CFTM(8, "haar", fast)
    for branch in range(1, 5):
        torch.nn.init.zeros_(block.get_submodule(f"attn{branch}").qkv_conv.weight)
    x = torch.randn(1, 8, 32, 32)
    norm = (x - x.mean((2, 3), keepdim=True)) / (
        x.var((2, 3), keepdim=True, unbiased=False) + 1e-5
    ).sqrt()
    groups = list(norm.split(2, dim=1))
    for i in (1, 2, 3):
        groups[i] = (groups[i] + groups[i - 1]) / 2
    torch.testing.assert_close(
        block(x), x + block.feed_forward(torch.cat(groups, 1)), atol=1e-5, rtol=0
    )


def test_gradients_against_finite_differences():
    torch.manual_seed(0)
    net = M2Trans(2, num_in_ch=1, num_out_ch=1, num_feat=8, num_block=1).double()
    net.tail[-1].weight.data.mul_(0.1)
    image = torch.rand(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    # The clamp to [0, 1] has no derivative at its ends; keep the output inside.
    net.tail.register_forward_hook(lambda *args: torch.sigmoid(args[-1]))
    parameters = dict(net.named_parameters())
    names = ["body.0.attn1.rel_h", "body.0.attn3.rel_w", "tail.3.weight"]

    def forward(image, *values):
        return torch.func.functional_call(
            net, {**parameters, **dict(zip(names, values, strict=True))}, image
        )

    inputs = (image, *(parameters[name] for name in names))
    assert torch.autograd.gradcheck(forward, inputs, fast_mode=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"upscale": 5}, "upscale"),
        ({"upscale": 2, "num_feat": 60}, "num_feat"),
        ({"upscale": 2, "num_block": 0}, "num_block"),
        ({"upscale": 2, "norm": "layer"}, "norm must be 'instance' or 'none', but is 'layer'"),
        ({"upscale": 2, "num_res_block": -1}, "num_res_block must be at least 0"),
        ({"upscale": 2, "reconstruction": "edsr"}, "reconstruction must be 'paper' or 'conv'"),
        ({"upscale": 2, "wavelet": "hair"}, "unknown wavelet 'hair'"),
        ({"upscale": 2, "wavelet": "db20"}, "40 taps"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        M2Trans(**settings)


def test_modules_share_the_constants_of_their_transform():
    assert len(list(M2Trans(2, num_feat=8, num_block=3).buffers())) == 3
