"""HAT, the hybrid attention transformer (Chen et al., CVPR 2023, arXiv 2205.04437).

spandrel 0.4.2 (https://github.com/chaiNNer-org/spandrel, MIT) carries the authors' network
(repository XPixelGroup/HAT, Apache-2.0) as a plain trainable module, with the names and settings of
their checkpoints.
"""

from spandrel.architectures.HAT import HAT as SpandrelHAT
from torch import Tensor

from basicsr_m2trans.archs.padding import pad_to_multiple


class HAT(SpandrelHAT):
    """spandrel's HAT for images of any size; arguments as there and in the authors' option files.

    The M2Trans paper's baseline has `embed_dim: 180`, six groups of six blocks with six heads each
    and `window_size: 16`: 20,624,795 / 20,809,435 / 20,772,507 parameters at x2 / x3 / x4 (Table I:
    20.62 / 20.81 / 20.77 M). Input and output are (N, in_chans, H, W) and (N, in_chans, upscale *
    H, upscale * W), RGB in [0, 1], H, W >= 1.
    """

    def check_image_size(self, x: Tensor) -> Tensor:
        """Pad to multiples of the window; spandrel's own padding fails on smaller images."""
        return pad_to_multiple(x, self.window_size)
