"""Values of the right type that their classes refuse, found by building what an option file names.

No network is trained for it and no image decoded.
"""

import copy
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basicsr_m2trans.options.files import is_lmdb, num_gpu
from basicsr_m2trans.options.relations import PAIRED, section
from basicsr_m2trans.options.sections import optimizer_classes, scheduler_classes
from basicsr_m2trans.utils.errors import InputError, Problem

if TYPE_CHECKING:
    from torch import nn


def find_refused_values(opt: dict[str, Any]) -> Iterator[Problem]:
    """The network, the optimizer and the scheduler of which a class refuses the values.

    Args:
        opt: an option file without the sections in which something is known to be wrong.
    """
    import torch

    weights = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.Adam(weights)
    builders: dict[tuple[str, ...], Callable[[dict[str, Any]], object]] = {
        ("network_g",): trial_network,
        ("train", "optim_g"): lambda settings: _build(optimizer_classes(), weights, settings),
        ("train", "scheduler"): lambda settings: _build(scheduler_classes(), optimizer, settings),
    }
    for key, build in builders.items():
        settings = section(opt, *key)
        if "type" not in settings:
            continue
        try:
            build(settings)
        except (ImportError, OSError):  # this machine lacks something; the values may be right
            continue
        except Exception as error:  # classes raise many types for values that they do not take
            text = f"cannot be used: {settings['type']} says: {_reason(error)}"
            yield Problem(key, text, "change that value")


def trial_network(network_g: dict[str, Any]) -> "nn.Module":
    """The network on the meta device, where weights need no time or memory, unless it must compute.

    Args:
        network_g: section of that name; its `type` is registered.

    Raises:
        Exception: of any type, where the class refuses a value.
    """
    import torch
    from basicsr.utils.registry import ARCH_REGISTRY

    # Not by BasicSR's build_network, which would open BasicSR's log before the run names its file.
    arguments = copy.deepcopy(network_g)
    network_class = ARCH_REGISTRY.get(arguments.pop("type"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about their own code
        try:
            with torch.device("meta"):
                return network_class(**copy.deepcopy(arguments))
        except Exception:  # SwinIR, HAT and GlobalSkip look into tensors, which are empty there
            return network_class(**arguments)


def _build(classes: Mapping[str, Any], first: object, settings: dict[str, Any]) -> object:
    arguments = dict(settings)
    return classes[arguments.pop("type")](first, **arguments)


def _reason(error: Exception) -> str:
    """What an exception says; the type goes before, where the text was not written for users."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def find_unfit_images(opt: dict[str, Any]) -> Iterator[Problem]:
    """Data sets of pairs that cannot be built, and images too few for a batch or too small.

    Images are not decoded: sizes are read from their headers, or from the list of an LMDB.

    Args:
        opt: an option file without the sections in which something is known to be wrong.
    """
    for phase, dataset in section(opt, "datasets").items():
        backend = section(dataset, "io_backend").get("type")
        known = dataset.get("type") in PAIRED and backend in ("disk", "lmdb")
        if not known or "scale" not in opt:
            continue
        try:
            sizes = _gt_sizes(dataset, phase, opt["scale"])
        except Exception as error:  # BasicSR's data set raises many types
            text = f"cannot be used: {_reason(error)}"
            yield Problem(("datasets", phase), text, "repair the files, or name others")
            continue
        if phase == "train":
            yield from _patch_problems(dataset, sizes)
            yield from _batch_problems(dataset, len(sizes), num_gpu(opt))


def _gt_sizes(dataset: dict[str, Any], phase: str, scale: int) -> list[tuple[str, tuple[int, int]]]:
    """Name, height and width in pixels of the HR images of a data set, built as a run does it."""
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
        images = read_meta_info(options["dataroot_gt"])
        return [(key, stored.shape[:2]) for key, stored in images.items()]
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
    # Processes share the images; in one, BasicSR multiplies the batch by the number of GPUs.
    processes = int(os.environ.get("WORLD_SIZE", 1))
    batch = (dataset.get("batch_size_per_gpu") or 0) * (max(gpus, 1) if processes == 1 else 1)
    share = math.ceil(images * dataset.get("dataset_enlarge_ratio", 1)) // processes
    if batch > share:
        text = (
            f"makes a batch of {batch}, but an epoch has only {share} images for each of "
            f"{processes} processes"
        )
        key = ("datasets", "train", "batch_size_per_gpu")
        yield Problem(key, text, "lower it, or raise dataset_enlarge_ratio")


def find_unfit_weights(opt: dict[str, Any]) -> Iterator[Problem]:
    """Networks to start from that are damaged, no checkpoints of BasicSR, or not of `network_g`."""
    from basicsr_m2trans.checkpoints.weights import read_checkpoint

    paths = section(opt, "path")
    if paths.get("resume_state"):
        return
    for key, value in paths.items():
        if not key.startswith("pretrain_network") or not isinstance(value, str):
            continue
        path, remedy = Path(value).expanduser(), "name a file of experiments/NAME/models"
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            yield Problem(("path", key), f"cannot be used: {error}", remedy)
            continue
        entries = list(checkpoint) if isinstance(checkpoint, dict) else [type(checkpoint).__name__]
        wanted = paths.get(key.replace("pretrain_network", "param_key"), "params")
        if wanted is not None and wanted not in entries and "params" not in entries:
            if "model_state_dict" in entries:
                remedy = (
                    f"it is a checkpoint of the authors' code: run m2trans convert {value} OUT.pth "
                    "and name OUT.pth"
                )
            yield Problem(("path", key), f"cannot be used: {value} has no entry {wanted!r}", remedy)
        elif key == "pretrain_network_g" and paths.get("strict_load_g", True):
            entry = wanted if wanted in entries else "params"
            weights = checkpoint if wanted is None else checkpoint[entry]
            yield from _misfit_problems(opt, weights, value)


def _misfit_problems(opt: dict[str, Any], weights: Any, source: str) -> Iterator[Problem]:
    """Weights that BasicSR would refuse to load, after it has made the folder of the run."""
    from basicsr_m2trans.checkpoints.weights import as_weights, check_weights

    network = section(opt, "network_g")
    if "type" not in network:
        return
    try:
        named = as_weights(weights, source).items()
        given = {name.removeprefix("module."): value for name, value in named}
        check_weights(given, trial_network(network).state_dict(), source, network["type"])
    except (ImportError, OSError):  # the network cannot be built here: its weights are not known
        return
    except InputError as error:
        remedy = "name a network of the same settings as network_g, or write ~ for random weights"
        yield Problem(("path", "pretrain_network_g"), f"cannot be used: {error}", remedy)
