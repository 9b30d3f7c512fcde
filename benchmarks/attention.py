"""Implementations of the window attention at the networks' sizes, forward and backward.

One branch of each level (0, 1 and 2 Haar transforms) of the paper's network and of the searched
one, for two LR images of 192x192, in each precision. The reference is the literal `HaloAttention`
between Haar transforms; all compute the same. 'explicit' and 'fused' are those of
`basicsr_m2trans/archs/window_attention.py`, which chooses by device; the others are not part of the
package: 'projected' multiplies keys and values out, so that heads are narrow enough for every fused
kernel, and 'flex' is PyTorch's `flex_attention` with a mask for the halo (on a GPU, compiled).
"""

import functools
import math
from collections.abc import Callable, Sequence
from unittest import mock

import torch
import torch.nn.functional as F
from arguments import parse_arguments, run_script
from floors import measure_rates, precisions
from networks import NetworkRun, autocast, named
from reporting import Report
from rivals import OPTIONS, SEARCHED
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from basicsr_m2trans.apps.report.methods import network_options
from basicsr_m2trans.archs import folded_attention as folding
from basicsr_m2trans.archs.halo_attention import HaloAttention
from basicsr_m2trans.archs.m2trans_arch import NUM_BRANCHES
from basicsr_m2trans.archs.wavelet import haar_dwt, haar_idwt, haar_matrix
from basicsr_m2trans.archs.window_attention import ATTENTIONS

LEVELS = (0, 1, 2)
# flex_attention takes no narrower heads.
LEAST_FLEX_WIDTH = 16
# Up to this width PyTorch would take more queries or keys at a time on some GPUs than the 64 of a
# window, which it then refuses. Its backward in bfloat16, which it refuses likewise for heads of 64
# to 128 channels, no option changes.
FLEX_BLOCKS_WIDTH = 128
WindowAttention = Callable[[Tensor, Tensor, int], Tensor]
Branch = Callable[[Tensor, HaloAttention, Tensor], Tensor]


def literal(x: Tensor, attention: HaloAttention, haar: Tensor) -> Tensor:
    """x plus its attention between j Haar transforms and their inverses (Eq. 6-8).

    Args:
        x: (N, C, H, W); H and W are multiples of 8 * 2^j.
        attention: of 4^j * C channels.
        haar: (4^j, 4^j), the transforms as a matrix; here its size alone counts.
    """
    levels, bands = LEVELS[[1, 4, 16].index(len(haar))], x
    for _ in range(levels):
        bands = haar_dwt(bands)
    bands = attention(bands)
    for _ in range(levels):
        bands = haar_idwt(bands)
    return x + bands


def folded(x: Tensor, attention: HaloAttention, haar: Tensor, attend: WindowAttention) -> Tensor:
    """The same by `folded_attention` around an implementation of `window_attention`."""
    with mock.patch.object(folding, "window_attention", attend):
        return folding.folded_attention(x, attention, haar)


def projected(x: Tensor, attention: HaloAttention, haar: Tensor) -> Tensor:
    """The same by `scaled_dot_product_attention` on queries, keys with positions and values."""
    n, channels, height, width = x.shape
    block, size, halo, dim = (
        math.isqrt(len(haar)),
        attention.window_size,
        attention.halo_size,
        attention.dim,
    )
    rows, columns = height // (size * block), width // (size * block)
    weight = folding._blocks_from_bands(attention.qkv_conv.weight.view(3 * dim, dim), haar)
    value_weight = folding._blocks_from_bands(weight[2 * dim :].T, haar).T
    tokens = x.view(n, channels, height // block, block, width // block, block).permute(
        0, 2, 4, 3, 5, 1
    )
    query, keys = F.linear(tokens.flatten(3), torch.cat((weight[: 2 * dim], value_weight))).split(
        [dim, 2 * dim], -1
    )
    query = (
        query.reshape(n, rows, size, columns, size, dim)
        .transpose(2, 3)
        .reshape(n * rows, columns, -1, dim)
    )
    keys = (
        F.pad(keys, (0, 0, halo, halo, halo, halo))
        .unfold(1, size + 2 * halo, size)
        .unfold(2, size + 2 * halo, size)
    )
    key, value = (
        keys.permute(0, 1, 2, 4, 5, 3).reshape(n * rows, columns, -1, 2 * dim).split(dim, -1)
    )
    key = key + attention.position().flatten(0, 1).to(key.dtype)
    out = F.scaled_dot_product_attention(query, key, value).view(
        n, rows, columns, size, size, block, block, channels
    )
    return x + out.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(x.shape)


