"""What a network's modules and its output make of crops, as points with their distances."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.checkpoints.networks import load_network
from basicsr_m2trans.evaluation.prepared_set import build_set, upscale_on_device
from basicsr_m2trans.utils.device import default_device
from basicsr_m2trans.utils.errors import InputError

if TYPE_CHECKING:
    from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset

# Features of all crops that are in memory at once; the others wait on the disk.
COLUMNS_AT_ONCE = 8192


@dataclass(frozen=True)
class LayerFeatures:
    """Features and outputs of one network as principal coordinates (see `principal_coordinates`).

    Attributes:
        images: names of the N images, sorted.
        layers: (N, N - 1) for each coarse-to-fine transformer module, the first one first.
        output: (N, N - 1), of the upscaled crops.
    """

    images: tuple[str, ...]
    layers: tuple[np.ndarray, ...]
    output: np.ndarray


def load_m2trans(checkpoint: Path, options: Path | None) -> tuple[M2Trans, int]:
    """The M2Trans of a checkpoint, on the GPU if there is one, and its scale.

    `options` is the network's option file; None if the checkpoint has its settings.

    Raises:
        InputError: the checkpoint cannot be loaded, holds another network, or one for grey images.
    """
    trained = load_network(checkpoint, options=options)
    if not isinstance(trained.network, M2Trans):
        text = f"{checkpoint} holds {trained.architecture}"
        raise InputError(f"{text}; name checkpoints of M2Trans, which has CFTMs")
    if trained.channels != 3:
        raise InputError(
            f"{checkpoint} has {trained.channels} input channel; name a network for RGB images"
        )
    return trained.network.to(default_device()), trained.scale


def open_set(folder: Path, scale: int, crop: int) -> "PairedImageTextDataset":
    """The images that `m2trans prepare` wrote to `folder`.

    Raises:
        InputError: the set cannot be read, or LR images are smaller than `crop` x `crop`.
    """
    dataset = build_set(folder, scale)
    small = [pair.name for pair in dataset.pairs if min(pair.lq_size) < crop]
    if small:
        raise InputError(
            f"{folder}: {len(small)} of {len(dataset)} LR images at x{scale} are smaller than "
            f"--crop {crop} (the first is {small[0]}); give a smaller --crop, or leave small "
            "images out by m2trans prepare --min-side"
        )
    return dataset


def layer_features(
    network: M2Trans, dataset: "PairedImageTextDataset", crop: int, scratch: Path
) -> LayerFeatures:
    """Run a network on the middle of every image and keep what each CFTM returns.

    The features wait in a file without a name, at the paper's width 1 MiB for each module and image
    of 64 x 64 LR pixels. In memory are those of one image, later 64 KiB of each image, and the N x
    N inner products.

    Args:
        network: as `load_m2trans` returns it.
        dataset: as `open_set` returns it, of the network's scale; at least 2 images.
        crop: side of the square in LR pixels. The network sees nothing else of the image.
        scratch: existing folder with room for the features.

    Raises:
        OSError: the disk is full.
    """
    lengths = [network.head.out_channels * crop**2] * len(network.body)
    lengths.append(3 * (network.upscale * crop) ** 2)
    with _module_outputs(network) as outputs, tempfile.TemporaryFile(dir=scratch) as file:
        for item in dataset:
            outputs.clear()
            upscaled = upscale_on_device(network, _middle(item["lq"], crop)[None])
            # The network pads its input; what it makes of the padding is no feature of the crop.
            for features in [*(out[..., :crop, :crop] for out in outputs), upscaled]:
                file.write(features.float().cpu().contiguous().numpy().tobytes())
        file.flush()
        rows = np.memmap(file, np.float32, "r", shape=(len(dataset), sum(lengths)))
        ends = np.cumsum(lengths)
        *layers, output = (
            principal_coordinates(rows[:, end - length : end])
            for end, length in zip(ends, lengths, strict=True)
        )
    return LayerFeatures(tuple(pair.name for pair in dataset.pairs), tuple(layers), output)


@contextlib.contextmanager
def _module_outputs(network: M2Trans) -> Iterator[list[Tensor]]:
    """A list to which each CFTM appends what it returns, while the block lasts."""
    outputs: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _block, _input, out: outputs.append(out))
        for block in network.body
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _middle(image: Tensor, side: int) -> Tensor:
    top, left = ((length - side) // 2 for length in image.shape[1:])
    return image[:, top : top + side, left : left + side]


def principal_coordinates(rows: np.ndarray) -> np.ndarray:
    """All principal components' scores of N points: their distances in at most N - 1 numbers each.

    They come from the points' inner products, N x N numbers however long the points are.

    Args:
        rows: (N, length), N >= 2, in memory or on the disk.

    Returns:
        (N, N - 1), columns with falling variance and mean 0.
    """
    gram = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], COLUMNS_AT_ONCE):
        columns = rows[:, start : start + COLUMNS_AT_ONCE].astype(np.float64)
        columns -= columns.mean(axis=0)
        gram += columns @ columns.T
    variances, vectors = np.linalg.eigh(gram)
    # The smallest belongs to the mean that was subtracted.
    return (vectors * np.sqrt(variances.clip(min=0)))[:, :0:-1]
