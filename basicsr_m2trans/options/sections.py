"""The table of keys: every section of an option file of BasicSR 1.4.2 and of this plugin.

Networks, losses, metrics, optimizers, schedulers, encoders and the options of the training loop
take their keys from the signatures of the classes and functions that option files name.
"""

import functools
import importlib
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any

from basicsr_m2trans.archs.global_skip_arch import NOT_WRAPPED
from basicsr_m2trans.data.patch_degradation import PatchDegradation
from basicsr_m2trans.models.training_options import CheckpointOptions, TrainingOptions
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
# NumPy's seeds end at 2**32 - 1; BasicSR adds the numbers of the process and of its loader.
SEED = Value((int, NoneType), minimum=0, maximum=2**32 - 2**16)
REQUIRED_TEXT = Value((str,), required=True)
NUMBERS = Value((list,), items=Value((float,)))
REQUIRED_NUMBERS = Value((list,), required=True, items=Value((float,)))

# What becomes of an unknown key under `path`.
MAKES_A_FOLDER = "BasicSR would make a folder of its value"

# What is known of arguments beyond their signatures.
REDUCTION = {"reduction": Value((str,), choices=("none", "mean", "sum"))}
STEPS = {"milestones": REQUIRED_NUMBERS, "restarts": NUMBERS, "restart_weights": NUMBERS}
KNOWN_ARGUMENTS: dict[str, dict[str, Value]] = {
    "Adam": {"lr": Value((float,), required=True, minimum=0)},
    "CosineAnnealingRestartLR": {"periods": REQUIRED_NUMBERS, "restart_weights": NUMBERS},
    "MultiStepLR": STEPS,
    "MultiStepRestartLR": STEPS,
    "MedCLIPEncoder": {"checkpoint": REQUIRED_TEXT},
    "L1Loss": REDUCTION,
    "MSELoss": REDUCTION,
    "CharbonnierLoss": REDUCTION,
}


def _section(content: Section | TypedSection, required: bool = False) -> Value:
    return Value((dict,), required=required, section=content)


# The keys that each data set reads by itself; data sets take their options as one argument, so no
# signature has them.
DISK_OR_LMDB = Value((str,), required=True, choices=("disk", "lmdb"))
PAIRS = {
    "dataroot_gt": REQUIRED_TEXT,
    "dataroot_lq": REQUIRED_TEXT,
    "meta_info_file": TEXT,
    "filename_tmpl": TEXT,
}
DATA_SETS = {
    "PairedImageTextDataset": PAIRS
    | {
        "io_backend": _section(Section({"type": DISK_OR_LMDB}), required=True),
        "captions": TEXT,
        "default_caption": TEXT,
        "seed": Value((int, NoneType), minimum=0),
        "degradation": Value((dict, NoneType), section=from_signature(PatchDegradation)),
    },
    "PairedImageDataset": PAIRS
    | {
        "io_backend": _section(Section({"type": REQUIRED_TEXT}, others=ANYTHING), required=True),
        "mean": Value((list, NoneType)),
        "std": Value((list, NoneType)),
        "color": TEXT,
    },
}


PATH = {
    "pretrain_network_g": TEXT,
    "param_key_g": TEXT,
    "strict_load_g": FLAG,
    "resume_state": TEXT,
    "ignore_resume_networks": Value((str, list, NoneType)),
}


def option_file(mode: str, model_type: Any = DESCRIBED_MODELS[0]) -> Value:
    """What an option file holds.

    Args:
        mode: 'train' or 'test'; it decides which keys are required.
        model_type: the file's `model_type`; sections of models that are not among
            `DESCRIBED_MODELS` may have keys of any name.
    """
    training, described = mode == "train", model_type in DESCRIBED_MODELS
    others = None if described else ANYTHING
    train_set = {"train": _section(_data_sets(training), required=training)}
    datasets = Section(train_set, others=_section(_data_sets(False), required=True))
    optimizers = _typed("optimizer", optimizer_classes(), ("params",))
    schedulers = _typed("scheduler", scheduler_classes(), ("optimizer", "last_epoch"))
    train = {
        "optim_g": _section(optimizers, required=described),
        "scheduler": _section(schedulers, required=described),
        "total_iter": ITERATIONS,
        "warmup_iter": Value((float,), minimum=-1),
        "ema_decay": Value((float,), minimum=0, maximum=1),
        "pixel_opt": _section(_losses()),
        "perceptual_opt": _section(_losses()),
        "semantic_opt": _section(_losses()),
    }
    val = {
        "val_freq": ITERATIONS if training else Value((float,)),
        "save_img": Value((bool,), required=True),
        "suffix": TEXT,
        "pbar": FLAG,
        "metrics": _section(Section({}, others=_section(_metrics(), required=True))),
        "tile": Value((int, NoneType)),
    }
    logger = {
        "print_freq": ITERATIONS,
        "save_checkpoint_freq": ITERATIONS,
        "use_tb_logger": Value((bool, NoneType), required=True),
        "wandb": _section(Section({"project": TEXT, "resume_id": TEXT})),
    }
    train |= _nullable(from_signature(TrainingOptions))
    logger |= _nullable(from_signature(CheckpointOptions, given=("metrics",)))
    keys = {
        "name": REQUIRED_TEXT,
        "model_type": Value((str,), required=True, choices=tuple(_registered("MODEL"))),
        "scale": COUNT,
        "num_gpu": Value((int, str), required=True, choices=("auto",), minimum=0),
        "manual_seed": SEED,
        "datasets": _section(datasets, required=True),
        "network_g": _section(networks(), required=described),
        "path": _section(Section(PATH, others, MAKES_A_FOLDER), required=True),
        "train": _section(Section(train, others), required=training),
        "val": _section(Section(val, others), required=not training),
        "logger": _section(Section(logger), required=training),
        "find_unused_parameters": FLAG,
        "dist_params": _section(Section({}, others=ANYTHING)),
    }
    return _section(Section(keys, others), required=True)


