"""The memory of a GPU, as PyTorch's allocator counts it."""

import contextlib

import pytest
import torch

from basicsr_m2trans import Upscaler
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference import upscale_image
from basicsr_m2trans.inference.bounded_memory import MEBIBYTE
from basicsr_m2trans.utils.errors import InputError

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("float32")]

HYBRID = {"norm": "none", "num_res_block": 24, "reconstruction": "conv"}


@pytest.fixture
def images():
    return torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0)).cuda()


def network(**settings):
    torch.manual_seed(0)
    return M2Trans(2, num_block=1, **settings).eval().cuda()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("max_memory", "settings"),
    [(300, {}), (480, {}), (480, {"fast": False}), (480, HYBRID)],
    ids=str,
)
def test_peak_stays_below_the_setting(images, max_memory, settings, precision):
    net = network(**settings)
    upscale_image(net, images[..., :64, :64])  # work space of the libraries
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.autocast("cuda", precision, enabled=precision != torch.float32):
        upscale_image(net, images, max_memory)
    assert (torch.cuda.max_memory_allocated() - before) / MEBIBYTE < max_memory


@contextlib.contextmanager
def memory_left(mebibytes):
    """A GPU that has only so much memory left."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties().total_memory
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved() + mebibytes * MEBIBYTE) / total
    )
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_an_image_that_does_not_fit_is_computed_in_strips(images):
    """Its features at high resolution alone take 256 MiB, and are there more than once."""
    upscaler = Upscaler(network(), 2, device="cuda", max_memory=400)
    expected = upscaler(images)
    with memory_left(500), pytest.warns(UserWarning, match="512x512 pixels do not fit .*in strips"):
        result = upscaler(images)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_validation_is_computed_again_in_strips_too(build, images, caplog):
    model = build()
    model.net_g_ema = network()
    results = []
    for limit in (contextlib.nullcontext(), memory_left(500)):
        model.feed_data({"lq": images})
        with limit:
            model.test()
        results.append(model.output)
    assert caplog.text.count("512x512 pixels do not fit") == 1
    torch.testing.assert_close(*results, atol=1e-5, rtol=0)


def test_a_training_step_that_does_not_fit_names_the_batch(build, images):
    model = build()
    large = {
        "lq": images.repeat(2, 1, 1, 1),
        "gt": images.repeat(2, 1, 2, 2),
        "text": ["an image"] * 2,
    }
    model.feed_data(large)
    with (
        memory_left(100),
        pytest.raises(InputError, match=r"batch of 2 with HR patches of 1024x1024 \(CUDA out of"),
    ):
        model.optimize_parameters(1)
