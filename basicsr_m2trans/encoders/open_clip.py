"""Any CLIP of the library open_clip: BiomedCLIP, OpenAI's CLIP, a local checkpoint."""

from collections.abc import Sequence

import torch
from torch import Tensor

from basicsr_m2trans.encoders.base import ImageTextEncoder, resize
from basicsr_m2trans.utils.errors import InputError


class OpenCLIPEncoder(ImageTextEncoder):
    """A model of open_clip with its own normalisation and tokeniser.

    Images are resized to the model's square size, by antialiased bicubic interpolation whatever the
    model's own is, and normalised with its mean and standard deviation. Needs the package
    open_clip_torch.

    Args:
        model: a name of open_clip such as `ViT-B-32`; `hf-hub:OWNER/NAME` for one on the Hugging
            Face hub, such as `hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224`; or
            `local-dir:FOLDER` for a folder with `open_clip_config.json`, weights and tokeniser.
            Whatever comes from the hub is downloaded once.
        pretrained: for a name of open_clip, the tag of its weights (`openai`) or a file of weights;
            else None.

    Raises:
        InputError: open_clip is not installed, has no such model or weights, or the model's images
            are not square.
    """

    mean: Tensor  # buffers
    std: Tensor

    def __init__(self, model: str, pretrained: str | None = None) -> None:
        super().__init__()
        from basicsr_m2trans import compat

        compat.declare_torchvision_operators()  # open_clip imports torchvision
        try:
            import open_clip
        except ImportError as error:
            raise InputError(
                f"OpenCLIPEncoder needs open_clip ({error}): pip install "
                "'basicsr_m2trans[open-clip]'"
            ) from error
        try:
            self.model = open_clip.create_model(
                model, pretrained=pretrained, require_pretrained=True
            )
            self.tokenizer = open_clip.get_tokenizer(model)
        # open_clip raises many types for a wrong name, file or connection
        except Exception as error:
            raise InputError(
                f"OpenCLIPEncoder: model {model}, pretrained {pretrained}: {error}"
            ) from error
        settings = self.model.visual.preprocess_cfg
        size = settings["size"]
        height, width = (size, size) if isinstance(size, int) else size
        if height != width:
            raise InputError(
                f"OpenCLIPEncoder: model {model} takes images of {width} x {height}; use a square "
                "one"
            )
        self.image_size: int = height
        for name in ("mean", "std"):
            value = torch.tensor(settings[name]).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.freeze()

    def encode_image(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, D) of unit length."""
        pixels = (resize(images, self.image_size) - self.mean) / self.std
        return self.model.encode_image(pixels, normalize=True)

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """N captions -> (N, D) of unit length; what exceeds the model's context is cut."""
        tokens = self.tokenizer(list(captions)).to(self.mean.device)
        return self.model.encode_text(tokens, normalize=True)
