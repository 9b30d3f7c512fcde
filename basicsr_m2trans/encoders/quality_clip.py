"""The embedded prior: a small CLIP for the quality of ultrasound (docs/quality-prior.md).

`m2trans train-prior` trains it.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from basicsr_m2trans.checkpoints.weights import check_weights, read_safetensors
from basicsr_m2trans.encoders.base import ImageTextEncoder, luma
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError

SHIPPED_FILE = Path(__file__).with_name("quality_clip.safetensors")
EMBED_DIM = 128
WIDTHS = (2, 16, 32, 48, 96, 192, 384)  # channels of the input and of each stage
MAX_WORDS = 32
METADATA_KEY = "quality_clip"
PADDING, UNKNOWN = 0, 1  # the words' own indices follow


class QualityCLIP(nn.Module):
    """A convolutional image tower and a transformer over words, with one space of 128 dimensions.

    Args:
        words: the words that the text tower tells apart, in lower case; all others are one unknown
            word.
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self.words = tuple(words)
        self.image_tower = _ImageTower()
        self.text_tower = _TextTower(len(self.words) + 2)
        # Only the contrastive training uses it.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self._indices = {word: index for index, word in enumerate(self.words, start=UNKNOWN + 1)}

    def image_features(self, grey: Tensor) -> Tensor:
        """Grey values (N, 1, H, W) in [0, 1], any H, W >= 1 -> (N, 128) of unit length."""
        return F.normalize(self.image_tower(grey), dim=-1)

    def text_features(self, captions: Sequence[str]) -> Tensor:
        """N captions -> (N, 128) of unit length; words after the 32nd are cut."""
        tokens = []
        for caption in captions:
            words = split_words(caption)[:MAX_WORDS] or [""]
            tokens.append(torch.tensor([self._indices.get(word, UNKNOWN) for word in words]))
        padded = pad_sequence(tokens, batch_first=True, padding_value=PADDING)
        return F.normalize(self.text_tower(padded.to(self.logit_scale.device)), dim=-1)


class QualityCLIPEncoder(ImageTextEncoder):
    """The embedded prior as the encoder of the semantic loss (Sec. III-C, Eq. 11), offline.

    Images become grey (ITU-R 601 luma) and keep their size: how sharp or noisy a patch is shows in
    its pixels. Of a caption it knows words of image quality; organs and findings are unknown words
    to it.

    Args:
        checkpoint: a file written by `m2trans train-prior`; None for the one in the package.

    Raises:
        InputError: the file is missing, damaged or holds something else.
    """

    def __init__(self, checkpoint: str | Path | None = None) -> None:
        super().__init__()
        self.model, self.metadata = read_quality_clip(checkpoint or SHIPPED_FILE)
        self.freeze()

    def encode_image(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1], any H, W >= 1 -> (N, 128) of unit length."""
        return self.model.image_features(luma(images))

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """N captions -> (N, 128) of unit length; words after the 32nd are cut."""
        return torch.cat([self.model.text_features([caption]) for caption in captions])


def split_words(caption: str) -> list[str]:
    """The words of a caption in lower case, without punctuation but with hyphens."""
    return re.findall(r"\w[\w-]*", caption.lower())


def write_quality_clip(path: str | Path, model: QualityCLIP, metadata: Mapping[str, str]) -> None:
    """Write weights (half precision), word list and metadata as safetensors, atomically.

    `metadata` says where the weights come from, as text by key.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save

    weights = {
        name: value.detach()
        .to("cpu", torch.float16 if value.is_floating_point() else value.dtype)
        .contiguous()
        for name, value in model.state_dict().items()
    }
    # One key: safetensors writes several in random order, and equal trainings give equal files.
    text = json.dumps({"words": model.words, **metadata})
    write_atomic(Path(path), save(weights, {METADATA_KEY: text}))


def read_quality_clip(path: str | Path) -> tuple[QualityCLIP, dict[str, str]]:
    """Read what `write_quality_clip` wrote.

    Returns:
        The network in float32 on the CPU, and the metadata.

    Raises:
        InputError: no such file, a damaged one, or one that holds something else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {path}; name one that m2trans train-prior wrote")
    weights, entries = read_safetensors(path)
    if METADATA_KEY not in entries:
        raise InputError(
            f"{path} was not written by m2trans train-prior: its metadata lack the key "
            f"{METADATA_KEY}"
        )
    try:
        metadata = json.loads(entries[METADATA_KEY])
        model = QualityCLIP(metadata.pop("words"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: the metadata under {METADATA_KEY} hold no word list; get the file again"
        ) from error
    check_weights(weights, model.state_dict(), str(path), "QualityCLIP")
    model.load_state_dict(weights)
    return model, metadata


class _ImageTower(nn.Module):
    """Convolutions to 1/32 of the size; mean and variance over all positions, after every stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            _stage(narrow, wide, stride=1 if narrow == WIDTHS[0] else 2)
            for narrow, wide in itertools.pairwise(WIDTHS)
        )
        statistics = 2 * sum(WIDTHS)
        self.projection = nn.Sequential(
            nn.BatchNorm1d(statistics, affine=False),
            nn.Linear(statistics, 256),
            nn.GELU(),
            nn.Linear(256, EMBED_DIM),
        )

    def forward(self, grey: Tensor) -> Tensor:
        local_mean = F.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False)
        # Blur shows in differences of a few grey levels between neighbours, which the grey values
        # would drown.
        features = torch.cat((4 * grey - 1, 16 * (grey - local_mean)), dim=1)
        statistics = [_statistics(features)]
        for stage in self.stages:
            features = stage(features)
            statistics.append(_statistics(features))
        return self.projection(torch.cat(statistics, dim=1))


def _statistics(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 2C): mean and logarithm of the variance.

    Quality is texture, and contrast multiplies it: as logarithms, the sharpness that a ratio of
    scales shows is a difference. The constant keeps the slope finite where a patch is even.
    """
    variance = features.var(dim=(2, 3), correction=0)
    return torch.cat((features.mean(dim=(2, 3)), (variance + 1e-4).log()), dim=1)


def _stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.GELU(),
    )


class _TextTower(nn.Module):
    """A transformer of two layers over word indices, averaged over the words."""

    def __init__(self, num_indices: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_indices, EMBED_DIM)
        self.position = nn.Parameter(0.02 * torch.randn(MAX_WORDS, EMBED_DIM))
        layer = nn.TransformerEncoderLayer(
            EMBED_DIM,
            4,
            2 * EMBED_DIM,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, 2, nn.LayerNorm(EMBED_DIM), enable_nested_tensor=False
        )
        self.projection = nn.Linear(EMBED_DIM, EMBED_DIM)

    def forward(self, tokens: Tensor) -> Tensor:
        """Word indices (N, L), L <= 32 -> (N, 128)."""
        padding = tokens == PADDING
        states = self.layers(
            self.embedding(tokens) + self.position[: tokens.shape[1]], src_key_padding_mask=padding
        )
        words = (~padding).unsqueeze(-1)
        return self.projection((states * words).sum(dim=1) / words.sum(dim=1))
