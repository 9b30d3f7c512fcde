"""M2Trans for spandrel (https://github.com/chaiNNer-org/spandrel), a loader of networks.

spandrel 0.4.2 tells networks by the names of their weights and does not know M2Trans. After
`add_to_spandrel()`, `spandrel.ModelLoader().load_from_file` opens this project's .pth and
.safetensors files and the authors' checkpoints.
"""

import math
from typing import Any

from basicsr_m2trans.archs.m2trans_arch import M2Trans
from basicsr_m2trans.checkpoints.official_checkpoint import m2trans_settings
from basicsr_m2trans.compat import declare_torchvision_operators

# spandrel imports torchvision.
declare_torchvision_operators()

from spandrel import (  # noqa: E402
    MAIN_REGISTRY,
    Architecture,
    ArchSupport,
    ImageModelDescriptor,
    ModelTiling,
    StateDict,
)
from spandrel.util import KeyCondition, get_seq_len  # noqa: E402


class M2TransArchitecture(Architecture[M2Trans]):
    """How to tell M2Trans's weights from others, and to read its settings off them.

    A wavelet other than Haar and `img_range` are in no weight: networks with these must be loaded
    by this package, and so must those with `reconstruction: conv` whose images have other channels
    than their input.
    """

    def __init__(self) -> None:
        super().__init__(
            id="M2Trans",
            detect=KeyCondition.has_all(
                "head.weight",
                "body.0.attn4.qkv_conv.weight",
                "body.0.attn4.rel_h",
                "body.0.feed_forward.0.weight",
            ),
        )

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[M2Trans]:
        """Build the network of the given weights."""
        # The authors' network carries layers that it never applies.
        unused = ("sub_mean.", "add_mean.")
        weights = {name: state_dict[name] for name in state_dict if not name.startswith(unused)}
        normalised = "without_norm" not in weights
        settings = m2trans_settings(weights) | {
            "num_block": get_seq_len(weights, "body"),
            "norm": "instance" if normalised else "none",
            "bias": "head.bias" in weights,
            "num_res_block": get_seq_len(weights, "body.0.refine"),
            "global_skip": "with_global_skip" in weights,
        }
        if weights["tail.0.weight"].shape[-1] == 3:
            settings |= _conv_reconstruction(weights, settings["num_feat"], settings["num_in_ch"])
        return ImageModelDescriptor(
            M2Trans(**settings),
            weights,
            architecture=self,
            purpose="SR",
            tags=[f"{settings['num_feat']}nf", f"{settings['num_block']}nb"],
            supports_half=False,  # not tried on a GPU
            supports_bfloat16=True,
            scale=settings["upscale"],
            input_channels=settings["num_in_ch"],
            output_channels=settings["num_out_ch"],
            # InstanceNorm takes its statistics from the whole map; without it tiles are nearly
            # exact (docs/memory.md).
            tiling=ModelTiling.DISCOURAGED if normalised else ModelTiling.SUPPORTED,
        )


def _conv_reconstruction(weights: StateDict, num_feat: int, num_in_ch: int) -> dict[str, Any]:
    """The settings that differ with `reconstruction: conv`."""
    first = math.isqrt(weights["tail.0.weight"].shape[0] // (num_feat // 2))
    pixels = weights["tail.3.weight"].shape[0]
    # x2 and x4 differ in this number alone, and only where input and result have as many channels.
    if pixels not in ((num_in_ch, 4 * num_in_ch) if first == 2 else (num_in_ch,)):
        raise ValueError("M2Trans with num_out_ch other than num_in_ch: load it by its own package")
    upscale = 2 * first if pixels > num_in_ch else first
    return {"reconstruction": "conv", "upscale": upscale, "num_out_ch": num_in_ch}


def add_to_spandrel() -> None:
    """Let every `spandrel.ModelLoader` of this process know M2Trans; may be called again."""
    MAIN_REGISTRY.add(ArchSupport.from_architecture(M2TransArchitecture()), ignore_duplicates=True)
