"""Image pairs on the disk that a data set refuses, or that are too small or too few
for training.
"""

import copy
import math
import os
from collections.abc import Iterator
from typing import Any

from basicsr_m2trans.options.building import reason
from basicsr_m2trans.options.files import is_lmdb, num_gpu
from basicsr_m2trans.options.relations import PAIRED, section
from basicsr_m2trans.utils.errors import Problem


def find_unfit_images(opt: dict[str, Any]) -> Iterator[Problem]:
    """Data sets of pairs that cannot be built, and training images too few for a batch or too small
    for a patch.

    Images are not decoded: sizes are read from their headers, or from the list of an LMDB.

    Args:
        opt: an option file without the sections in which something is known to be wrong.
    """
    for phase, dataset in section(opt, "datasets").items():
        backend = section(dataset, "io_backend").get("type")
        if (
            dataset.get("type") not in PAIRED
            or backend not in ("disk", "lmdb")
            or "scale" not in opt
        ):
            continue
        try:
            sizes = _gt_sizes(dataset, phase, opt["scale"])
        except Exception as error:  # BasicSR's data set raises many types
            yield Problem(
                ("datasets", phase),
                f"cannot be used: {reason(error)}",
                "mend the files, or name others",
            )
            continue
        if phase == "train":
            yield from _patch_problems(dataset, sizes)
            yield from _batch_problems(dataset, len(sizes), num_gpu(opt))


def _gt_sizes(dataset: dict[str, Any], phase: str, scale: int) -> list[tuple[str, tuple[int, int]]]:
    """Name, height and width in pixels of the HR images, after building the data set
    as a run does.
    """
    from basicsr.utils.registry import DATASET_REGISTRY

    from basicsr_m2trans.data.images import read_size
    from basicsr_m2trans.data.lmdb_store import read_meta_info
    from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset

    options = copy.deepcopy(dataset) | {"phase": phase.split("_")[0], "scale": scale}
    options |= {key: os.path.expanduser(dataset[key]) for key in ("dataroot_gt", "dataroot_lq")}
    if "gt_size" in dataset:
        # PairedImageTextDataset accepts images of all sizes then; they are compared later.
        options["gt_size"] = scale
    pairs = DATASET_REGISTRY.get(dataset["type"])(options)
    if isinstance(pairs, PairedImageTextDataset):
        return [(pair.gt_path, pair.gt_size) for pair in pairs.pairs]
    if is_lmdb(dataset):
        return [
            (key, stored.shape[:2])
            for key, stored in read_meta_info(options["dataroot_gt"]).items()
        ]
    return [(path["gt_path"], read_size(path["gt_path"])) for path in pairs.paths]


def _patch_problems(
    dataset: dict[str, Any], sizes: list[tuple[str, tuple[int, int]]]
) -> Iterator[Problem]:
    patch = dataset.get("gt_size") or 0
    small = sorted((name, size) for name, size in sizes if min(size) < patch)
    if small:
        name, (height, width) = small[0]
        text = (
            f"is {patch}, but {len(small)} of {len(sizes)} images are smaller, such as {name} "
            f"({width}x{height})"
        )
        remedy = f"lower it, or leave small images out by m2trans prepare --min-side {patch}"
        yield Problem(("datasets", "train", "gt_size"), text, remedy)


def _batch_problems(dataset: dict[str, Any], images: int, gpus: int) -> Iterator[Problem]:
    # Processes share the images; in one process, BasicSR multiplies the batch by the number of
    # GPUs.
    processes = int(os.environ.get("WORLD_SIZE", 1))
    batch = (dataset.get("batch_size_per_gpu") or 0) * (max(gpus, 1) if processes == 1 else 1)
    share = math.ceil(images * dataset.get("dataset_enlarge_ratio", 1)) // processes
    if batch > share:
        text = (
            f"makes a batch of {batch}, but an epoch has only {share} images for each of "
            f"{processes} processes"
        )
        yield Problem(
            ("datasets", "train", "batch_size_per_gpu"),
            text,
            "lower it, or raise dataset_enlarge_ratio",
        )
