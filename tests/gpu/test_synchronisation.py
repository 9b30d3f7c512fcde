"""Where the program waits for the GPU, the GPU has nothing to do until the next
kernel is started.
"""

import contextlib
import warnings

import pytest
import torch

from basicsr_m2trans.archs import M2Trans

pytestmark = pytest.mark.gpu

LOCAL = {
    "norm": "none",
    "bias": False,
    "num_res_block": 2,
    "reconstruction": "conv",
    "global_skip": True,
}


@contextlib.contextmanager
def synchronisation(mode):
    """PyTorch's reaction to operations that wait: 'warn' or 'error'."""
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "settings", [{}, {"fast": False}, LOCAL], ids=["fast", "literally", "local"]
)
def test_forward_and_backward_never_wait(settings, precision):
    net = M2Trans(2, num_feat=16, num_block=2, **settings).cuda()
    x, weight = torch.rand(2, 3, 35, 64, device="cuda"), torch.rand(2, 3, 70, 128, device="cuda")

    def run():
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            out = net(x)
        out.float().backward(weight)

    run()  # libraries are loaded at their first use
    torch.cuda.synchronize()
    with synchronisation("error"):
        run()


@pytest.mark.parametrize(
    "options", [{}, {"amp": "bf16", "accumulate": 2, "checkpointing": True}], ids=str
)
def test_a_step_waits_once(build, batch, options):
    """For the values that the check of finite losses and the log need."""
    model = build(**options)
    for iteration in (1, 2):  # captions are encoded once
        model.feed_data(batch)
        model.optimize_parameters(iteration)
    model.feed_data(batch)
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught, synchronisation("warn"):
        warnings.simplefilter("always")
        model.optimize_parameters(3)
    waits = [
        f"{warning.filename}:{warning.lineno}"
        for warning in caught
        if "called a sync" in str(warning.message)
    ]
    assert len(waits) == 1, waits


def test_waiting_is_noticed():
    """Otherwise the other tests would say nothing."""
    value = torch.ones(1, device="cuda")
    with synchronisation("error"), pytest.raises(RuntimeError, match="called a sync"):
        value.item()
