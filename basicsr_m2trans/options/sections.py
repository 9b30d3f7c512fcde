"""The table of keys: every section of an option file of BasicSR 1.4.2 and of this plugin.

Networks, losses, metrics, optimizers, schedulers, encoders and the options of the training loop
take their keys from the signatures of the classes and functions that option files name.
"""

import functools
import importlib
from collections.abc import Mapping
from types import NoneType
from typing import Any

from basicsr_m2trans.archs.global_skip_arch import NOT_WRAPPED
from basicsr_m2trans.data.patch_degradation import PatchDegradation
from basicsr_m2trans.options.signatures import from_signature
from basicsr_m2trans.options.values import Section, TypedSection, Value
from basicsr_m2trans.registration import register

# Models whose keys are all in the table. BasicSR's other models have more, which are let pass.
DESCRIBED_MODELS = ("M2TransModel", "SRModel", "SwinIRModel")

ANYTHING = Value()
FLAG = Value((bool, NoneType))
TEXT = Value((str, NoneType))
ITERATIONS = Value((float,), required=True, minimum=1, whole=True)
COUNT = Value((int,), minimum=1)
# NumPy's seeds end at 2**32 - 1; BasicSR adds the numbers of the process and of its loader to this
# one.
SEED = Value((int, NoneType), minimum=0, maximum=2**32 - 2**16)
REQUIRED_TEXT = Value((str,), required=True)
REQUIRED_NUMBERS = Value((list,), required=True, items=Value((float,)))
NUMBERS = Value((list,), items=Value((float,)))

# What becomes of an unknown key under `path`.
MAKES_A_FOLDER = "BasicSR would make a folder of its value"

# What is known of arguments beyond their signatures.
REDUCTION = {"reduction": Value((str,), choices=("none", "mean", "sum"))}
KNOWN_ARGUMENTS: dict[str, dict[str, Value]] = {
    "Adam": {"lr": Value((float,), required=True, minimum=0)},
    "CosineAnnealingRestartLR": {"periods": REQUIRED_NUMBERS, "restart_weights": NUMBERS},
    "MultiStepLR": {
        "milestones": REQUIRED_NUMBERS,
        "restarts": NUMBERS,
        "restart_weights": NUMBERS,
    },
    "MultiStepRestartLR": {
        "milestones": REQUIRED_NUMBERS,
        "restarts": NUMBERS,
        "restart_weights": NUMBERS,
    },
    "MedCLIPEncoder": {"checkpoint": REQUIRED_TEXT},
    "L1Loss": REDUCTION,
    "MSELoss": REDUCTION,
    "CharbonnierLoss": REDUCTION,
}

DISK_OR_LMDB = Value((str,), required=True, choices=("disk", "lmdb"))
PAIRS = {
    "dataroot_gt": REQUIRED_TEXT,
    "dataroot_lq": REQUIRED_TEXT,
    "meta_info_file": TEXT,
    "filename_tmpl": TEXT,
}
# The keys that each data set reads by itself; data sets take their options as one argument, so no
# signature has them.
DATA_SETS = {
    "PairedImageTextDataset": PAIRS
    | {
        "io_backend": Value((dict,), required=True, section=Section({"type": DISK_OR_LMDB})),
        "captions": TEXT,
        "default_caption": TEXT,
        "seed": Value((int, NoneType), minimum=0),
        "degradation": Value((dict, NoneType), section=from_signature(PatchDegradation)),
    },
    "PairedImageDataset": PAIRS
    | {
        "io_backend": Value(
            (dict,), required=True, section=Section({"type": REQUIRED_TEXT}, others=ANYTHING)
        ),
        "mean": Value((list, NoneType)),
        "std": Value((list, NoneType)),
        "color": TEXT,
    },
}


