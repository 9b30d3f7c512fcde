"""Score of a description: its similarity to the image (Sec. IV, Eq. 19)."""

from collections.abc import Sequence

import numpy as np
import torch

from basicsr_m2trans.encoders import ImageTextEncoder


class EncoderScorer:
    """Cosine of the features of image and description (Eq. 19), by an encoder of the loss.

    Args:
        encoder: any image-text encoder of this package; `encoders.build_encoder` makes one.
        device: where it runs.
    """

    def __init__(self, encoder: ImageTextEncoder, device: torch.device) -> None:
        self.encoder = encoder.to(device)
        self.device = device

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, captions: Sequence[str]) -> list[float]:
        """One score in [-1, 1] for each caption of an image (h, w, 3), RGB, uint8."""
        pixels = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None] / 255
        features = self.encoder.encode_image(pixels)[0]
        return [float(features @ text) for text in self.encoder.encode_text(captions)]
