"""The image-text semantic loss (Sec. III-C, Eq. 11-14)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from basicsr_m2trans.encoders import ImageTextEncoder, build_encoder
from basicsr_m2trans.encoders.base import resize
from basicsr_m2trans.utils.errors import InputError

REDUCTIONS = ("sum", "mean")


class ImageTextSemanticLoss(nn.Module):
    """How much the similarity to the caption differs between the super-resolved and the HR image.

    Each image gives K patches: the first is the whole image resized (p_1), the others are random
    crops at the same place in both images. With s the cosine of image and text features (Eq.
    11-12), the loss of one image is sum_k |s_sr - s_hr| / K (Eq. 13-14), summed over the batch. The
    gradient reaches the SR image through the frozen encoder; HR and text features need none. Each
    distinct caption is encoded once in the life of the loss.

    Args:
        encoder: an option file's entry (see `encoders.build_encoder`) or an encoder itself.
        num_patches: K in Eq. 14.
        patch_size: side in pixels of the patches handed to the encoder. Where an image is smaller,
            its crops have the image's shorter side and are upscaled to this size.
        loss_weight: beta in Eq. 20.
        reduction: 'sum' over the images of a batch (Eq. 14) or their 'mean'.

    Raises:
        InputError: an option is out of range, or the encoder cannot be built.
    """

    def __init__(
        self,
        encoder: str | Mapping[str, Any] | ImageTextEncoder,
        num_patches: int = 3,
        patch_size: int = 224,
        loss_weight: float = 0.01,
        reduction: str = "sum",
    ) -> None:
        super().__init__()
        for name, value in (("num_patches", num_patches), ("patch_size", patch_size)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, but is {value!r}")
        if reduction not in REDUCTIONS:
            raise InputError(
                f"reduction must be one of {', '.join(REDUCTIONS)}, but is {reduction!r}"
            )
        self.encoder = encoder if isinstance(encoder, ImageTextEncoder) else build_encoder(encoder)
        self.num_patches = num_patches
        self.patch_size = patch_size
        self.loss_weight = loss_weight
        self.reduction = reduction
        self._text_features: dict[str, Tensor] = {}

    def forward(
        self, sr: Tensor, hr: Tensor, captions: Sequence[str], corners: Tensor | None = None
    ) -> Tensor:
        """Weighted loss of a batch.

        Args:
            sr: (N, 3, H, W), RGB in [0, 1], carries the gradient.
            hr: (N, 3, H, W), RGB in [0, 1].
            captions: N texts, one for each image.
            corners: (N, K - 1, 2), crops as `draw_corners` gives them; drawn from PyTorch's global
                random state if not given.

        Returns:
            Scalar.

        Raises:
            ValueError: shapes or the number of captions or of crops do not fit.
        """
        if sr.shape != hr.shape or len(captions) != len(sr):
            raise ValueError(
                f"SR {tuple(sr.shape)}, HR {tuple(hr.shape)} and {len(captions)} captions do not "
                "fit together"
            )
        if corners is None:
            corners = self.draw_corners(len(hr), *hr.shape[-2:])
        text = self._encode_captions(captions, sr.device)
        sr_similarity = self._similarity(sr, corners, text)
        with torch.no_grad():
            hr_similarity = self._similarity(hr, corners, text)
        # The mean over k is the weight 1/K of Eq. 14.
        per_image = (sr_similarity - hr_similarity).abs().mean(dim=1)
        return self.loss_weight * (per_image.sum() if self.reduction == "sum" else per_image.mean())

    def draw_corners(
        self, count: int, height: int, width: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Random crops of a batch: (count, K - 1, 2), top and left pixel of each crop."""
        side = min(self.patch_size, height, width)
        shape = (count, self.num_patches - 1)
        tops = torch.randint(height - side + 1, shape, generator=generator)
        lefts = torch.randint(width - side + 1, shape, generator=generator)
        return torch.stack((tops, lefts), dim=-1)

    def _similarity(self, images: Tensor, corners: Tensor, text: Tensor) -> Tensor:
        """Cosine of each image's patches and its text (Eq. 12): (N, K)."""
        side = min(self.patch_size, *images.shape[-2:])
        whole = resize(images, self.patch_size).unsqueeze(1)
        patches = whole
        if self.num_patches > 1:
            crops = [
                image[:, top : top + side, left : left + side]
                for image, places in zip(images, corners.tolist(), strict=True)
                for top, left in places
            ]
            resized = resize(torch.stack(crops), self.patch_size)
            patches = torch.cat((whole, resized.unflatten(0, (len(images), -1))), dim=1)
        features = self.encoder.encode_image(patches.flatten(0, 1)).unflatten(0, (len(images), -1))
        return (features * text.unsqueeze(1)).sum(dim=-1)

    def _encode_captions(self, captions: Sequence[str], device: torch.device) -> Tensor:
        """(N, D) text features, from memory where the caption has been seen before."""
        for caption in captions:
            if caption not in self._text_features:
                # One by one: rounding in a batch would depend on where a run was resumed.
                with torch.no_grad():
                    self._text_features[caption] = self.encoder.encode_text([caption])[0]
        return torch.stack([self._text_features[caption] for caption in captions]).to(device)
