"""The fast path of one branch: wavelets folded into the projections, attention without bias or mask.

The readable definition is `CFTM._attend` with `HaloAttention`; this computes the same from the same parameters, by
two identities. First, the position enters through the keys alone, so that halo attention is plain scaled dot-product
attention. Second, a branch has one head and the Haar transform T is orthonormal, so attention between j transforms and
their inverses equals attention on blocks of 2^j x 2^j pixels, taken as channels, with the weights W_q T, W_k T and
T' W_v T. Maps are channels-last in memory, so that a pixel's channels move as one run.
"""

import functools
import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from basicsr_m2trans.archs.halo_attention import HaloAttention
from basicsr_m2trans.archs.wavelet import haar_dwt


def folded_attention(x: Tensor, attention: HaloAttention, levels: int) -> Tensor:
    """Attention of one branch between `levels` Haar transforms and their inverses (Eq. 6-8).

    Args:
        x: (N, C, H, W) with C = attention.dim / 4^levels, best channels-last in memory; H and W are multiples of
            window_size * 2^levels.
        attention: the branch's parameters.
        levels: number j of Haar transforms, 0 for none.

    Returns:
        (N, C, H, W), channels-last in memory.
    """
    n, channels, height, width = x.shape
    block, size, dim = 2**levels, attention.window_size, attention.dim
    rows, columns = height // (size * block), width // (size * block)
    # Pixels (row, y, dy, column, x, dx) -> tokens y, x of the window at row, column, with channels dy, dx, c.
    tokens = x.permute(0, 2, 3, 1).reshape(n, rows, size, block, columns, size, block, channels)
    tokens = tokens.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(n, rows * columns, size * size, dim)
    weight = _folded_weight(attention.qkv_conv.weight.flatten(1), levels)
    qkv = pointwise(tokens, weight).view(n, rows, columns, size, size, 3 * dim)
    query, key_value = qkv.split((dim, 2 * dim), dim=-1)
    key, value = _HaloWindows.apply(key_value, attention.position().to(qkv.dtype))
    out = F.scaled_dot_product_attention(*(t.reshape(-1, 1, t.shape[3] * t.shape[4], dim) for t in (query, key, value)))
    out = out.reshape(n, rows, columns, size, size, block, block, channels).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return out.reshape(n, height, width, channels).permute(0, 3, 1, 2)


def instance_norm(x: Tensor) -> Tensor:
    """`torch.nn.InstanceNorm2d` without parameters that leaves a channels-last map (N, C, H, W) channels-last.

    Batch normalisation of one image is instance normalisation. Group normalisation would be too, but loses two
    digits on the CPU, where it subtracts the squared mean from the mean square.
    """
    images = [F.batch_norm(image, None, None, training=True) for image in x.split(1)]
    return images[0] if len(images) == 1 else torch.cat(images)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` of (N, A, B, C) as a 1x1 convolution, which is faster on CPUs (oneDNN, not BLAS)."""
    return F.conv2d(x.permute(0, 3, 1, 2), weight[..., None, None], bias).permute(0, 2, 3, 1)


def _folded_weight(weight: Tensor, levels: int) -> Tensor:
    """W_q T, W_k T and T' W_v T of a projection (3d, d), one below the other."""
    if levels == 0:
        return weight
    haar = _haar_matrix(levels).to(weight)
    bands = len(haar)
    channels = weight.shape[1] // bands
    # T mixes the bands of each channel alike: T = haar (x) identity.
    weight = torch.einsum("qbckd,ks->qbcsd", weight.view(3, bands, channels, bands, channels), haar)
    value = torch.einsum("bcsd,bt->tcsd", weight[2], haar)
    return torch.cat((weight[:2], value[None])).view(3 * bands * channels, bands * channels)


@functools.cache
def _haar_matrix(levels: int) -> Tensor:
    """(4^j, 4^j): the sub-bands that j Haar transforms make of each pixel of a block of 2^j x 2^j."""
    # Kept for all later calls, so whatever mode or default device the first one runs under must not stick to it.
    with torch.inference_mode(False):
        pixels = torch.eye(4**levels, device="cpu").view(4**levels, 1, 2**levels, 2**levels)
        for _ in range(levels):
            pixels = haar_dwt(pixels)
        return pixels.view(4**levels, 4**levels).T


class _HaloWindows(torch.autograd.Function):
    """Windows of keys and values with their halo, the position added to the keys, in one pass over memory.

    Autograd's own backward of overlapping windows scatters element by element; here each of the nine neighbours'
    parts is added as a slice.
    """

    @staticmethod
    def forward(ctx, key_value: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """(N, rows, columns, 8, 8, 2d) and (10, 10, d) -> keys and values, (N, rows, columns, 10, 10, d) each."""
        key_size, dim = position.shape[1:]
        size = key_value.shape[4]
        ctx.size = size
        ctx.parts = list(_neighbour_parts(size, (key_size - size) // 2))
        key = position.expand(*key_value.shape[:3], key_size, key_size, dim).contiguous()
        value = torch.zeros_like(key)
        for place, source in ctx.parts:
            part = key_value[source]
            torch.add(part[..., :dim], position[place[-2:]], out=key[place])
            value[place] = part[..., dim:]
        return key, value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_key: Tensor, grad_value: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of both inputs."""
        *windows, _, _, dim = grad_key.shape
        size = ctx.size
        grad = grad_key.new_zeros((*windows, size, size, 2 * dim))
        for place, source in ctx.parts:
            part = grad[source]
            part[..., :dim] += grad_key[place]
            part[..., dim:] += grad_value[place]
        return grad, grad_key.sum(dim=(0, 1, 2))


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
