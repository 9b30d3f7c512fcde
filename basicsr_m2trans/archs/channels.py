"""How many channels the images of a network have, by its settings."""

from collections.abc import Mapping
from typing import Any


def input_channels(network_g: Mapping[str, Any]) -> int:
    """Channels of the input image of a section `network_g`, under the architectures' names."""
    settings = network_g.get(
        "network", network_g
    )  # GlobalSkip has the wrapped network's settings inside
    return settings.get("num_in_ch", settings.get("in_chans", 3))
