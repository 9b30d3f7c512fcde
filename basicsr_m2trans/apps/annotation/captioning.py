"""Raw descriptions of regions from BLIP (Sec. IV, Eq. 17)."""

import numpy as np
import torch

from basicsr_m2trans.apps.annotation.loading import load_pretrained
from basicsr_m2trans.apps.annotation.stages import Region

MAX_TOKENS = 40
# Sampling keeps the likeliest tokens whose probabilities add up to this; repetitions then differ
# yet make sense.
TOP_P = 0.9


class BlipCaptioner:
    """BLIP on the box around a region (Eq. 17); each seed samples another description.

    Args:
        name: folder or hub name of a `transformers.BlipForConditionalGeneration`.
        device: where it runs.

    Raises:
        InputError: the model cannot be loaded.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        from transformers import BlipForConditionalGeneration, BlipProcessor

        model, self.processor = load_pretrained(
            "captioning model (BLIP)", name, BlipForConditionalGeneration, BlipProcessor
        )
        self.model = model.to(device)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, region: Region, seed: int) -> str:
        """Describe the region's box in an image (h, w, 3), RGB, uint8; see `stages.Captioner`."""
        left, top, width, height = region.box
        crop = image[top : top + height, left : left + width]
        inputs = self.processor(images=crop, input_data_format="channels_last", return_tensors="pt")
        pixel_values = inputs["pixel_values"].to(self.model.device, self.model.dtype)
        gpus = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(gpus):  # transformers samples from PyTorch's global random state
            torch.manual_seed(seed)
            tokens = self.model.generate(
                pixel_values=pixel_values, do_sample=True, top_p=TOP_P, max_new_tokens=MAX_TOKENS
            )
        return self.processor.decode(tokens[0], skip_special_tokens=True).strip()
