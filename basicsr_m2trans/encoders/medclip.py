"""MedCLIP-ViT, the encoder of the paper's semantic loss, rebuilt on transformers' Swin and BERT.

The published weights (Wang et al., EMNLP 2022, https://github.com/RyanWangZf/MedCLIP) are loaded as
they are; the package `medclip` itself does not run on current transformers.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from basicsr_m2trans.checkpoints.weights import as_weights, check_weights, read_checkpoint
from basicsr_m2trans.encoders.base import ImageTextEncoder, luma, resize
from basicsr_m2trans.utils.errors import InputError

CHECKPOINT_URL = "https://storage.googleapis.com/pytrial/medclip-vit-pretrained.zip"
WEIGHTS_NAME = "pytorch_model.bin"  # inside the archive
MAX_BYTES = 2_000_000_000  # of it, unpacked in memory; the published one has 547 MB
VOCABULARY = Path(__file__).with_name("bert_base_cased_vocab.txt")
PROJECTION_DIM = 512
IMAGE_SIZE = 224
# MedCLIP's own image statistics, of grey values in [0, 1].
PIXEL_MEAN, PIXEL_STD = 0.5862785803043838, 0.27950088968644304

VISION_SETTINGS = {
    "image_size": 224,
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
}
TEXT_SETTINGS = {"vocab_size": 28996}

# Parameter names of transformers' Swin before 5.9, which the published file has, and since.
SWIN_RENAMES = (
    (r"\.attention\.self\.(query|key|value)\.", lambda match: f".attention.{match[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (
        r"\.attention\.self\.relative_position_bias_table$",
        ".attention.relative_position_bias.relative_position_bias_table",
    ),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
# Constant index tables; transformers' versions differ in which of them they save.
INDEX_BUFFER = re.compile(r"\.(relative_position_index|position_ids)$")

# What zipfile raises for archives with changed bytes; NotImplementedError, a RuntimeError, for an
# unknown method.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,
    UnicodeError,
    struct.error,
)


class MedCLIPModel(nn.Module):
    """The two towers of MedCLIP-ViT, from pixels and token ids; laid out as its checkpoint.

    Args:
        vision: settings of `transformers.SwinConfig`.
        text: settings of `transformers.BertConfig`.
    """

    def __init__(
        self, vision: Mapping[str, Any] = VISION_SETTINGS, text: Mapping[str, Any] = TEXT_SETTINGS
    ) -> None:
        super().__init__()
        from basicsr_m2trans import compat

        compat.declare_torchvision_operators()  # transformers imports torchvision
        from transformers import BertConfig, BertModel, SwinConfig, SwinModel

        swin, bert = SwinModel(SwinConfig(**vision)), BertModel(BertConfig(**text))
        self.vision_model = _Tower(swin, swin.num_features)
        self.text_model = _Tower(bert, bert.config.hidden_size)
        self.max_tokens: int = bert.config.max_position_embeddings
        self.logit_scale = nn.Parameter(torch.zeros(()))  # only the contrastive training uses it

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Normalised pixels (N, 3, 224, 224) -> (N, 512) of unit length."""
        pooled = self.vision_model.model(pixel_values).pooler_output
        return F.normalize(self.vision_model.projection_head(pooled), dim=-1)

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask (N, L) -> (N, 512) of unit length.

        The mean runs over all L positions, padding included, as in MedCLIP.
        """
        output = self.text_model.model(
            input_ids, attention_mask=attention_mask, output_hidden_states=True
        )
        states = torch.stack([output.hidden_states[layer] for layer in (1, 2, -1)])
        return F.normalize(self.text_model.projection_head(states.mean(dim=(0, 2))), dim=-1)

    def load_weights(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Load the weights of the file `source` strictly; see `fitting_weights`."""
        self.load_state_dict(self.state_dict() | self.fitting_weights(weights, source), strict=True)

    def fitting_weights(self, weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
        """The weights of the file `source` (old or new names of Swin) by this model's names.

        Raises:
            InputError: a weight is missing, left over or of another shape.
        """
        given = {
            _current_name(key): value
            for key, value in weights.items()
            if not INDEX_BUFFER.search(key)
        }
        own = self.state_dict()
        names = {_current_name(key): key for key in own if not INDEX_BUFFER.search(key)}
        expected = {name: own[key] for name, key in names.items()}
        check_weights(given, expected, source, "MedCLIP-ViT")
        return {key: given[name] for name, key in names.items()}


class MedCLIPEncoder(ImageTextEncoder):
    """MedCLIP-ViT with its own preprocessing and tokeniser, offline.

    Images become grey (ITU-R 601 luma), 224x224 and normalised with MedCLIP's statistics; where the
    package would pad an image to a square with black, it is stretched. Captions are tokenised one
    by one, because MedCLIP averages over padding too, and in lower case, although the vocabulary is
    cased: the tokeniser that MedCLIP was trained with, of Bio_ClinicalBERT, has no configuration
    and so lower-cases.

    Args:
        checkpoint: the published archive `medclip-vit-pretrained.zip`, or the `pytorch_model.bin`
            inside it.
        model: for other sizes of the architecture, with weights already in place; then `checkpoint`
            stays None.

    Raises:
        InputError: the file is missing, unreadable or holds other weights.
    """

    def __init__(
        self, checkpoint: str | Path | None = None, model: MedCLIPModel | None = None
    ) -> None:
        super().__init__()
        if model is None and checkpoint is not None:
            weights = read_medclip_checkpoint(checkpoint)
            model = MedCLIPModel()
            model.load_weights(weights, source=str(checkpoint))
        elif model is None or checkpoint is not None:
            raise InputError("MedCLIPEncoder needs the path of its weights under `checkpoint`")
        from tokenizers import BertWordPieceTokenizer

        self.model = model
        self.max_tokens = model.max_tokens
        self.tokenizer = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
        self.freeze()

    def encode_image(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, 512) of unit length."""
        grey = luma(resize(images, IMAGE_SIZE))
        return self.model.image_features(((grey - PIXEL_MEAN) / PIXEL_STD).expand(-1, 3, -1, -1))

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """N captions -> (N, 512) of unit length; tokens beyond BERT's 512 are cut."""
        device = self.model.logit_scale.device
        features = []
        for caption in captions:
            ids = self.tokenizer.encode(caption).ids
            if len(ids) > self.max_tokens:
                ids = ids[: self.max_tokens - 1] + ids[-1:]  # keep the closing [SEP]
            tokens = torch.tensor([ids], device=device)
            features.append(self.model.text_features(tokens, torch.ones_like(tokens)))
        return torch.cat(features)


def read_medclip_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read MedCLIP's weights from the published archive or the file in it, running no code.

    Raises:
        InputError: no such file, or not a file of plain weights; the message says where the file
            comes from.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(
            f"MedCLIP's weights are not at {path}.\n"
            f"Run m2trans weights medclip, or download {CHECKPOINT_URL} (about 500 MB)\n"
            "and put it there as it is, or name its place under train: semantic_opt: encoder: "
            "checkpoint."
        )
    member = packed_weights(path)
    if member is None:
        return as_weights(read_checkpoint(path), str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            if (size := archive.getinfo(member).file_size) > MAX_BYTES:
                raise InputError(
                    f"{path}: {member} would unpack to {size / 1e9:.1f} GB; MedCLIP's weights have "
                    "0.5 GB"
                )
            # In memory: torch.load jumps back and forth, which a compressed member answers slowly.
            content = io.BytesIO(archive.read(member))
    except _DAMAGED as error:
        raise InputError(
            f"{path}: {member} cannot be read: the archive is damaged; get it again"
        ) from error
    source = f"{path}: {member}"
    return as_weights(read_checkpoint(content, source), source)


def packed_weights(path: Path) -> str | None:
    """Name of the weights' file inside the published archive; None if `path` is something else.

    A file written by torch.save is a zip archive too, but never holds this name.

    Raises:
        InputError: the list of the archive's files is damaged.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return next(
                (name for name in archive.namelist() if Path(name).name == WEIGHTS_NAME), None
            )
    except _DAMAGED as error:
        raise InputError(f"{path} cannot be read: the archive is damaged; get it again") from error


class _Tower(nn.Module):
    """A model and the projection of its features, under the two names of the checkpoint."""

    def __init__(self, model: nn.Module, num_feat: int) -> None:
        super().__init__()
        self.model = model
        self.projection_head = nn.Linear(num_feat, PROJECTION_DIM, bias=False)


def _current_name(key: str) -> str:
    """The parameter's name in transformers 5.9 and later, without parallel training's prefix."""
    key = key.removeprefix("module.")
    if key.startswith("vision_model."):
        for pattern, replacement in SWIN_RENAMES:
            key = re.sub(pattern, replacement, key)
    return key