def option_file(mode: str, model_type: Any = DESCRIBED_MODELS[0]) -> Value:
    """What an option file holds.

    Args:
        mode: 'train' or 'test'; it decides which keys are required.
        model_type: the file's `model_type`; sections of models that are not among
            `DESCRIBED_MODELS` may have keys of any name.
    """
    register()
    from basicsr.utils.registry import MODEL_REGISTRY

    training = mode == "train"
    others = None if model_type in DESCRIBED_MODELS else ANYTHING
    keys = {
        "name": REQUIRED_TEXT,
        "model_type": Value((str,), required=True, choices=tuple(_registered(MODEL_REGISTRY))),
        "scale": Value((int,), minimum=1),
        "num_gpu": Value((int, str), required=True, choices=("auto",), minimum=0),
        "manual_seed": SEED,
        "datasets": Value((dict,), required=True, section=_datasets(training)),
        "network_g": Value((dict,), required=others is None, section=networks()),
        "path": Value((dict,), required=True, section=_path(others)),
        "train": Value((dict,), required=training, section=_train(others)),
        "val": Value((dict,), required=not training, section=_val(training, others)),
        "logger": Value((dict,), required=training, section=_logger()),
        "find_unused_parameters": FLAG,
        "dist_params": Value((dict,), section=Section({}, others=ANYTHING)),
    }
    return Value((dict,), required=True, section=Section(keys, others))


def _registered(registry: Any) -> dict[str, Any]:
    """Classes and functions by the names that BasicSR finds them under, which may leave out the
    suffix `_basicsr`.
    """
    return {name.removesuffix("_basicsr"): obj for name, obj in registry} | dict(iter(registry))


@functools.cache
def networks() -> TypedSection:
    """Every registered network with its arguments."""
    from basicsr.utils.registry import ARCH_REGISTRY

    classes = _registered(ARCH_REGISTRY)
    # GlobalSkip gives its own scale to what it wraps.
    fitting = {
        name: obj
        for name, obj in classes.items()
        if name.removesuffix("_basicsr") not in NOT_WRAPPED
        and "upscale" in from_signature(obj).keys
    }
    wrapped = _with_arguments("network for GlobalSkip", fitting, ("upscale",), refused=NOT_WRAPPED)
    known = {"GlobalSkip": {"network": Value((dict,), required=True, section=wrapped)}}
    return _with_arguments("network", classes, known=known)


@functools.cache
def _losses() -> TypedSection:
    from basicsr.utils.registry import LOSS_REGISTRY

    encoder = Value((str, dict), required=True, section=_encoders())
    semantic = {
        "encoder": encoder,
        "num_patches": COUNT,
        "patch_size": COUNT,
        "reduction": Value((str,), choices=("sum", "mean")),
    }
    known = KNOWN_ARGUMENTS | {"ImageTextSemanticLoss": semantic}
    return _with_arguments("loss", _registered(LOSS_REGISTRY), known=known)


@functools.cache
def _encoders() -> TypedSection:
    from basicsr_m2trans.encoders import ENCODERS

    classes = {
        name: getattr(importlib.import_module(module), name) for name, module in ENCODERS.items()
    }
    return _with_arguments("encoder", classes)


def _with_arguments(
    name: str,
    classes: Mapping[str, Any],
    given: tuple[str, ...] = (),
    known: Mapping[str, Any] = KNOWN_ARGUMENTS,
    refused: Mapping[str, str] = {},
) -> TypedSection:
    sections = {key: from_signature(obj, given, known.get(key, {})) for key, obj in classes.items()}
    return TypedSection(name, sections, refused)


@functools.cache
def _metrics() -> TypedSection:
    from basicsr.utils.registry import METRIC_REGISTRY

    better = {"better": Value((str,), choices=("higher", "lower"))}
    known = dict.fromkeys(_registered(METRIC_REGISTRY), better)
    return _with_arguments("metric", _registered(METRIC_REGISTRY), ("img", "img2"), known)


def optimizer_classes() -> dict[str, Any]:
    """The optimizers that BasicSR knows."""
    import torch

    return {"Adam": torch.optim.Adam}


def scheduler_classes() -> dict[str, Any]:
    """The schedulers of the learning rate that BasicSR knows."""
    from basicsr.models import lr_scheduler

    return {
        "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
        "MultiStepLR": lr_scheduler.MultiStepRestartLR,
        "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
    }


