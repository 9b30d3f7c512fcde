"""Whether an exported network computes what the network itself computes, and how fast."""

import statistics
import timeit
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from basicsr_m2trans.utils.errors import InputError

# Height and width: neither a multiple of 32, both, and one shorter than 32.
SIZES = ((45, 71), (64, 96), (20, 130))
# Height and width of the image that is timed.
TIMED_SIZE = (128, 128)
# What an exporter traces; not square, so that height and width cannot be taken for each other.
TRACED_SIZE = (40, 72)


class Agreement(NamedTuple):
    """An exported network beside the network itself.

    Attributes:
        difference: largest absolute difference of the results, in [0, 1], on images of `SIZES`.
        exported_seconds, network_seconds: median times for an image of `TIMED_SIZE`.
    """

    difference: float
    exported_seconds: float
    network_seconds: float


@torch.no_grad()
def compare(
    net: nn.Module,
    channels: int,
    exported: Callable[[Tensor], Tensor],
    tolerance: float,
    source: str,
) -> Agreement:
    """Compare an exported network with `net`, which takes `channels`, on uniform noise, on the CPU.

    Raises:
        InputError: a result has another shape, is not finite, or differs by more than `tolerance`.
    """
    generator = torch.Generator().manual_seed(0)
    difference = 0.0
    for size in SIZES:
        image = torch.rand(1, channels, *size, generator=generator)
        expected, result = net(image), exported(image)
        comparable = result.shape == expected.shape
        error = (result - expected).abs().max().item() if comparable else float("inf")
        if not error <= tolerance:
            raise InputError(
                f"{source} was not written: on an image of {size[1]} x {size[0]} pixels its result "
                f"differs from PyTorch's by {error:.1e}, and {tolerance:.0e} is allowed; the "
                "weights may be damaged or not trained"
            )
        difference = max(difference, error)
    image = torch.rand(1, channels, *TIMED_SIZE, generator=generator)
    return Agreement(difference, _median_seconds(exported, image), _median_seconds(net, image))


def _median_seconds(network: Callable[[Tensor], Tensor], image: Tensor) -> float:
    """Median time of three calls after one that is not counted."""
    network(image)
    return statistics.median(timeit.repeat(lambda: network(image), number=1, repeat=3))
