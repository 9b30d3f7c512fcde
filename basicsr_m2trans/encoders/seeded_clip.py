"""An encoder with seeded random weights: no download, no training, no knowledge of ultrasound."""

import itertools
import re
import zlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.encoders.base import ImageTextEncoder

VOCABULARY_SIZE = 1024


class SeededCLIPEncoder(ImageTextEncoder):
    """A small CLIP-shaped encoder whose weights come from a seed.

    It is the control that a trained encoder is compared with, and runs the whole semantic loss
    offline. Its similarities mean nothing: do not expect the loss to improve images with it.

    Args:
        seed: the weights are a function of it alone.
        embed_dim: width D of the common space.
    """

    def __init__(self, seed: int = 0, embed_dim: int = 128) -> None:
        super().__init__()
        widths = (1, 16, 32, 64, 128)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            for narrow, wide in itertools.pairwise(widths):
                layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.GELU()]
            self.image_layers = nn.Sequential(*layers)
            self.image_projection = nn.Linear(2 * widths[-1], embed_dim, bias=False)
            self.word_embedding = nn.Embedding(VOCABULARY_SIZE, embed_dim)
            self.text_projection = nn.Linear(embed_dim, embed_dim)
        self.freeze()

    def encode_image(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1], any H, W >= 1 -> (N, D) of unit length."""
        features = self.image_layers(images.mean(dim=1, keepdim=True) - 0.5).flatten(2)
        deviation = (features.var(dim=-1, correction=0) + 1e-8).sqrt()
        # Without biases and with this normalisation no part that all images share outweighs their
        # differences.
        pooled = torch.cat((features.mean(dim=-1), deviation), dim=-1)
        pooled = F.layer_norm(pooled, pooled.shape[-1:])
        return F.normalize(self.image_projection(pooled), dim=-1)

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """N captions -> (N, D) of unit length; the order of words does not count."""
        device, means = self.word_embedding.weight.device, []
        for caption in captions:
            words = re.findall(r"\w+", caption.lower()) or [""]
            # crc32 and not hash(): the latter differs from run to run.
            indices = [zlib.crc32(word.encode()) % VOCABULARY_SIZE for word in words]
            means.append(self.word_embedding(torch.tensor(indices, device=device)).mean(dim=0))
        return F.normalize(self.text_projection(torch.stack(means)), dim=-1)