def flex(
    query: Tensor, windows: Tensor, halo: int, attend: Callable[..., Tensor] = flex_attention
) -> Tensor:
    """`window_attention` by `flex_attention`, each window against the nine around it.

    Args:
        query, windows, halo: see `window_attention`.
        attend: `flex_attention`, compiled or not.
    """
    n, rows, columns, size, _, dim = windows.shape
    key_size, area = size + 2 * halo, size * size
    # A ring of zero windows around the map, whose pixels take part in the softmax.
    keys = F.pad(windows, (0, 0, 0, 0, 0, 0, 1, 1, 1, 1)).view(n, 1, -1, dim)
    position = query[..., dim : dim + 2 * key_size].reshape(n, -1, 2, key_size)
    query = query[..., :dim].reshape(n, 1, -1, dim)
    if dim < LEAST_FLEX_WIDTH:
        query, keys = (F.pad(tensor, (0, LEAST_FLEX_WIDTH - dim)) for tensor in (query, keys))
    place, mask = neighbours(rows, columns, size, halo, query.device)

    def with_position(
        score: Tensor, batch: Tensor, _head: Tensor, query_index: Tensor, key_index: Tensor
    ) -> Tensor:
        row, column = (each.clamp(0, key_size - 1) for each in place(query_index, key_index))
        return (
            score + position[batch, query_index, 0, row] + position[batch, query_index, 1, column]
        )

    blocks = {"fwd_BLOCK_M": 64, "fwd_BLOCK_N": 32 if query.dtype == torch.float32 else 64}
    options = blocks if query.shape[-1] <= FLEX_BLOCKS_WIDTH else {}
    out = attend(
        query,
        keys,
        keys,
        score_mod=with_position,
        block_mask=mask,
        scale=1.0,
        kernel_options=options,
    )
    return out[..., :dim].reshape(n, rows * columns, area, dim)


