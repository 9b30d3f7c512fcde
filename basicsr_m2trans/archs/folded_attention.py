"""The fast path of a branch: wavelets and positions folded into projections, one read of x.

The readable definition is `CFTM.attend` with `HaloAttention`; this computes the same from the same
parameters, by three identities. First, a branch has one head and the Haar transform T is
orthonormal, so attention between j transforms and their inverses equals attention on blocks of 2^j
x 2^j pixels, taken as channels, with the weights W_q T, W_k T and T' W_v T. Second, the score of
query i and key j is x_i' W_q' W_k x_j, so that W_k' W_q can be applied to the queries alone, and
W_v to the result: keys and values are then the same windows of x itself. Third, the positions p add
x_i' W_q' p_j: with W_q' p as further channels of the queries, and the row and the column of each
key as further one-hot channels of the keys, attention needs no bias. Maps are channels-last in
memory, so that a pixel's channels move as one run.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from basicsr_m2trans.archs.halo_attention import HaloAttention
from basicsr_m2trans.archs.window_attention import key_width, window_attention


def folded_attention(x: Tensor, attention: HaloAttention, haar: Tensor) -> Tensor:
    """x plus the attention of one branch between j Haar transforms and their inverses (Eq. 6-8).

    Args:
        x: (N, C, H, W) with C = attention.dim / 4^j, best channels-last in memory; H and W are
            multiples of window_size * 2^j.
        attention: the branch's parameters.
        haar: (4^j, 4^j), `haar_matrix` of the levels j = 0 (no transform) to 2.

    Returns:
        (N, C, H, W), channels-last in memory.
    """
    n, channels, height, width = x.shape
    block, size = math.isqrt(len(haar)), attention.window_size
    rows, columns = height // (size * block), width // (size * block)
    # (row, y, dy, column, x, dx, c) -> windows (row, column) of tokens (y, x) of (dy, dx, c)
    tokens = x.permute(0, 2, 3, 1).reshape(n, rows, size, block, columns, size, block, channels)
    tokens = tokens.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(
        n, rows * columns, size * size, attention.dim
    )
    query_weight, value_weight = folded_weights(attention, haar)
    missing = key_width(attention.dim, size + 2 * attention.halo_size, x.device) - len(query_weight)
    query = pointwise(tokens, F.pad(query_weight, (0, 0, 0, missing)) if missing else query_weight)
    windows = tokens.to(query.dtype).view(n, rows, columns, size, size, attention.dim)
    out = pointwise(window_attention(query, windows, attention.halo_size), value_weight)
    out += tokens
    # (n, row, column, y, x, dy, dx, c) -> (n, row, y, dy, column, x, dx, c)
    out = out.view(n, rows, columns, size, size, block, block, channels).permute(
        0, 1, 3, 5, 2, 4, 6, 7
    )
    return out.reshape(n, height, width, channels).permute(0, 3, 1, 2)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of (N, A, B, C), on CPUs as a 1x1 convolution, which oneDNN computes faster."""
    if not x.is_cpu:
        return F.linear(x, weight, bias)
    return F.conv2d(x.permute(0, 3, 1, 2), weight[..., None, None], bias).permute(0, 2, 3, 1)


def folded_weights(attention: HaloAttention, haar: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the queries, (d + 2 * key size, d), scaled by d^-0.5, and of the values, (d, d).

    Both are for blocks of pixels; `attention` and `haar` as in `folded_attention`.
    """
    dim = attention.dim
    query, key, value = attention.qkv_conv.weight.view(3, dim, dim)
    # Half of a query's channels meets the positions of rows, the other half those of columns.
    rows, columns = attention.rel_h.view(-1, dim // 2), attention.rel_w.view(-1, dim // 2)
    position = torch.cat((rows @ query[: dim // 2], columns @ query[dim // 2 :]))
    query = key.T @ query
    if len(haar) > 1:
        # T mixes the bands of each channel alike: T = haar (x) identity. All weights at once,
        # because a GPU takes longer to start such small products than to compute them.
        query, position, value = _blocks_from_bands(
            torch.cat((query, position, value)), haar
        ).split([dim, len(position), dim])
        query, value = _blocks_from_bands(torch.cat((query.T, value.T)), haar).view(2, dim, dim).mT
    return torch.cat((query, position)) * dim**-0.5, value


def _blocks_from_bands(weight: Tensor, haar: Tensor) -> Tensor:
    """weight T, for a weight (K, d) that takes sub-bands: the same for blocks of pixels."""
    return torch.einsum("kbc,bs->ksc", weight.unflatten(1, (len(haar), -1)), haar).flatten(1)
