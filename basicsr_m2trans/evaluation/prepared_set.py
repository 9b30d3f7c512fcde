"""Measures trained networks on sets of images under both evaluation protocols."""

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from basicsr_m2trans.evaluation.protocols import METRICS, PROTOCOLS
from basicsr_m2trans.evaluation.set_folders import prepared_dataset
from basicsr_m2trans.utils.csv_file import write_csv
from basicsr_m2trans.utils.errors import InputError


@dataclass(frozen=True)
class Scores:
    """What one network reached on one set of images."""

    images: tuple[str, ...]  # their names, sorted
    values: dict[tuple[str, str], np.ndarray]  # (len(images),) for each protocol and metric

    def write(self, path: Path) -> None:
        """Write the scores as CSV, one line for each image and protocol; numbers in full."""
        rows = (
            (image, protocol, *(float(self.values[protocol, name][index]) for name in METRICS))
            for index, image in enumerate(self.images)
            for protocol in PROTOCOLS
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_csv(path, [("image", "protocol", *METRICS), *rows])

    @classmethod
    def read(cls, path: Path) -> "Scores":
        """Read what `write` wrote; an InputError if the file is something else."""
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
            values = {
                (protocol, name): np.array(
                    [float(row[name]) for row in rows if row["protocol"] == protocol]
                )
                for protocol in PROTOCOLS
                for name in METRICS
            }
            images = tuple(dict.fromkeys(row["image"] for row in rows))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is not a table of scores; delete it, and it is made again"
            ) from error
        return cls(images, values)


def upscale_on_device(network: nn.Module, lq: Tensor) -> Tensor:
    """(1, 3, h, w) RGB in [0, 1] -> (1, 3, H, W) in [0, 1] on the CPU."""
    device = next(network.parameters(), lq).device
    with torch.no_grad():
        return network(lq.to(device)).float().cpu().clamp(0, 1)


def build_set(folder: Path, scale: int) -> Any:
    """The images that `m2trans prepare` wrote to `folder`, as a data set for testing.

    Raises:
        InputError: the folder lacks images of this scale.
    """
    from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset

    options = prepared_dataset(folder, scale) | {"phase": "test", "scale": scale}
    return PairedImageTextDataset(options)


def image_names(folder: Path, scale: int) -> list[str]:
    """Names of the images of a prepared set, sorted as `evaluate` visits them."""
    return [pair.name for pair in build_set(folder, scale).pairs]


def set_digest(folder: Path, scale: int) -> str:
    """SHA-256 of the names and pixels of a prepared set, to tell sets apart."""
    digest = hashlib.sha256()
    dataset = build_set(folder, scale)
    for pair, item in zip(dataset.pairs, dataset, strict=True):
        digest.update(
            pair.name.encode() + item["gt"].numpy().tobytes() + item["lq"].numpy().tobytes()
        )
    return f"SHA-256 {digest.hexdigest()[:16]}"


def evaluate(
    network: nn.Module, folder: Path, scale: int, report: Callable[[int, int], None] | None = None
) -> Scores:
    """Upscale every image of a prepared set and measure it under both protocols.

    Args:
        network: in evaluation mode; it computes on the device that it is on.
        folder: what `m2trans prepare` wrote.
        scale: the network's.
        report: called after each image with the number done and the number of all.

    Raises:
        InputError: the set cannot be read, or an image is too small to be measured.
    """
    dataset = build_set(folder, scale)
    scores: list[dict[tuple[str, str], float]] = []
    for item in dataset:
        lq, hr = item["lq"][None], item["gt"][None]
        sr = upscale_on_device(network, lq)
        scores.append({})
        for protocol, measure in PROTOCOLS.items():
            for name, value in measure(sr, hr, scale).items():
                scores[-1][protocol, name] = value
        if report is not None:
            report(len(scores), len(dataset))
    names = tuple(pair.name for pair in dataset.pairs)
    return Scores(names, {key: np.array([score[key] for score in scores]) for key in scores[0]})
