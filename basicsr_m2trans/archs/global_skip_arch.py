"""A bicubic skip around any network, so that a comparison can give it to all of its methods."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.errors import InputError


class GlobalSkip(nn.Module):
    """A network plus the bicubic enlargement of its input, as `global_skip` of `M2Trans`.

    The wrapped network's last convolution starts at 0, and what it then returns, such as the mean colour that EDSR,
    SwinIR, ELAN and HAT add at their end, is subtracted: untrained, the whole is bicubic interpolation. ESRT, which
    adds the outputs of two convolutions, starts near it. No published network of these has the skip.

    Args:
        upscale: of the wrapped network.
        network: its section `network_g` without `upscale`: `type` and arguments.

    Raises:
        InputError: `network` does not name a registered network, or its channels differ between input and output.
    """

    offset: Tensor  # a buffer

    def __init__(self, upscale: int, network: dict[str, Any]) -> None:
        super().__init__()
        from basicsr.utils.registry import ARCH_REGISTRY

        arguments = {"upscale": upscale} | network
        name = arguments.pop("type", None)
        if name not in ARCH_REGISTRY:
            raise InputError(f"network: type is {name!r}; name the registered network that gets the skip, such as EDSR")
        self.upscale = upscale
        self.network: nn.Module = ARCH_REGISTRY.get(name)(**arguments)
        *_, last = (layer for layer in self.network.modules() if isinstance(layer, nn.Conv2d))
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        channels = network.get("num_in_ch", network.get("in_chans", 3))
        self.network.eval()
        with torch.no_grad():
            untrained = self.network(torch.zeros(1, channels, 16, 16, device=last.weight.device))
        self.network.train()
        if untrained.shape[1] != channels:
            raise InputError(f"network: it makes {untrained.shape[1]} channels of {channels}; the skip needs as many")
        # In checkpoints, so that weights with and without the skip are not mistaken for each other.
        self.register_buffer("offset", untrained.mean((2, 3), keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), RGB in [0, 1] -> (N, C, upscale * H, upscale * W), not clamped."""
        return self.network(x) - self.offset + F.interpolate(x, scale_factor=self.upscale, mode="bicubic")
