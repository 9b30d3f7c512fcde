"""What every image-text encoder offers to the semantic loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def resize(images: Tensor, size: int) -> Tensor:
    """(N, C, H, W) -> (N, C, size, size), antialiased bicubic, as image processors do.

    The result can leave [0, 1] by a little at sharp edges; gradients pass.
    """
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(
        images, size=(size, size), mode="bicubic", antialias=True, align_corners=False
    )


def luma(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB -> (N, 1, H, W), ITU-R BT.601 luma."""
    red, green, blue = images.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


class ImageTextEncoder(nn.Module, ABC):
    """Encoders E_i and E_t into one space (Sec. III-C, Eq. 11), frozen and in eval mode.

    Gradients pass through `encode_image` to the images; no parameter ever requires one. Subclasses
    build their parameters and then call `freeze()`.
    """

    def freeze(self) -> None:
        """Switch to eval mode for good and stop all gradients to the parameters."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "ImageTextEncoder":  # noqa: ARG002
        """Stay in eval mode: a prior with changing dropout or statistics would be none."""
        return super().train(False)

    @abstractmethod
    def encode_image(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, D) of unit length, after its own preprocessing."""

    @abstractmethod
    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """N captions -> (N, D) of unit length, each independent of the others in the batch."""
