"""The fast path of one branch: wavelets and positions folded into the projections, windows read once.

The readable definition is `CFTM.attend` with `HaloAttention`; this computes the same from the same parameters, by
three identities. First, a branch has one head and the Haar transform T is orthonormal, so attention between j
transforms and their inverses equals attention on blocks of 2^j x 2^j pixels, taken as channels, with the weights
W_q T, W_k T and T' W_v T. Second, the score of query i and key j is x_i' W_q' W_k x_j, so that W_k' W_q can be applied
to the queries alone, and W_v to the result: keys and values are then the same windows of x itself. Third, the
positions p add x_i' W_q' p_j: with W_q' p as further channels of the queries, and the row and the column of each key
as further one-hot channels of the keys, attention needs no bias. Maps are channels-last in memory, so that a pixel's
channels move as one run.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from basicsr_m2trans.archs.halo_attention import HaloAttention
from basicsr_m2trans.archs.wavelet import haar_dwt

# Windows whose scores a CPU computes at once: 64 x 100 scores each, together what fits a core's cache.
WINDOWS_AT_ONCE = 144


def folded_attention(x: Tensor, attention: HaloAttention, levels: int) -> Tensor:
    """x plus the attention of one branch between `levels` Haar transforms and their inverses (Eq. 6-8).

    Args:
        x: (N, C, H, W) with C = attention.dim / 4^levels, best channels-last in memory; H and W are multiples of
            window_size * 2^levels.
        attention: the branch's parameters.
        levels: number j of Haar transforms, 0 (none) to 2.

    Returns:
        (N, C, H, W), channels-last in memory.
    """
    n, channels, height, width = x.shape
    block, size = 2**levels, attention.window_size
    rows, columns = height // (size * block), width // (size * block)
    # Pixels (row, y, dy, column, x, dx) -> tokens y, x of the window at row, column, with channels dy, dx, c.
    tokens = x.permute(0, 2, 3, 1).reshape(n, rows, size, block, columns, size, block, channels)
    tokens = tokens.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(n, rows * columns, size * size, attention.dim)
    query_weight, value_weight = folded_weights(attention, levels)
    query = pointwise(tokens, query_weight)
    windows = tokens.to(query.dtype).view(n, rows, columns, size, size, attention.dim)
    out = pointwise(_WindowAttention.apply(query, windows, attention.halo_size), value_weight)
    out += tokens
    out = out.view(n, rows, columns, size, size, block, block, channels).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return out.reshape(n, height, width, channels).permute(0, 3, 1, 2)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` of (N, A, B, C) as a 1x1 convolution, which is faster on CPUs (oneDNN, not BLAS)."""
    return F.conv2d(x.permute(0, 3, 1, 2), weight[..., None, None], bias).permute(0, 2, 3, 1)


