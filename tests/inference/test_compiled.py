"""Compiled networks, by PyTorch's fastest backend to compile; one test by the real one."""

import functools
import os

import pytest
import torch

from basicsr_m2trans import Upscaler
from basicsr_m2trans.apps.files.batch import run_jobs
from basicsr_m2trans.apps.files.jobs import plan_jobs
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference import compiled
from basicsr_m2trans.inference.compiled import CompiledNetwork
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture
def net():
    torch.manual_seed(0)
    return M2Trans(2, num_feat=8, num_block=1).eval()


@pytest.fixture
def sizes(monkeypatch):
    """Sizes of the images that were compiled for."""
    torch._dynamo.reset()
    compiled_for = []

    def backend(graph, inputs):
        images = next(x for x in inputs if x.dim() == 4 and not isinstance(x, torch.nn.Parameter))
        compiled_for.append(tuple(images.shape[-2:]))
        return graph.forward

    stock = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda net, dynamic, **_: stock(net, backend=backend, dynamic=dynamic)
    )
    return compiled_for


def test_the_first_sizes_are_compiled_once_and_others_are_computed_without(net, sizes, monkeypatch):
    monkeypatch.setattr(compiled, "MOST_SIZES", 2)
    network = CompiledNetwork(net, torch.device("cpu"))
    with torch.no_grad():
        for height in (9, 12, 9, 14, 12, 14):
            images = torch.rand(1, 3, height, 10)
            torch.testing.assert_close(network(images), net(images), atol=1e-5, rtol=0)
    assert sizes == [(9, 10), (12, 10)]


def test_batches_are_computed_as_the_largest_so_far(net, sizes):
    """So a single image before a loop costs no more than one further compilation."""
    network = CompiledNetwork(net, torch.device("cpu"))
    with torch.no_grad():
        for count in (1, 4, 4, 3, 1):
            images = torch.rand(count, 3, 9, 10)
            torch.testing.assert_close(network(images), net(images), atol=1e-5, rtol=0)
    assert sizes == [(9, 10)] * 2


def test_memory_that_ends_during_compilation_is_recognised(net, monkeypatch):
    def backend(_graph, _inputs):
        raise torch.OutOfMemoryError("too large")

    torch._dynamo.reset()
    stock = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **_: stock(net, backend=backend))
    with torch.no_grad(), pytest.raises(torch.OutOfMemoryError, match="too large"):
        CompiledNetwork(net, torch.device("cpu"))(torch.rand(1, 3, 9, 10))


@torch.no_grad()
def test_another_layout_in_memory_is_not_compiled_anew(net, sizes):
    network = CompiledNetwork(net, torch.device("cpu"))
    for layout in (
        torch.rand(1, 1, 9, 10).expand(-1, 3, -1, -1),
        torch.rand(1, 3, 9, 10),
        torch.rand(1, 9, 10, 3).permute(0, 3, 1, 2),
    ):
        torch.testing.assert_close(network(layout), net(layout), atol=1e-5, rtol=0)
    assert sizes == [(9, 10)]


@torch.no_grad()
def test_grey_images_are_compiled_once_whatever_the_layout_of_their_one_channel(sizes):
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 1), torch.nn.PixelShuffle(2))
    network = CompiledNetwork(net, torch.device("cpu"))
    for layout in (torch.rand(2, 1, 9, 10), torch.rand(2, 9, 10, 1).permute(0, 3, 1, 2)):
        torch.testing.assert_close(network(layout), net(layout))
    assert sizes == [(9, 10)]


def test_a_loop_is_compiled_once_though_its_last_batch_is_smaller(
    net, sizes, make_dicom, noise, tmp_path
):
    upscaler = Upscaler(net, 2, device="cpu", compile=True)
    source = make_dicom(noise(11, 20, 24))
    (result,) = run_jobs(upscaler, plan_jobs([str(source)], tmp_path / "out"), batch=8)
    assert (result.status, result.frames) == ("done", 11)
    assert sizes == [(20, 24)]


def test_an_upscaler_compiles_the_whole_network(net, sizes, noise):
    image = noise(20, 33)
    upscaler = Upscaler(net, 2, device="cpu", compile=True)
    for _ in range(2):
        assert abs(upscaler(image).astype(int) - Upscaler(net, 2, device="cpu")(image)).max() <= 1
    assert sizes == [(20, 33)]


def assert_inductor_agrees(net, device, precision, tolerance):
    torch._dynamo.reset()
    upscale = functools.partial(Upscaler, net, 2, device=device, precision=precision)
    compiled_upscaler, plain = upscale(compile=True), upscale()
    for seed in range(3):  # a CUDA graph is recorded in the second call and replayed in the third
        images = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(compiled_upscaler(images), plain(images), atol=tolerance, rtol=0)


def test_inductor_on_the_cpu():
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 12, 3, padding=1)
    assert_inductor_agrees(
        torch.nn.Sequential(convolution, torch.nn.PixelShuffle(2)), "cpu", "float32", 1e-5
    )


@pytest.mark.gpu
def test_inductor_with_cuda_graphs(net):
    assert_inductor_agrees(net, "cuda", "bfloat16", 2e-2)


@pytest.mark.parametrize(
    ("device", "variable", "message"),
    [
        ("cpu", "CXX", "compile needs the compiler no-such-compiler, which is not here"),
        ("cuda", "CC", "compile needs the compiler no-such-compiler, which is not here"),
        ("cuda", None, "compile needs the package triton"),
    ],
)
def test_what_is_missing_is_named_before_any_work(net, monkeypatch, device, variable, message):
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda _: variable)
    monkeypatch.setitem(os.environ, variable or "CC", "no-such-compiler")
    with pytest.raises(InputError, match=message):
        CompiledNetwork(net, torch.device(device))
