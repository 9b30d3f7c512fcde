"""Statistics of InstanceNorm for a map that is seen in parts."""

import torch
from torch import Tensor

from basicsr_m2trans.archs.instance_norm import EPSILON


class InstanceStatistics:
    """Mean and biased variance of each image and channel, gathered from disjoint parts of a map.

    Means and sums of squared deviations are merged in float64 (Chan, Golub and LeVeque, "Updating
    formulae and a pairwise algorithm for computing sample variances", 1979). The plain mean of
    squares would lose the digits that it shares with the squared mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.deviations = torch.zeros((), dtype=torch.float64)

    def add(self, part: Tensor) -> None:
        """Take in the next part of the map, (N, C, h, w)."""
        part = part.to(torch.promote_types(part.dtype, torch.float32))
        mean = part.mean(dim=(2, 3), keepdim=True)
        deviations = (part - mean).square_().sum(dim=(2, 3), keepdim=True).double()
        count = part.shape[2] * part.shape[3]
        total = self.count + count
        difference = mean.double() - self.mean
        self.mean = self.mean + difference * (count / total)
        between = difference.square() * (self.count * count / total)
        self.deviations = self.deviations + deviations + between
        self.count = total

    def normalise(self, x: Tensor, channels: slice) -> Tensor:
        """InstanceNorm2d of some channels and pixels of the map: (N, c, h, w) -> (N, c, h, w)."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        factor = (self.deviations / self.count + EPSILON).rsqrt()
        mean, factor = (values[:, channels].to(dtype) for values in (self.mean, factor))
        return ((x - mean) * factor).to(x.dtype)
