"""Attention of windows over their halo, the inner part of `folded_attention.py`, by device.

Queries have d channels that meet a key's own and further ones that meet its row and column; values
are the keys without these. A CPU wants few windows at a time, so that their scores stay in its
cache, and one pass for keys and values. A GPU wants one kernel that never writes the scores,
PyTorch's `scaled_dot_product_attention`. Both compute the same.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Windows whose scores (64 x 100 each) a CPU computes at once, to fit a core's cache.
WINDOWS_AT_ONCE = 144
# PyTorch's fused kernels read 16 bytes at a time: 8 numbers of half precision.
FUSED_ALIGNMENT = 8


def window_attention(query: Tensor, windows: Tensor, halo: int) -> Tensor:
    """softmax(query key') value of each window; chooses the implementation for its device.

    Keys and values outside the map are zero and take part in the softmax.

    Args:
        query: (N, rows * columns, size^2, `key_width`), scaled; behind the d channels those of the
            keys' rows and columns, then zeros.
        windows: (N, rows, columns, size, size, d), all pixels of the map, of the type of `query`.
        halo: width of the border of additional keys in pixels.

    Returns:
        (N, rows * columns, size^2, d).
    """
    return ATTENTIONS["explicit" if windows.is_cpu else "fused"](query, windows, halo)


def key_width(dim: int, key_size: int, device: torch.device) -> int:
    """Channels of queries and keys for d channels and (key size)^2 keys on a device."""
    width = dim + 2 * key_size
    return width if device.type == "cpu" else -(-width // FUSED_ALIGNMENT) * FUSED_ALIGNMENT


def explicit_attention(query: Tensor, windows: Tensor, halo: int) -> Tensor:
    """Two matrix products around a softmax, some windows at a time; see `window_attention`."""
    return _ExplicitAttention.apply(query, windows, halo)


def fused_attention(query: Tensor, windows: Tensor, halo: int) -> Tensor:
    """PyTorch's fused kernels; see `window_attention`."""
    n, rows, columns, size, _, dim = windows.shape
    keys = _Keys.apply(windows, halo, query.shape[-1]).view(n * rows, columns, -1, query.shape[-1])
    # Columns in the place of heads: a GPU takes at most 65,535 items a batch, fewer than windows.
    query = query.view(n * rows, columns, size * size, -1)
    return F.scaled_dot_product_attention(query, keys, keys[..., :dim], scale=1).view(
        n, rows * columns, -1, dim
    )


ATTENTIONS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "explicit": explicit_attention,
    "fused": fused_attention,
}


class _ExplicitAttention(torch.autograd.Function):
    """Its gradient, unlike autograd's, takes keys and values in one pass."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, windows: Tensor, halo: int) -> Tensor:
        size, _, dim = windows.shape[-3:]
        keys = _keys(windows, halo, query.shape[-1]).view(
            -1, (size + 2 * halo) ** 2, query.shape[-1]
        )
        probabilities, outputs = [], []
        # No autocast: softmax would go to float32 and back, which takes longer than both products.
        with torch.autocast(query.device.type, enabled=False):
            at_once = WINDOWS_AT_ONCE if query.is_cpu else len(keys)
            for q, k in zip(*(t.split(at_once) for t in (query.flatten(0, 1), keys)), strict=True):
                probabilities.append(torch.bmm(q, k.transpose(1, 2)).softmax(-1))
                outputs.append(torch.bmm(probabilities[-1], k[..., :dim]))
        ctx.save_for_backward(query, keys, *probabilities)
        ctx.halo, ctx.windows_shape = halo, windows.shape
        return _join(outputs).view(*query.shape[:-1], dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        query, keys, *probabilities = ctx.saved_tensors
        *_, size, _, dim = ctx.windows_shape
        query_parts, key_parts = [], []
        at_once = len(probabilities[0])
        chunks = (
            t.split(at_once)
            for t in (query.flatten(0, 1), keys, grad.reshape(-1, size * size, dim))
        )
        for q, k, g, p in zip(*chunks, probabilities, strict=True):
            grad_p = torch.bmm(g, k[..., :dim].transpose(1, 2))
            grad_scores = torch.ops.aten._softmax_backward_data(grad_p, p, -1, p.dtype)
            query_parts.append(torch.bmm(grad_scores, k))
            # The values' part, then the keys'.
            key_parts.append(
                torch.bmm(p.transpose(1, 2), g).baddbmm_(grad_scores.transpose(1, 2), q[..., :dim])
            )
        return (
            _join(query_parts).view_as(query),
            _grad_of_windows(_join(key_parts), ctx.windows_shape, ctx.halo),
            None,
        )


class _Keys(torch.autograd.Function):
    """`_keys` and its gradient."""

    @staticmethod
    def forward(ctx: Any, windows: Tensor, halo: int, width: int) -> Tensor:
        ctx.halo, ctx.windows_shape = halo, windows.shape
        return _keys(windows, halo, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        grad = grad[..., : ctx.windows_shape[-1]]
        return _grad_of_windows(grad, ctx.windows_shape, ctx.halo), None, None


def _join(parts: list[Tensor]) -> Tensor:
    """`torch.cat(parts)` that does not copy a single part."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _keys(windows: Tensor, halo: int, width: int) -> Tensor:
    """(N, rows, columns, 8, 8, d) -> (N, rows, columns, 10, 10, width), zero outside the map.

    Behind the d channels stand the one-hot places in the window, then zeros.
    """
    *count, size, _, dim = windows.shape
    key_size = size + 2 * halo
    keys = windows.new_zeros(*count, key_size, key_size, width)
    for place, source in _neighbour_parts(size, halo):
        keys[(*place, slice(dim))] = windows[source]
    code = torch.eye(key_size, device=keys.device)
    keys[..., dim : dim + key_size] = code[:, None]
    keys[..., dim + key_size : dim + 2 * key_size] = code
    return keys


def _grad_of_windows(grad_keys: Tensor, shape: torch.Size, halo: int) -> Tensor:
    """Gradient of windows of `shape` from that of their keys without codes, (..., d).

    Autograd would scatter element by element; here each of nine neighbours adds a slice.
    """
    *count, size, _, dim = shape
    grad_keys = grad_keys.view(*count, size + 2 * halo, size + 2 * halo, dim)
    grad_windows = grad_keys.new_zeros(shape)
    for place, source in _neighbour_parts(size, halo):
        grad_windows[source] += grad_keys[place]
    return grad_windows


def _neighbour_parts(size: int, halo: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """A window's nine parts with its halo: places in (N, rows, columns, y, x), their sources.

    A window's own pixels come from itself, the halo from the windows around it; outside the map
    there is none.
    """
    everything = slice(None)
    # Of one direction: target windows, target pixels, source windows, source pixels.
    before = (slice(1, None), slice(0, halo), slice(None, -1), slice(size - halo, size))
    own = (everything, slice(halo, halo + size), everything, everything)
    after = (slice(None, -1), slice(halo + size, None), slice(1, None), slice(0, halo))
    for row, column in itertools.product((before, own, after), repeat=2):
        yield (
            (everything, row[0], column[0], row[1], column[1]),
            (everything, row[2], column[2], row[3], column[3]),
        )
