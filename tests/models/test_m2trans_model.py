"""The training step, on a tiny network and random images."""

import copy
import math

import pytest
import torch

import basicsr_m2trans
from basicsr_m2trans.errors import InputError

basicsr_m2trans.register()

from basicsr.models import build_model  # noqa: E402

SEMANTIC = {
    "type": "ImageTextSemanticLoss",
    "encoder": "SeededCLIPEncoder",
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


def build(tmp_path, **train):
    torch.manual_seed(0)
    return build_model(options(tmp_path, **train))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 8, 8, generator=generator)
    gt = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1)
    lq = torch.nn.functional.interpolate(gt, size=16, mode="area")
    return {"lq": lq, "gt": gt, "text": ["a sharp ultrasound image", "a clean image of an ultrasound"]}


def step(model, iteration=1, data=None):
    model.feed_data(data or batch())
    model.optimize_parameters(iteration)
    return model.get_current_log()


def test_total_gradient_is_the_sum_of_both_terms(tmp_path):
    """Eq. 20: what the optimizer gets is the gradient of L_fid plus that of beta L_sem, which is not zero."""
    model, reference = build(tmp_path), build(tmp_path)
    step(model)
    reference._seed_step(1)
    data = batch()
    output = reference.net_g(data["lq"])
    fidelity = (output - data["gt"]).abs().mean()
    semantic = reference.cri_semantic(output, data["gt"], data["text"])
    parameters = list(reference.net_g.parameters())
    of_fidelity = torch.autograd.grad(fidelity, parameters, retain_graph=True)
    of_semantic = torch.autograd.grad(semantic, parameters)
    assert sum(g.abs().sum() for g in of_semantic) > 1e-4
    for parameter, first, second in zip(model.net_g.parameters(), of_fidelity, of_semantic, strict=True):
        torch.testing.assert_close(parameter.grad, first + second)
    log = model.get_current_log()
    assert log["l_pix"] == pytest.approx(fidelity.item())
    assert log["l_sem"] == pytest.approx(semantic.item())


@pytest.mark.parametrize(("weight", "term"), [(1.0, "l_pix"), (0.0, "l_sem")])
def test_training_learns(weight, term, tmp_path):
    """The fidelity term falls beside the semantic one, and the semantic one also without the fidelity term's help."""
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
    assert sum(len(group["params"]) for group in model.optimizer_g.param_groups) == len(list(model.net_g.parameters()))
    model.save(0, 1)
    saved = torch.load(tmp_path / "net_g_1.pth", weights_only=True)
    assert saved.keys() == {"params", "params_ema"}
    assert saved["params"].keys() == saved["params_ema"].keys() == network
    assert not any(parameter.requires_grad for parameter in model.cri_semantic.parameters())


def test_ema_follows_the_weights(tmp_path):
    model = build(tmp_path, ema_decay=0.9)
    before = copy.deepcopy(model.net_g_ema.state_dict())
    step(model)
    for name, value in model.net_g.state_dict().items():
        torch.testing.assert_close(model.net_g_ema.state_dict()[name], 0.9 * before[name] + 0.1 * value)


def test_ranks_draw_different_crops(tmp_path):
    first, second = build(tmp_path), build(tmp_path)
    second.opt["rank"] = 1
    assert step(first)["l_sem"] != step(second)["l_sem"]


def test_sum_over_the_images_of_all_processes(tmp_path):
    """DDP averages gradients, Eq. 14 sums: each process scales its sum by their number."""
    alone, one_of_two = build(tmp_path), build(tmp_path)
    expected = 2 * step(alone)["l_sem"]
    one_of_two.opt |= {"dist": True, "world_size": 2}
    one_of_two.reduce_loss_dict = lambda losses: {name: value.item() for name, value in losses.items()}
    assert step(one_of_two)["l_sem"] == pytest.approx(expected)


def test_a_step_depends_on_seed_and_iteration_not_on_history(tmp_path):
    """The crops of the semantic loss are the same whatever was drawn before; another iteration has others."""
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
