"""A bicubic skip around other networks, so that a comparison can give it to all of its methods."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.archs.lookup import input_channels, network_class
from basicsr_m2trans.utils.errors import InputError

_OWN_SKIP = "it adds an interpolation of its input already: name it without GlobalSkip"
# What to do about networks that cannot be wrapped.
NOT_WRAPPED = {
    "M2Trans": (
        "it has the skip itself: write global_skip: true among its own options, without GlobalSkip"
    ),
    "Bicubic": "it has nothing to train: name it without GlobalSkip",
    "GlobalSkip": "one skip is enough: name what it wraps",
    "ESRT": "it adds up several outputs: name it without GlobalSkip",
    "MSRResNet": _OWN_SKIP,
    "SRVGGNetCompact": _OWN_SKIP,
}


class GlobalSkip(nn.Module):
    """A network plus the bicubic upscaled image of its input, as `global_skip` of `M2Trans`.

    The wrapped network's last convolution starts at 0, and the constant that it then returns, such
    as the mean colour that EDSR, SwinIR, ELAN and HAT add at their end, is subtracted: untrained,
    the whole is bicubic interpolation. No published network of these has the skip.

    Args:
        upscale: of the wrapped network.
        network: its section `network_g` without `upscale`: `type` and arguments.

    Raises:
        InputError: `network` is unknown or one of `NOT_WRAPPED`, has a skip of its own or several
            outputs, or makes another number of channels than it takes.
    """

    offset: Tensor  # a buffer

    def __init__(self, upscale: int, network: dict[str, Any]) -> None:
        super().__init__()
        arguments = {"upscale": upscale} | network
        name = arguments.pop("type", None)
        if name in NOT_WRAPPED:
            raise InputError(f"network: GlobalSkip cannot wrap {name}; {NOT_WRAPPED[name]}")
        self.upscale = upscale
        self.network: nn.Module = network_class(name)(**arguments)
        convolutions = [layer for layer in self.network.modules() if isinstance(layer, nn.Conv2d)]
        if not convolutions:
            raise InputError(
                f"network: {name} has no convolution; the skip starts from a last one whose "
                "weights are 0"
            )
        last = convolutions[-1]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        # In checkpoints, so that weights with and without the skip are not mistaken for each other.
        self.register_buffer(
            "offset", self._untrained(input_channels(network), name, last.weight.device)
        )

    @torch.no_grad()
    def _untrained(self, channels: int, name: str, device: torch.device) -> Tensor:
        """What the network returns behind its zeroed convolution, (1, C, 1, 1)."""
        # Not random, which would change what is drawn after it.
        image = torch.linspace(0, 1, channels * 16 * 16, device=device).view(1, channels, 16, 16)
        self.network.eval()  # BatchNorm must not learn from it
        result = self.network(image)
        self.network.train()
        if result.shape[1] != channels:
            raise InputError(
                f"network: {name} makes {result.shape[1]} channels of {channels}; the skip needs "
                "as many"
            )
        offset = result.mean((2, 3), keepdim=True)
        if (result - offset).abs().max() > 1e-4:
            raise InputError(
                f"network: {name} has a skip of its own, or several outputs; the bicubic skip "
                "needs one"
            )
        return offset

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), RGB in [0, 1] -> (N, C, upscale * H, upscale * W), not clamped."""
        interpolated = F.interpolate(x, scale_factor=self.upscale, mode="bicubic")
        return self.network(x) - self.offset + interpolated
