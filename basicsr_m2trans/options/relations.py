"""What the keys of an option file say about each other."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from basicsr_m2trans.data.patch_degradation import PatchDegradation
from basicsr_m2trans.inference.tiles import check_tile
from basicsr_m2trans.models.training_options import OPTION_KEYS, CheckpointOptions, TrainingOptions
from basicsr_m2trans.options.sections import DESCRIBED_MODELS, MAKES_A_FOLDER, networks
from basicsr_m2trans.options.values import Section, Value
from basicsr_m2trans.utils.errors import InputError, Problem

PAIRED = ("PairedImageTextDataset", "PairedImageDataset")
# Names of folders that tell the scale: LR_bicubic/X2, LR_bicubic_X2.lmdb, and BasicSR's X2_sub.
SCALE_IN_NAME = re.compile(r"(?:^|_)X(\d+)(?:_sub)?(?:\.lmdb)?$")
# Parts of the names of those keys under `path` of which BasicSR's `make_exp_dirs` makes no folder.
NO_FOLDERS = ("strict_load", "pretrain_network", "resume", "param_key")


def section(opt: dict[str, Any], *names: str) -> dict[str, Any]:
    """A section of an option file by the names on the way there; empty where there is none."""
    for name in names:
        value = opt.get(name)
        opt = value if isinstance(value, dict) else {}
    return opt


def find_contradictions(opt: dict[str, Any], mode: str) -> Iterator[Problem]:
    """What does not fit together, or would stop BasicSR after it has made the folder of the run.

    Args:
        opt: an option file of which every value is what the table of keys says; any of them may be
            absent.
        mode: 'train' or 'test'.
    """
    name = opt.get("name")
    if name is not None and (name in ("", "..") or Path(name).name != name):
        remedy = "it becomes a folder, so write one word without slashes"
        yield Problem(("name",), f"is {name!r}", remedy)
    for phase, dataset in section(opt, "datasets").items():
        yield from _dataset_contradictions(opt, phase, dataset, mode)
    for key in section(opt, "path"):
        if not any(part in key for part in NO_FOLDERS):
            yield Problem(("path", key), f"is not a key; {MAKES_A_FOLDER}", "remove it")
    yield from _scale_contradictions(opt)
    yield from _validation_contradictions(opt, mode)
    if mode == "train":
        yield from _schedule_contradictions(section(opt, "train"))
        yield from _logger_contradictions(section(opt, "logger"))
        if opt.get("model_type") in DESCRIBED_MODELS:
            yield from _model_contradictions(opt)


def _scale_contradictions(opt: dict[str, Any]) -> Iterator[Problem]:
    scale, network = opt.get("scale"), section(opt, "network_g")
    if scale is None:
        sets = section(opt, "datasets").items()
        paired = [phase for phase, dataset in sets if dataset.get("type") in PAIRED]
        if paired:
            remedy = f"add it; datasets: {paired[0]} needs it to pair its images"
            yield Problem(("scale",), "is missing", remedy)
        return
    arguments = networks().types.get(network.get("type", ""), Section({}))
    for key in ("upscale", "scale"):
        upscale = network.get(key, arguments.keys.get(key, Value()).default)
        if upscale not in (None, scale):
            text = f"is {upscale}, but scale is {scale}"
            yield Problem(("network_g", key), text, "write the same in both")


def _dataset_contradictions(
    opt: dict[str, Any], phase: str, dataset: dict[str, Any], mode: str
) -> Iterator[Problem]:
    key, scale = ("datasets", phase), opt.get("scale")
    kinds = ("val",) if mode == "train" else ("train", "val", "test")
    if not (mode == "train" and phase == "train") and phase.split("_")[0] not in kinds:
        remedy = f"rename it to {kinds[-1]}, or {kinds[-1]}_1 and so on for several"
        yield Problem(key, f"is not the name of a data set for a {mode} run", remedy)
    told = SCALE_IN_NAME.search(Path(str(dataset.get("dataroot_lq"))).name)
    if scale and told and int(told[1]) != scale:
        text = f"names images of scale {told[1]}, but scale is {scale}"
        remedy = "name the images of the scale, or change scale and network_g"
        yield Problem((*key, "dataroot_lq"), text, remedy)
    if dataset.get("type") == "PairedImageTextDataset":
        flaws = section(dataset, "degradation")
        yield from _refusals(lambda: PatchDegradation(**flaws), *key)
    if phase != "train":
        return
    patch = dataset.get("gt_size")
    if patch and scale and dataset.get("type") in PAIRED and patch % scale:
        remedy = f"write {max(patch // scale, 1) * scale}, say"
        yield Problem((*key, "gt_size"), f"is {patch}, not a multiple of scale {scale}", remedy)
    if dataset.get("prefetch_mode") == "cuda" and not dataset.get("pin_memory"):
        text = "is cuda, which needs pinned memory"
        yield Problem((*key, "prefetch_mode"), text, "add pin_memory: true beside it")


def _validation_contradictions(opt: dict[str, Any], mode: str) -> Iterator[Problem]:
    val, model_type = section(opt, "val"), opt.get("model_type")
    saved = mode == "test" and val.get("save_img") and model_type in DESCRIBED_MODELS
    if saved and "suffix" not in val:
        remedy = "add suffix: ~, which names saved images after the run"
        yield Problem(("val", "suffix"), "is missing", remedy)
    if val.get("tile") is not None:
        if model_type in DESCRIBED_MODELS[1:]:
            yield _meaningless("val", "tile", model_type)
        yield from _refusals(lambda: check_tile(val["tile"]), "val")


def _schedule_contradictions(train: dict[str, Any]) -> Iterator[Problem]:
    scheduler, total = section(train, "scheduler"), train.get("total_iter")
    if "type" not in scheduler:  # an unknown one, of whose other keys nothing is known
        return
    periods = scheduler.get("periods")
    if periods and total and total > sum(periods):
        text = f"{total} goes beyond scheduler: periods {periods}"
        yield Problem(("train", "total_iter"), text, "make their sum as large")
    for key in ("periods", "restarts"):
        counts = [len(scheduler.get(each, [1])) for each in (key, "restart_weights")]
        if key in scheduler and counts[0] != counts[1]:
            text = f"has {counts[0]} entries, but restart_weights has {counts[1]}"
            yield Problem(("train", "scheduler", key), text, "write one weight for each")


def _logger_contradictions(logger: dict[str, Any]) -> Iterator[Problem]:
    if section(logger, "wandb").get("project") and not logger.get("use_tb_logger"):
        text = "is not true, but wandb: project needs TensorBoard"
        yield Problem(("logger", "use_tb_logger"), text, "write true, or project: ~")


def _model_contradictions(opt: dict[str, Any]) -> Iterator[Problem]:
    train = section(opt, "train")
    if opt["model_type"] == "M2TransModel":
        yield from _m2trans_contradictions(opt, train)
    else:
        ours = {"train": (*OPTION_KEYS, "semantic_opt"), "logger": ("keep_last", "keep_best")}
        for name, keys in ours.items():
            given = filter(section(opt, name).get, keys)
            yield from (_meaningless(name, key, opt["model_type"]) for key in given)
    perceptual = opt["model_type"] != "M2TransModel" and train.get("perceptual_opt")
    if not train.get("pixel_opt") and not perceptual:
        remedy = "add a fidelity loss, such as type: L1Loss"
        yield Problem(("train", "pixel_opt"), "is missing", remedy)


def _m2trans_contradictions(opt: dict[str, Any], train: dict[str, Any]) -> Iterator[Problem]:
    if train.get("perceptual_opt"):
        text = "has no effect on M2TransModel"
        yield Problem(("train", "perceptual_opt"), text, "remove it, or use SRModel")
    if section(opt, "network_g").get("type") == "SwinIR":
        text = "is SwinIR, which takes nothing but multiples of its window"
        yield Problem(("network_g", "type"), text, "write PaddedSwinIR; the weights are the same")
    dataset = section(opt, "datasets", "train")
    texts = any(map(dataset.get, ("captions", "default_caption")))
    if train.get("semantic_opt") and dataset.get("type") == "PairedImageTextDataset" and not texts:
        text = "needs captions, which datasets: train does not give"
        remedy = "add captions or default_caption to datasets: train, or write semantic_opt: ~"
        yield Problem(("train", "semantic_opt"), text, remedy)
    validated = any(phase.startswith("val") for phase in section(opt, "datasets"))
    if section(opt, "logger").get("keep_best") and not validated:
        remedy = "add datasets: val, or write false"
        yield Problem(("logger", "keep_best"), "needs images to compare networks on", remedy)
    yield from _refusals(lambda: CheckpointOptions.from_options(opt))
    batch = dataset.get("batch_size_per_gpu")
    yield from _refusals(lambda: TrainingOptions.from_section(train).part_size(batch or 0))


def _refusals(use: Callable[[], object], *key: str) -> Iterator[Problem]:
    """What a class or a function refuses, with the path of the section that holds the values."""
    try:
        use()
    except InputError as error:
        found = error.problems or [Problem((), str(error), "change that value")]
        yield from (replace(each, key=(*key, *each.key)) for each in found)


def _meaningless(name: str, key: str, model_type: str) -> Problem:
    return Problem((name, key), f"has no effect on {model_type}", "write model_type: M2TransModel")