@functools.cache
def _optimizers() -> TypedSection:
    return _with_arguments("optimizer", optimizer_classes(), ("params",))


@functools.cache
def _schedulers() -> TypedSection:
    return _with_arguments("scheduler", scheduler_classes(), ("optimizer", "last_epoch"))


def _datasets(training: bool) -> Section:
    keys = {"train": Value((dict,), required=training, section=_dataset(training))}
    return Section(keys, others=Value((dict,), required=True, section=_dataset(False)))


def _dataset(training: bool) -> TypedSection:
    """Every registered data set; `training` requires what only a training set needs."""
    from basicsr.utils.registry import DATASET_REGISTRY

    loader = {
        "name": REQUIRED_TEXT,
        "num_worker_per_gpu": Value((int,), required=training, minimum=0),
        "batch_size_per_gpu": Value((int,), required=training, minimum=1),
        "dataset_enlarge_ratio": Value((float,), minimum=0),
        "persistent_workers": FLAG,
        "pin_memory": FLAG,
        "prefetch_mode": Value((str, NoneType), choices=("cpu", "cuda")),
        "num_prefetch_queue": Value((int,), minimum=1),
        "use_shuffle": FLAG,  # in many of BasicSR's own files, though nothing reads it
    }
    patches = {
        "gt_size": Value((int,), required=training, minimum=1),
        "use_hflip": Value((bool,), required=training),
        "use_rot": Value((bool,), required=training),
    }
    sections = {name: Section(loader, others=ANYTHING) for name in _registered(DATASET_REGISTRY)}
    described = {name: Section(loader | patches | keys) for name, keys in DATA_SETS.items()}
    return TypedSection("training data set" if training else "data set", sections | described)


def _path(others: Value | None) -> Section:
    keys = {
        "pretrain_network_g": TEXT,
        "param_key_g": TEXT,
        "strict_load_g": FLAG,
        "resume_state": TEXT,
        "ignore_resume_networks": Value((str, list, NoneType)),
    }
    return Section(keys, others, unknown=MAKES_A_FOLDER)


def _train(others: Value | None) -> Section:
    from basicsr_m2trans.models.training_options import TrainingOptions

    described = others is None
    keys = {
        "optim_g": Value((dict,), required=described, section=_optimizers()),
        "scheduler": Value((dict,), required=described, section=_schedulers()),
        "total_iter": ITERATIONS,
        "warmup_iter": Value((float,), minimum=-1),
        "ema_decay": Value((float,), minimum=0, maximum=1),
        "pixel_opt": Value((dict,), section=_losses()),
        "perceptual_opt": Value((dict,), section=_losses()),
        "semantic_opt": Value((dict,), section=_losses()),
    }
    return Section(keys | _nullable(from_signature(TrainingOptions)), others)


def _val(training: bool, others: Value | None) -> Section:
    keys = {
        "val_freq": ITERATIONS if training else Value((float,)),
        "save_img": Value((bool,), required=True),
        "suffix": TEXT,
        "pbar": FLAG,
        "metrics": Value(
            (dict,), section=Section({}, others=Value((dict,), required=True, section=_metrics()))
        ),
        "tile": Value((int, NoneType)),
    }
    return Section(keys, others)


def _logger() -> Section:
    from basicsr_m2trans.models.training_options import CheckpointOptions

    wandb = Section({"project": TEXT, "resume_id": TEXT})
    keys = {
        "print_freq": ITERATIONS,
        "save_checkpoint_freq": ITERATIONS,
        "use_tb_logger": Value((bool, NoneType), required=True),
        "wandb": Value((dict,), section=wandb),
    }
    return Section(keys | _nullable(from_signature(CheckpointOptions, given=("metrics",))))


def _nullable(section: Section) -> dict[str, Value]:
    """Keys of which `~` stands for the default."""
    return {
        key: Value(tuple(dict.fromkeys((*value.kinds, NoneType))))
        for key, value in section.keys.items()
    }
