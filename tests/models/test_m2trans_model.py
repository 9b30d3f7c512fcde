"""The training step, on a tiny network and random images."""

import copy
import math
import os

import pytest
import torch

import basicsr_m2trans
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.utils.errors import InputError

basicsr_m2trans.register()

from basicsr.models import build_model  # noqa: E402

EDSR = {
    "type": "EDSR",
    "num_in_ch": 3,
    "num_out_ch": 3,
    "num_feat": 4,
    "num_block": 2,
    "upscale": 2,
}
SEMANTIC = {
    "type": "ImageTextSemanticLoss",
    "encoder": "QualityCLIPEncoder",
    "patch_size": 16,
    "loss_weight": 0.5,
}


def options(tmp_path, **train):
    return {
        "name": "tiny",
        "model_type": "M2TransModel",
        "scale": 2,
        "num_gpu": 0,
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "is_train": True,
        "manual_seed": 5,
        "network_g": {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 1},
        "path": {"models": str(tmp_path), "training_states": str(tmp_path)},
        "train": {
            "optim_g": {"type": "Adam", "lr": 1e-2},
            "scheduler": {"type": "CosineAnnealingRestartLR", "periods": [100], "eta_min": 1e-6},
            "pixel_opt": {"type": "L1Loss"},
            "semantic_opt": dict(SEMANTIC),
            **train,
        },
    }


def build(tmp_path, network=None, device="cpu", **train):
    torch.manual_seed(0)
    opt = options(tmp_path, **train) | {"num_gpu": int(device == "cuda")}
    return build_model(opt | ({"network_g": network} if network else {}))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 8, 8, generator=generator)
    gt = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1)
    lq = torch.nn.functional.interpolate(gt, size=16, mode="area")
    return {
        "lq": lq,
        "gt": gt,
        "text": ["a sharp ultrasound image", "a clean image of an ultrasound"],
    }


def step(model, iteration=1, data=None):
    model.feed_data(data or batch())
    model.optimize_parameters(iteration)
    return model.get_current_log()


def test_total_gradient_is_the_sum_of_both_terms(tmp_path, device):
    """Eq. 20: what the optimizer gets is the gradient of L_fid plus that of beta L_sem, which is
    not zero.
    """
    model, reference = build(tmp_path, device=device), build(tmp_path, device=device)
    step(model)
    torch.manual_seed(reference._seed_of_step(1, rank=0))
    reference.feed_data(batch())
    output = reference.net_g(reference.lq)
    fidelity = (output - reference.gt).abs().mean()
    semantic = reference.cri_semantic(output, reference.gt, reference.text)
    parameters = list(reference.net_g.parameters())
    of_fidelity = torch.autograd.grad(fidelity, parameters, retain_graph=True)
    of_semantic = torch.autograd.grad(semantic, parameters)
    assert sum(g.abs().sum() for g in of_semantic) > 1e-4
    for parameter, first, second in zip(
        model.net_g.parameters(), of_fidelity, of_semantic, strict=True
    ):
        assert_same(parameter.grad, first + second, device)
    log = model.get_current_log()
    assert log["l_pix"] == pytest.approx(fidelity.item())
    assert log["l_sem"] == pytest.approx(semantic.item())


@pytest.mark.parametrize(("weight", "term"), [(1.0, "l_pix"), (0.0, "l_sem")])
def test_training_learns(weight, term, tmp_path):
    """The fidelity term falls beside the semantic one, and the semantic one also without the
    fidelity term's help.
    """
    model = build(
        tmp_path,
        pixel_opt={"type": "L1Loss", "loss_weight": weight},
        semantic_opt=SEMANTIC | {"num_patches": 1},  # random crops would make l_sem noisy
        optim_g={"type": "Adam", "lr": 3e-3},
    )
    logs = [dict(step(model, iteration)) for iteration in range(1, 81)]
    first, last = (sum(log[term] for log in part) / 10 for part in (logs[:10], logs[-10:]))
    assert last < 0.7 * first


def test_without_semantic_loss_captions_are_not_needed(tmp_path):
    data = batch()
    del data["text"]
    assert set(step(build(tmp_path, semantic_opt=None), data=data)) == {"l_pix"}


def test_missing_captions_are_an_error_that_says_what_to_do(tmp_path):
    data = batch()
    del data["text"]
    with pytest.raises(InputError, match=r"captions: FILE\.csv"):
        step(build(tmp_path), data=data)


def test_perceptual_loss_is_refused(tmp_path):
    with pytest.raises(InputError, match="perceptual_opt"):
        build(tmp_path, perceptual_opt={"type": "PerceptualLoss"})


