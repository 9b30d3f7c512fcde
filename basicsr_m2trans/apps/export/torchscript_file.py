"""M2Trans as a TorchScript file, for programs that have PyTorch but not this package."""

import warnings
from pathlib import Path

import torch
from torch import nn

from basicsr_m2trans.apps.export.agreement import TRACED_SIZE, Agreement, compare
from basicsr_m2trans.apps.export.dynamic_arch import DynamicM2Trans
from basicsr_m2trans.utils.atomic import replacing

TOLERANCE = 1e-4


def export_torchscript(net: nn.Module, path: Path) -> Agreement:
    """Write M2Trans as a TorchScript file for images of any size, after checking it.

    `torch.jit.load(path)` maps (N, C, H, W) float32 in [0, 1] to (N, C', upscale * H, upscale * W).

    Args:
        net: an M2Trans in evaluation mode, on the CPU, with wavelet 'haar' or 'none'.
        path: the file to write or replace.

    Raises:
        InputError: `net` is another network or has another wavelet, or the file's results differ
            from the network's by more than 1e-4; nothing is written then.
        OSError: the file cannot be written.
    """
    network = DynamicM2Trans(net).eval()
    channels = network.head.in_channels
    example = torch.rand(2, channels, *TRACED_SIZE)
    with replacing(path) as partial, warnings.catch_warnings():
        # PyTorch recommends torch.export, whose files need Python. And InstanceNorm checks sizes,
        # which goes untraced.
        for category in (DeprecationWarning, torch.jit.TracerWarning):
            warnings.simplefilter("ignore", category)
        with torch.no_grad():
            traced = torch.jit.trace(network, example)
        torch.jit.save(torch.jit.freeze(traced), str(partial))
        return compare(net, channels, torch.jit.load(str(partial)), TOLERANCE, str(path))
