import pytest
import torch

import basicsr_m2trans

basicsr_m2trans.register()  # Makes torchvision importable, which spandrel needs.

from basicsr_m2trans.archs.hat_arch import HAT, SpandrelHAT  # noqa: E402

TINY = {
    "upscale": 2,
    "embed_dim": 12,
    "depths": [2],
    "num_heads": [2],
    "window_size": 8,
    "mlp_ratio": 2,
}


def twins():
    torch.manual_seed(0)
    ours, theirs = (
        HAT(**TINY, squeeze_factor=4).eval(),
        SpandrelHAT(**TINY, squeeze_factor=4).eval(),
    )
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("size", [(16, 24), (13, 21)])
def test_equals_spandrel(size):
    ours, theirs = twins()
    x = torch.rand(1, 3, *size)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


def test_images_smaller_than_a_window():
    ours, _ = twins()
    x = torch.rand(1, 3, 3, 8)
    reflected = x[:, :, [0, 1, 2, 1, 0, 1, 2, 1]]
    with torch.no_grad():
        torch.testing.assert_close(ours(x), ours(reflected)[:, :, :6])