def test_encoder_stays_out_of_optimizer_and_checkpoint(tmp_path):
    model = build(tmp_path, ema_decay=0.9)
    step(model)
    network = model.net_g.state_dict().keys()
    assert sum(len(group["params"]) for group in model.optimizer_g.param_groups) == len(
        list(model.net_g.parameters())
    )
    model.save(0, 1)
    saved = torch.load(tmp_path / "net_g_1.pth", weights_only=True)
    assert saved.keys() == {"params", "params_ema", "network_g"}
    assert saved["params"].keys() == saved["params_ema"].keys() == network
    assert not any(parameter.requires_grad for parameter in model.cri_semantic.parameters())


def test_ema_follows_the_weights(tmp_path, device):
    model = build(tmp_path, device=device, ema_decay=0.9)
    before = copy.deepcopy(model.net_g_ema.state_dict())
    step(model)
    for name, value in model.net_g.state_dict().items():
        torch.testing.assert_close(
            model.net_g_ema.state_dict()[name], 0.9 * before[name] + 0.1 * value
        )


def test_crops_of_two_processes_are_those_of_one(tmp_path):
    """The sampler deals image 0 to rank 0, image 1 to rank 1, and so on."""
    one, *ranks = [build(tmp_path, semantic_opt=SEMANTIC | {"num_patches": 4}) for _ in range(3)]
    small, large = batch(), {name: [*value, *value] for name, value in batch().items()}
    one.feed_data(
        {name: value if name == "text" else torch.stack(value) for name, value in large.items()}
    )
    whole = one._draw_crops(one.cri_semantic, 7)
    assert whole.unique(dim=0).shape == (4, 3, 2)
    for rank, model in enumerate(ranks):
        model.opt |= {"rank": rank, "world_size": 2}
        model.feed_data(small)
        assert torch.equal(model._draw_crops(model.cri_semantic, 7), whole[rank::2])


def test_sum_over_the_images_of_all_processes(tmp_path, monkeypatch):
    """DDP averages gradients, Eq. 14 sums: each process scales its sum by their number."""
    # The whole image is the only patch: one of two processes has other crops than one alone.
    alone, one_of_two = (
        build(tmp_path, semantic_opt=SEMANTIC | {"num_patches": 1}) for _ in range(2)
    )
    expected = 2 * step(alone)["l_sem"]
    monkeypatch.setattr(
        torch.distributed, "all_reduce", lambda losses: losses.mul_(2)
    )  # of two that are equal
    one_of_two.opt |= {"dist": True, "world_size": 2}
    assert step(one_of_two)["l_sem"] == pytest.approx(expected)


def test_a_step_depends_on_seed_and_iteration_not_on_history(tmp_path):
    """The crops of the semantic loss are the same whatever was drawn before; another iteration has
    others.
    """
    first, second, third = build(tmp_path), build(tmp_path), build(tmp_path)
    data = batch()
    torch.rand(7)
    step(first, 4, data)
    torch.rand(100)
    step(second, 4, data)
    step(third, 5, data)
    assert first.log_dict == second.log_dict
    assert first.log_dict["l_pix"] == third.log_dict["l_pix"]
    assert not math.isclose(first.log_dict["l_sem"], third.log_dict["l_sem"], rel_tol=1e-6)


# Part of a gradient's largest value: a GPU chooses algorithms by size, and some add up in any
# order.
GPU_ROUNDING = 1e-3


def assert_same(gradient, expected, device):
    rounding = 1e-5 if device == "cpu" else GPU_ROUNDING
    torch.testing.assert_close(
        gradient, expected, rtol=1e-4, atol=rounding * expected.abs().max().item()
    )


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.net_g.named_parameters()}


def count_compiled_graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_bfloat16_gradient_is_that_of_float32(tmp_path, device):
    """To 0.014 of its norm in one step, with a CPU's bfloat16 instructions and without; never to
    the bit.
    """
    models = build(tmp_path, device=device), build(tmp_path, device=device, amp="bf16")
    for model in models:
        step(model)
    expected, gradient = (
        torch.cat([g.flatten() for g in gradients(model).values()]) for model in models
    )
    assert 1e-4 < (gradient - expected).norm() / expected.norm() < 0.03


