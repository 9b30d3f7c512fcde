"""One coarse-to-fine transformer module on a map that stays in place, strip by strip.

A strip of the module's output depends on almost 100 rows of its input above and below: the four
branches chain (Eq. 9) and each sees one token around its windows. Computing all four branches on
strips with that margin would repeat most of the work. Instead every branch keeps `LEAD` rows ahead
of the next one, so that each finds what it needs in the rows that the one before has already made,
and only windows at the edge of a strip are computed twice.
"""

import torch
from torch import Tensor

from basicsr_m2trans.archs.m2trans_arch import CFTM, NUM_BRANCHES
from basicsr_m2trans.inference.instance_statistics import InstanceStatistics
from basicsr_m2trans.inference.regions import Region, strip_region, with_margin

# Strips start and stop at multiples of the largest window: 8 tokens of 4x4 pixels.
ALIGNMENT = 32
LEAD = 32
# Rows that a residual block sees above and below.
REACH = 2
# Strips with all channels that the residual blocks take at their peak.
REFINE_TEMPORARIES = 8  # 7 with AVX-512, more where oneDNN has AVX2 alone
# Maps as large as its input that attention takes at its peak, by whether it is the fast path.
TEMPORARIES = {True: 16, False: 24}


def apply_in_strips(block: CFTM, features: Tensor, strip: int, dim: int) -> None:
    """Replace `features` by `block(features)`.

    Args:
        block: with Haar wavelets or none, whose windows do not reach far.
        features: (N, C, H, W), sides multiples of 32; overwritten.
        strip: how many rows or columns are computed at a time, a multiple of 32.
        dim: -2 for strips of rows, -1 for strips of columns.
    """
    _StripwiseBlock(block, features, strip, dim).run()
    if len(block.refine):
        _refine_in_strips(block, features, strip, dim)


def working_memory(block: CFTM, shorter: int, longer: int, strip: int, itemsize: int) -> int:
    """Bytes that `apply_in_strips` takes at its peak beyond `features`, measured and rounded up.

    Args:
        block, strip: see there.
        shorter, longer: sides of the map; strips are cut across the longer one.
        itemsize: bytes of one number.
    """
    lead = LEAD * NUM_BRANCHES
    group = block.num_feat // NUM_BRANCHES
    # In numbers for each pixel: outputs of the four branches, and what one attention takes.
    outputs = NUM_BRANCHES * group * min(strip + lead + 1, longer)
    attention = TEMPORARIES[block.fast] * group * min(strip + lead + 8, longer)
    refined = 0
    if len(block.refine):
        rows = min(strip + 2 * REACH * len(block.refine), longer)
        refined = REFINE_TEMPORARIES * NUM_BRANCHES * group * rows
        refined += attention // 2  # the C library may keep so much of what the attention has freed
    return max(outputs + attention, refined) * shorter * itemsize


class _StripwiseBlock:
    """The state of `apply_in_strips`: how far the map is replaced, and the branches' outputs."""

    def __init__(self, block: CFTM, features: Tensor, strip: int, dim: int) -> None:
        self.block, self.features = block, features
        self.strip, self.dim = strip, dim
        self.size = features.shape[-2:]
        self.statistics = InstanceStatistics()
        if block.normalises:
            for part in features.split(strip, dim):
                self.statistics.add(part)
        # Outputs of the four branches, concatenated, from the row before the strip to the first
        # branch's lead.
        self.outputs = torch.empty_like(
            features.narrow(dim, 0, min(strip + LEAD * NUM_BRANCHES + 1, self.size[dim]))
        )
        self.origin = 0

    def run(self) -> None:
        length = self.size[self.dim]
        for start in range(0, length, self.strip):
            stop = min(start + self.strip, length)
            for branch in range(NUM_BRANCHES):
                lead = LEAD * (NUM_BRANCHES - branch)
                begin, end = (min(edge + lead, length) for edge in (start, stop))
                self._advance(branch, self._region(begin if start else 0, end))
            region = self._region(start, stop)
            replaced = self.features[(..., *region)]
            replaced += with_margin(
                lambda larger: self.block.feed_forward(self._outputs(larger)), region, self.size, 1
            )  # Eq. 10
            self._forget_before(stop - 1)

    def _advance(self, branch: int, region: Region) -> None:
        """Compute the output of a branch on `region`, which follows what it has computed before."""
        if region[self.dim].start == region[self.dim].stop:
            return

        self._outputs(region)[:, self._channels(branch)] = with_margin(
            lambda larger: self.block.attend(branch, self._branch_input(branch, larger)),
            region,
            self.size,
            margin=8 * 2 ** self.block.levels[branch],
        )

    def _branch_input(self, branch: int, region: Region) -> Tensor:
        """The branch's normalised features, averaged with the branch before (Eq. 5 and 9)."""
        channels = self._channels(branch)
        group = self.features[(slice(None), channels, *region)]
        if self.block.normalises:
            group = self.statistics.normalise(group, channels)
        if branch:
            group = torch.lerp(group, self._outputs(region)[:, self._channels(branch - 1)], 0.5)
        return group

    def _outputs(self, region: Region) -> Tensor:
        """A view of the branches' outputs at the map's `region`."""
        part = region[self.dim]
        return self.outputs.narrow(self.dim, part.start - self.origin, part.stop - part.start)

    def _forget_before(self, origin: int) -> None:
        """Make room for the next strip."""
        kept = self.outputs.narrow(
            self.dim, origin - self.origin, self.outputs.shape[self.dim] - origin + self.origin
        )
        self.outputs.narrow(self.dim, 0, kept.shape[self.dim]).copy_(kept.clone())
        self.origin = origin

    def _channels(self, branch: int) -> slice:
        width = self.features.shape[1] // NUM_BRANCHES
        return slice(branch * width, (branch + 1) * width)

    def _region(self, start: int, stop: int) -> Region:
        return strip_region(start, stop, self.size, self.dim)


def _refine_in_strips(block: CFTM, features: Tensor, strip: int, dim: int) -> None:
    """`features` behind a module's residual blocks; arguments as of `apply_in_strips`."""
    size = features.shape[-2:]
    margin = REACH * len(block.refine)
    above = features.narrow(dim, 0, 0)  # the rows before the strip as they were
    for start in range(0, size[dim], strip):
        stop = min(start + strip, size[dim])
        rows = torch.cat(
            (above, features.narrow(dim, start, min(stop + margin, size[dim]) - start)), dim
        )
        refined = block.refine(rows).narrow(dim, above.shape[dim], stop - start)
        end = above.shape[dim] + stop - start
        above = rows.narrow(dim, max(end - margin, 0), min(margin, end)).clone()
        features.narrow(dim, start, stop - start).copy_(refined)