def _registered(registry: str) -> dict[str, Any]:
    """The classes or functions of one of BasicSR's registries by all names that it finds them by.

    Names may leave out the suffix `_basicsr`.
    """
    register()
    from basicsr.utils import registry as registries

    entries = dict(iter(getattr(registries, f"{registry}_REGISTRY")))
    return {name.removesuffix("_basicsr"): each for name, each in entries.items()} | entries


def _typed(
    name: str,
    classes: Mapping[str, Any],
    given: Iterable[str] = (),
    known: Mapping[str, Any] = KNOWN_ARGUMENTS,
    refused: Mapping[str, str] = {},
) -> TypedSection:
    """The section of a class with its arguments, but for those that the caller gives."""
    sections = {
        key: from_signature(each, given, known.get(key, {})) for key, each in classes.items()
    }
    return TypedSection(name, sections, refused)


@functools.cache
def networks() -> TypedSection:
    """Every registered network with its arguments."""
    classes = _registered("ARCH")
    # GlobalSkip gives its own scale to what it wraps.
    fitting = {
        name: each
        for name, each in classes.items()
        if name.removesuffix("_basicsr") not in NOT_WRAPPED
        and "upscale" in from_signature(each).keys
    }
    wrapped = _typed("network for GlobalSkip", fitting, ("upscale",), refused=NOT_WRAPPED)
    return _typed(
        "network", classes, known={"GlobalSkip": {"network": _section(wrapped, required=True)}}
    )


@functools.cache
def _losses() -> TypedSection:
    from basicsr_m2trans.encoders import ENCODERS

    encoders = {
        name: getattr(importlib.import_module(module), name) for name, module in ENCODERS.items()
    }
    semantic = {
        "encoder": Value((str, dict), required=True, section=_typed("encoder", encoders)),
        "num_patches": COUNT,
        "patch_size": COUNT,
        "reduction": Value((str,), choices=("sum", "mean")),
    }
    known = KNOWN_ARGUMENTS | {"ImageTextSemanticLoss": semantic}
    return _typed("loss", _registered("LOSS"), known=known)


@functools.cache
def _metrics() -> TypedSection:
    metrics = _registered("METRIC")
    better = {"better": Value((str,), choices=("higher", "lower"))}
    return _typed("metric", metrics, ("img", "img2"), dict.fromkeys(metrics, better))


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


def _data_sets(training: bool) -> TypedSection:
    """Every registered data set; `training` requires what only a training set needs."""
    loader = {
        "name": REQUIRED_TEXT,
        "num_worker_per_gpu": Value((int,), required=training, minimum=0),
        "batch_size_per_gpu": Value((int,), required=training, minimum=1),
        "dataset_enlarge_ratio": Value((float,), minimum=0),
        "persistent_workers": FLAG,
        "pin_memory": FLAG,
        "prefetch_mode": Value((str, NoneType), choices=("cpu", "cuda")),
        "num_prefetch_queue": COUNT,
        "use_shuffle": FLAG,  # in many of BasicSR's own files, though nothing reads it
    }
    patches = {
        "gt_size": Value((int,), required=training, minimum=1),
        "use_hflip": Value((bool,), required=training),
        "use_rot": Value((bool,), required=training),
    }
    sections = {name: Section(loader, others=ANYTHING) for name in _registered("DATASET")}
    described = {name: Section(loader | patches | keys) for name, keys in DATA_SETS.items()}
    return TypedSection("training data set" if training else "data set", sections | described)


def _nullable(section: Section) -> dict[str, Value]:
    """Keys of which `~` stands for the default."""
    return {
        key: Value(tuple(dict.fromkeys((*each.kinds, NoneType))))
        for key, each in section.keys.items()
    }