def _join(parts: list[Tensor]) -> Tensor:
    """`torch.cat(parts)` that does not copy a single part."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def folded_weights(attention: HaloAttention, levels: int) -> tuple[Tensor, Tensor]:
    """Weights of the queries, (d + 2 * key size, d), scaled by d^-0.5, and of the values, (d, d), for blocks."""
    dim = attention.dim
    query, key, value = attention.qkv_conv.weight.view(3, dim, dim)
    # The first half of a query's channels meets the positions of rows, the second half those of columns.
    rows, columns = attention.rel_h.view(-1, dim // 2), attention.rel_w.view(-1, dim // 2)
    position = torch.cat((rows @ query[: dim // 2], columns @ query[dim // 2 :]))
    query = key.T @ query
    if levels:
        haar = torch.tensor(_HAAR_MATRICES[levels], dtype=query.dtype, device=query.device)
        # T mixes the bands of each channel alike: T = haar (x) identity.
        query, position, value = (_blocks_from_bands(weight, haar) for weight in (query, position, value))
        query, value = (_blocks_from_bands(weight.T, haar).T for weight in (query, value))
    return torch.cat((query, position)) * dim**-0.5, value


def _blocks_from_bands(weight: Tensor, haar: Tensor) -> Tensor:
    """weight T, for a weight (K, d) that takes sub-bands: the same for blocks of pixels."""
    return torch.einsum("kbc,bs->ksc", weight.unflatten(1, (len(haar), -1)), haar).flatten(1)


def _haar_matrix(levels: int) -> list[list[float]]:
    """(4^j, 4^j): the sub-bands that j Haar transforms make of each pixel of a block of 2^j x 2^j."""
    pixels = torch.eye(4**levels, device="cpu").view(4**levels, 1, 2**levels, 2**levels)
    for _ in range(levels):
        pixels = haar_dwt(pixels)
    return pixels.view(4**levels, 4**levels).T.tolist()


# Numbers, not tensors: a kept tensor would be one of whatever mode (inference, fake tensors) the first call ran under.
_HAAR_MATRICES = {levels: _haar_matrix(levels) for levels in (1, 2)}


class _WindowAttention(torch.autograd.Function):
    """softmax(query key') value of each window with its halo, where the values are the keys but for their position.

    Autograd alone would scatter the gradient of overlapping windows element by element and pass over keys and values
    apart; here each of the nine neighbours' parts is added as a slice.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, windows: Tensor, halo: int) -> Tensor:
        """Queries (N, A, 64, d + 20) and windows (N, rows, columns, 8, 8, d), A = rows * columns -> (N, A, 64, d)."""
        size, _, dim = windows.shape[-3:]
        keys = _keys(windows, halo).view(-1, (size + 2 * halo) ** 2, query.shape[-1])
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
        """Gradients of queries and windows."""
        query, keys, *probabilities = ctx.saved_tensors
        *count, size, _, dim = ctx.windows_shape
        query_parts, key_parts = [], []
        at_once = len(probabilities[0])
        chunks = (t.split(at_once) for t in (query.flatten(0, 1), keys, grad.reshape(-1, size * size, dim)))
        for q, k, g, p in zip(*chunks, probabilities, strict=True):
            grad_p = torch.bmm(g, k[..., :dim].transpose(1, 2))
            grad_scores = torch.ops.aten._softmax_backward_data(grad_p, p, -1, p.dtype)
            query_parts.append(torch.bmm(grad_scores, k))
            # The values' part, then the keys'.
            key_parts.append(torch.bmm(p.transpose(1, 2), g).baddbmm_(grad_scores.transpose(1, 2), q[..., :dim]))
        key_size = size + 2 * ctx.halo
        grad_keys = _join(key_parts).view(*count, key_size, key_size, dim)
        grad_windows = grad_keys.new_zeros(ctx.windows_shape)
        for place, source in _neighbour_parts(size, ctx.halo):
            grad_windows[source] += grad_keys[place]
        return _join(query_parts).view_as(query), grad_windows, None


def _keys(windows: Tensor, halo: int) -> Tensor:
    """Windows (N, rows, columns, 8, 8, d) with their halo, zero outside the map, then row and column as one-hot codes.

    Returns:
        (N, rows, columns, 10, 10, d + 10 + 10).
    """
    *count, size, _, dim = windows.shape
    key_size = size + 2 * halo
    keys = windows.new_zeros(*count, key_size, key_size, dim + 2 * key_size)
    for place, source in _neighbour_parts(size, halo):
        keys[(*place, slice(dim))] = windows[source]
    code = torch.eye(key_size, device=keys.device)
    keys[..., dim : dim + key_size] = code[:, None]
    keys[..., dim + key_size :] = code
    return keys


def _neighbour_parts(size: int, halo: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Where each window with a halo takes its nine parts from: places in (N, rows, columns, y, x) and their sources.

    A window's own pixels come from itself, the halo from the windows around it; outside the map there is none.
    """
    everything = slice(None)
    # Of one direction: target windows, target pixels, source windows, source pixels.
    before = (slice(1, None), slice(0, halo), slice(None, -1), slice(size - halo, size))
    own = (everything, slice(halo, halo + size), everything, everything)
    after = (slice(None, -1), slice(halo + size, None), slice(1, None), slice(0, halo))
    for row, column in itertools.product((before, own, after), repeat=2):
        yield (everything, row[0], column[0], row[1], column[1]), (everything, row[2], column[2], row[3], column[3])