def test_bfloat16_learns(tmp_path):
    """Weights, gradients and losses stay float32, and validation too.

    How far the loss falls is not compared: the rounding of every processor leads elsewhere, and
    changes of 1e-6 in the weights alone, on one processor, to 0.47 - 0.58 of the first losses
    (float32: 0.48 - 0.52).
    """
    model = build(tmp_path, amp="bf16", optim_g={"type": "Adam", "lr": 3e-3})
    values = [step(model, iteration)["l_pix"] for iteration in range(1, 61)]
    assert sum(values[-10:]) < 0.7 * sum(values[:10])
    assert {p.dtype for p in model.net_g.parameters()} == {
        p.grad.dtype for p in model.net_g.parameters()
    }
    assert {p.grad.dtype for p in model.net_g.parameters()} == {torch.float32}
    model.test()
    with torch.no_grad():
        assert torch.equal(model.output, model.net_g(model.lq))


def test_bfloat16_reaches_the_network(tmp_path):
    seen = []
    model = build(tmp_path, EDSR, amp="bf16")
    model.net_g.body.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.dtype)
    )
    step(model)
    assert seen == [torch.bfloat16]


@pytest.mark.parametrize(
    ("train", "expected"), [({}, False), ({"tf32": True}, True), ({"tf32": False}, False)]
)
def test_tf32_holds_for_the_step_alone(tmp_path, train, expected):
    seen = []
    model = build(tmp_path, **train)
    model.net_g.register_forward_hook(lambda *_: seen.append(torch.backends.cuda.matmul.allow_tf32))
    step(model)
    model.test()
    assert seen == [expected, False]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(reduction, tmp_path, device):
    """Means and sums alike, and the log shows the values of the whole batch."""
    losses = {
        "pixel_opt": {"type": "L1Loss", "reduction": reduction},
        "semantic_opt": SEMANTIC | {"reduction": reduction},
    }
    whole, parts = (build(tmp_path, device=device, accumulate=count, **losses) for count in (1, 2))
    assert step(whole) == pytest.approx(step(parts), rel=1e-5 if device == "cpu" else 1e-4)
    expected = gradients(whole)
    for name, gradient in gradients(parts).items():
        assert_same(gradient, expected[name], device)


def test_clipping_shortens_the_gradient_and_keeps_its_direction(tmp_path):
    free, clipped = build(tmp_path, grad_clip_norm=1e9), build(tmp_path, grad_clip_norm=0.01)
    step(free)
    step(clipped)
    norm = torch.stack([g.norm() for g in gradients(free).values()]).norm()
    assert norm > 0.01
    for name, gradient in gradients(free).items():
        torch.testing.assert_close(clipped.net_g.get_parameter(name).grad, gradient * 0.01 / norm)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"checkpointing": True}, 0),
        ({"channels_last": True}, 1e-6),
        ({"grad_clip_norm": math.inf}, 0),
    ],
)
def test_options_that_change_no_result(options, tolerance, tmp_path, device):
    network = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 2}
    plain, other = build(tmp_path, network, device), build(tmp_path, network, device, **options)
    step(plain)
    step(other)
    if device == "cuda":
        tolerance = GPU_ROUNDING
    expected = gradients(plain)
    for name, gradient in gradients(other).items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=0, atol=tolerance * expected[name].abs().max().item()
        )


def test_channels_last_reaches_weights_and_images(tmp_path):
    seen = []
    model = build(tmp_path, EDSR, channels_last=True)
    model.net_g.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    step(model)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert model.net_g.conv_first.weight.is_contiguous(memory_format=torch.channels_last)


def test_compiling_changes_no_gradient_and_only_training(tmp_path, device):
    torch._dynamo.reset()
    plain, compiled = (
        build(tmp_path, EDSR, device),
        build(tmp_path, EDSR, device, compile="aot_eager"),
    )
    step(plain)
    before = count_compiled_graphs()
    step(compiled)
    assert count_compiled_graphs() == before + 1
    for name, gradient in gradients(plain).items():
        assert_same(compiled.net_g.get_parameter(name).grad, gradient, device)
    compiled.feed_data({"lq": torch.rand(1, 3, 20, 12)})
    compiled.test()
    assert compiled.output.shape == (1, 3, 40, 24)
    step(compiled, 2)
    assert count_compiled_graphs() == before + 1


