import pytest
import torch

from basicsr_m2trans.archs.window_attention import (
    ATTENTIONS,
    explicit_attention,
    fused_attention,
    key_width,
    window_attention,
)


def inputs(dim=6, rows=2, columns=3, device="cpu"):
    """Queries with zeros behind the codes, as wide as for any device, and windows, in float64."""
    torch.manual_seed(0)
    width = key_width(dim, 10, torch.device("cuda"))
    query = torch.randn(2, rows * columns, 64, width, dtype=torch.float64, device=device)
    query[..., dim + 20 :] = 0
    windows = torch.randn(2, rows, columns, 8, 8, dim, dtype=torch.float64, device=device)
    return query.requires_grad_(), windows.requires_grad_()


def definition(query, windows, halo):
    """One key after the other from a padded map."""
    n, rows, columns, size, _, dim = windows.shape
    pixels = windows.permute(0, 1, 3, 2, 4, 5).reshape(n, rows * size, columns * size, dim)
    pixels = torch.nn.functional.pad(pixels, (0, 0, halo, halo, halo, halo))
    outputs = []
    for row in range(rows):
        for column in range(columns):
            keys = pixels[
                :,
                row * size : (row + 1) * size + 2 * halo,
                column * size : (column + 1) * size + 2 * halo,
            ]
            q = query[:, row * columns + column]
            scores = torch.einsum("nqd,nyxd->nqyx", q[..., :dim], keys)
            scores = (
                scores
                + q[..., dim : dim + size + 2 * halo, None]
                + q[..., None, dim + size + 2 * halo :][..., :10]
            )
            outputs.append(scores.flatten(2).softmax(-1) @ keys.flatten(1, 2))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_outputs_and_gradients_are_those_of_the_definition(name, device):
    query, windows = inputs(device=device)
    out, expected = ATTENTIONS[name](query, windows, 1), definition(query, windows, 1)
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    ours = torch.autograd.grad(out, (query, windows), weight)
    theirs = torch.autograd.grad(expected, (query, windows), weight)
    # What multiplies the zeros behind the codes has no say.
    torch.testing.assert_close(ours[0][..., :26], theirs[0][..., :26])
    torch.testing.assert_close(ours[1], theirs[1])


def test_the_device_chooses(monkeypatch):
    query, windows = inputs()
    for name in ATTENTIONS:
        monkeypatch.setitem(ATTENTIONS, name, lambda *_, name=name: name)
    assert window_attention(query, windows, 1) == "explicit"
    assert window_attention(query.to("meta"), windows.to("meta"), 1) == "fused"
    assert (key_width(16, 10, torch.device("cpu")), key_width(16, 10, torch.device("cuda"))) == (
        36,
        40,
    )


def test_half_precision_stays_close(device):
    query, windows = (tensor.detach().bfloat16() for tensor in inputs(device=device))
    expected = definition(query.double(), windows.double(), 1)
    for attention in (explicit_attention, fused_attention):
        assert (attention(query, windows, 1).double() - expected).abs().max() < 0.05


@pytest.mark.gpu
@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dim", [8, 16, 32, 64, 128, 256])
def test_fused_kernels_take_the_widths_of_the_networks(dim, dtype):
    """Of the paper's network and the searched one, forward and backward; without these kernels
    scores are written.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    query, windows = (tensor.detach() for tensor in inputs(dim))
    query = query * dim**-0.5
    weight = torch.randn(*query.shape[:-1], dim, dtype=torch.float64)

    def run(attention, *tensors):
        tensors = [tensor.requires_grad_() for tensor in tensors]
        out = attention(*tensors, 1)
        return [
            each.double().cpu()
            for each in (out, *torch.autograd.grad(out, tensors, weight.to(out)))
        ]

    expected = run(explicit_attention, query.clone(), windows.clone())
    with sdpa_kernel(
        [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
    ):
        values = run(fused_attention, query.to("cuda", dtype), windows.to("cuda", dtype))
    for value, correct in zip(values, expected, strict=True):
        assert (value - correct).norm() / correct.norm() < {torch.float32: 1e-4}.get(dtype, 3e-2)