@functools.cache
def neighbours(
    rows: int, columns: int, size: int, halo: int, device: torch.device
) -> tuple[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], BlockMask]:
    """Which keys the windows of a map meet, where the keys have a ring of windows around the map.

    Returns:
        What gives row and column of a key in the window of a query with its halo, from the places
        of both, and the mask, whose blocks are windows: True inside the halo.
    """
    area, key_size = size * size, size + 2 * halo

    def place(query_index: Tensor, key_index: Tensor) -> tuple[Tensor, Tensor]:
        window, key_window, pixel = query_index // area, key_index // area, key_index % area
        row = (key_window // (columns + 2) - window // columns - 1) * size + pixel // size + halo
        column = (key_window % (columns + 2) - window % columns - 1) * size + pixel % size + halo
        return row, column

    def inside(_batch: Tensor, _head: Tensor, query_index: Tensor, key_index: Tensor) -> Tensor:
        row, column = place(query_index, key_index)
        return (row >= 0) & (row < key_size) & (column >= 0) & (column < key_size)

    window = torch.arange(rows * columns, dtype=torch.int32, device=device)
    first = window // columns * (columns + 2) + window % columns
    steps = torch.tensor(
        [r * (columns + 2) + c for r in range(3) for c in range(3)],
        dtype=torch.int32,
        device=device,
    )
    # PyTorch wants an entry for each window of the keys; those beyond the nine are not read.
    indices = F.pad(first[:, None] + steps, (0, (rows + 2) * (columns + 2) - len(steps)))
    counts = torch.full_like(first, len(steps))
    lengths = (rows * columns * area, (rows + 2) * (columns + 2) * area)
    mask = BlockMask.from_kv_blocks(
        counts[None, None],
        indices[None, None],
        BLOCK_SIZE=area,
        mask_mod=inside,
        seq_lengths=lengths,
    )
    return place, mask


def implementations(device: torch.device, quick: bool) -> dict[str, Branch]:
    """By name; `flex` only compiled on a GPU or on tiny maps, because others take too long."""
    branches: dict[str, Branch] = {"literal": literal}
    branches |= {
        name: functools.partial(folded, attend=attend) for name, attend in ATTENTIONS.items()
    }
    branches["projected"] = projected
    if device.type == "cuda" or quick:
        attend = torch.compile(flex_attention) if device.type == "cuda" else flex_attention
        branches["flex"] = functools.partial(folded, attend=functools.partial(flex, attend=attend))
    return branches


def branch_run(
    branch: Branch, x: Tensor, attention: HaloAttention, haar: Tensor, precision: str, floors: bool
) -> NetworkRun:
    """Forward alone, or with backward where `x` requires a gradient; `floors`: see `NetworkRun`."""

    def run(part: Branch) -> None:
        with torch.set_grad_enabled(x.requires_grad), autocast(x.device, precision):
            out = part(x, attention, haar)
        if x.requires_grad:
            x.grad = None
            attention.zero_grad()
            out.backward(torch.ones_like(out))

    # Of the package's implementations the least counts that one of them computes.
    counted = (
        branch
        if branch in (literal, projected)
        else functools.partial(folded, attend=ATTENTIONS["fused"])
    )
    return NetworkRun(lambda: run(branch), precision, lambda: run(counted), floors)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    report = Report("attention", args, measure_rates(args.device, args.quick))
    side = 32 if args.quick else 192
    widths = {"M2Trans": 64, SEARCHED: network_options(SEARCHED, 2, OPTIONS)["num_feat"]}
    if args.quick:
        widths = {"M2Trans": 16}
    others = []
    for network, width in widths.items():
        for level in LEVELS:
            channels = width // NUM_BRANCHES
            attention = HaloAttention(channels * 4**level).to(args.device)
            haar = haar_matrix(level).to(args.device)
            for part, gradient in (("forward", False), ("forward and backward", True)):
                x = torch.randn(2, channels, side, side, device=args.device).requires_grad_(
                    gradient
                )
                case = f"{part}, {network}, level {level}, width {attention.dim}, LR {side}x{side}"
                make_run = functools.partial(branch_run, x=x, attention=attention, haar=haar)
                others.append((case, *measure(report, case, make_run, args.quick)))
    # They may fail, and compiling takes long.
    for case, makers, reference in others:
        report.compare_rivals(case, makers, reference)
    return report.finish()


def measure(
    report: Report, case: str, make_run: Callable[..., NetworkRun], quick: bool
) -> tuple[dict[str, Callable[[], NetworkRun]], NetworkRun]:
    """All implementations of the package in all precisions.

    Returns:
        By name, what makes the runs of the others, and their reference.
    """
    makers = {
        named(name, precision): functools.partial(
            make_run, branch, precision=precision, floors=name != "flex"
        )
        for precision in precisions(report.device)
        for name, branch in implementations(report.device, quick).items()
    }
    packaged = {
        name: make()
        for name, make in makers.items()
        if name.split(", ")[0] in ("literal", *ATTENTIONS)
    }
    report.compare(case, packaged)
    return {name: make for name, make in makers.items() if name not in packaged}, packaged[
        "literal"
    ]


if __name__ == "__main__":
    run_script(main)