@pytest.mark.slow
@pytest.mark.parametrize("fast", [True, False])
def test_m2trans_compiles_to_one_graph(fast):
    """No graph breaks, forward and backward."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = M2Trans(2, num_feat=8, num_block=1, fast=fast)
    x = torch.rand(1, 3, 32, 32)
    results = []
    for forward in (net, torch.compile(net, backend="aot_eager", fullgraph=True)):
        out = forward(x)
        results.append((out, *torch.autograd.grad(out.square().mean(), list(net.parameters()))))
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5 * plain.abs().max().item())


def test_all_options_together_save_a_plain_network(tmp_path, device):
    """Keys and values of the checkpoint are the network's own, and a resumed run goes on exactly (a
    GPU: nearly).
    """
    torch._dynamo.reset()
    together = {
        "amp": "bf16",
        "compile": "aot_eager",
        "channels_last": True,
        "checkpointing": True,
        "accumulate": 2,
        "grad_clip_norm": 0.1,
        "ema_decay": 0.9,
    }
    model = build(tmp_path, EDSR, device, **together)
    step(model)
    model.save(0, 1)
    saved = torch.load(tmp_path / "net_g_1.pth", weights_only=True)
    plain = build(tmp_path, EDSR, ema_decay=0.9)
    assert saved["params"].keys() == saved["params_ema"].keys() == plain.net_g.state_dict().keys()
    assert all(
        torch.equal(value, model.net_g.state_dict()[name].cpu())
        for name, value in saved["params"].items()
    )

    resumed = build(tmp_path, EDSR, device, **together)
    for net, key in ((resumed.net_g, "params"), (resumed.net_g_ema, "params_ema")):
        resumed.load_network(net, tmp_path / "net_g_1.pth", True, key)
    resumed.resume_training(torch.load(tmp_path / "1.state", weights_only=False))
    for each in (model, resumed):
        step(each, 2, batch(seed=1))
    rounding = 0 if device == "cpu" else 1e-3  # a tenth of a step
    for ours, others in ((model.net_g, resumed.net_g), (model.net_g_ema, resumed.net_g_ema)):
        torch.testing.assert_close(ours.state_dict(), others.state_dict(), rtol=0, atol=rounding)


@pytest.mark.parametrize("option", [{"compile": "eager"}, {"checkpointing": True}])
def test_data_parallel_cannot_be_combined_with_changed_forward(option, tmp_path):
    opt = options(tmp_path, **option) | {"num_gpu": 2}
    with pytest.raises(InputError, match=r"compile and checkpointing work with one GPU .*torchrun"):
        build_model(opt)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(tmp_path):
    """The error names iteration, terms, images and the newest checkpoint."""
    model = build(tmp_path)
    step(model)
    for number in (5, 10):
        model.save(0, number)
    os.utime(tmp_path / "net_g_10.pth", (0, 0))  # the clock was set back
    before = copy.deepcopy(model.net_g.state_dict())
    data = batch() | {"lq_path": ["a.png", "b.png"]}
    data["gt"][1, 0, 3, 3] = math.nan
    with pytest.raises(InputError) as error:
        step(model, 11, data)
    for part in (
        "iteration 11",
        "l_pix nan",
        "images: a.png, b.png",
        f"checkpoint: {tmp_path / 'net_g_10.pth'}",
    ):
        assert part in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.net_g.state_dict().items())


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    model = build(tmp_path)
    model.net_g.tail[0].bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(
        InputError, match=r"norm of the gradient (inf|nan); .*checkpoint: none saved yet"
    ):
        step(model)


def test_a_loss_that_is_not_finite_elsewhere_stops_this_process(tmp_path, monkeypatch):
    model = build(tmp_path)
    model.opt["dist"] = True
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.add_(math.nan))
    before = copy.deepcopy(model.net_g.state_dict())
    with pytest.raises(InputError, match=r"iteration 3: .*another process"):
        step(model, 3)
    assert all(torch.equal(value, before[name]) for name, value in model.net_g.state_dict().items())


def test_validation_in_tiles(tmp_path):
    """InstanceNorm tells tiles from the whole image."""
    from basicsr_m2trans.inference import upscale_in_tiles

    torch.manual_seed(0)
    model = build_model(options(tmp_path) | {"val": {"tile": 16}})
    lq = torch.rand(1, 3, 20, 40)
    model.feed_data({"lq": lq})
    model.test()
    torch.testing.assert_close(
        model.output, upscale_in_tiles(model.net_g, lq, 2, tile=16, overlap=16), atol=0, rtol=0
    )
    with torch.no_grad():
        assert (model.output - model.net_g(lq)).abs().max() > 1e-3


def test_averaged_network_has_the_batch_norm_statistics(tmp_path, device):
    network = {"type": "ELAN", "upscale": 2, "num_feat": 30, "num_block": 2}
    model = build(tmp_path, network, device, semantic_opt=None, ema_decay=0.9)
    model.feed_data(batch())
    model.optimize_parameters(1)
    average, current = dict(model.net_g_ema.named_buffers()), dict(model.net_g.named_buffers())
    means = [name for name in current if name.endswith("running_mean")]
    assert means
    assert all(current[name].abs().sum() > 0 for name in means)
    for name, buffer in current.items():
        assert torch.equal(average[name], buffer), name
