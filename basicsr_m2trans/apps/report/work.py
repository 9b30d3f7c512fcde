"""What a comparison consists of, found and checked before any training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from basicsr_m2trans.apps.report.complexity import Complexity, complexity
from basicsr_m2trans.apps.report.methods import base_files, refuse
from basicsr_m2trans.apps.report.settings import BICUBIC, Run, Settings, plan_runs
from basicsr_m2trans.apps.report.training import Trained
from basicsr_m2trans.checkpoints.networks import trained_network
from basicsr_m2trans.evaluation.prepared_set import build_set, image_names
from basicsr_m2trans.evaluation.set_folders import is_prepared, no_images
from basicsr_m2trans.inference.tiles import Tiled
from basicsr_m2trans.options.checks import missing_files
from basicsr_m2trans.utils.device import default_device
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.yaml_file import OptionFile


@dataclass(frozen=True)
class Work:
    """One comparison in its folder.

    Attributes:
        settings: what is compared.
        out: the folder.
        runs: all trainings, in their order, and bicubic interpolation.
        bases: the options of each method and scale (`M2Trans_x2`), before budget and seed.
        missing: texts about data and files that are not there, with what to do.
        panels: test set and image of each figure of details; none where something is missing.
        counts: size and work of each method's network at each scale.
    """

    settings: Settings
    out: Path
    runs: list[Run]
    bases: dict[str, dict[str, Any]]
    missing: list[str]
    panels: list[tuple[str, str]]
    counts: dict[tuple[str, int], Complexity]

    def length(self, run: Run) -> int | None:
        """Iterations of a training; None where the time decides."""
        return self.settings.methods[run.method].lengths.get(run.scale)

    def scores_file(self, run: Run, test: str) -> Path:
        """Where the values of a run's images of a test set are kept."""
        return self.out / "results" / run.name / f"{test}.csv"

    def load(self, run: Run, trained: Mapping[str, Trained]) -> nn.Module:
        """The network of a finished run, of those that are trained."""
        network_g = _network(self.bases, run)
        checkpoint = None if run.seed is None else self.out / trained[run.name].checkpoint
        network = trained_network(network_g, checkpoint).to(default_device())
        if run.seed is None:
            return network
        tile = self.bases[run.setting]["val"].get("tile")
        return Tiled(network, run.scale, tile) if tile else network


def find_work(settings: Settings, out: Path) -> Work:
    """Check what can be wrong with a comparison's options and files; `out` is its folder.

    Raises:
        InputError: an option, a file or an image set cannot be used.
    """
    runs = plan_runs(settings.methods.values(), settings.scales)
    files = base_files(settings, runs)
    bases = {setting: file.opt for setting, file in files.items()}
    missing = _missing_sets(settings)
    missing += _missing_files(bases, data=not missing)
    if not missing:
        _check_files(settings, files)
    panels = [] if missing else _panels(settings)
    return Work(settings, out.resolve(), runs, bases, missing, panels, _counts(bases, runs))


def _missing_sets(settings: Settings) -> list[str]:
    """A line for each data set that is not there, or not at all scales."""
    data = settings.data
    absent = {
        folder: [scale for scale in settings.scales if not is_prepared(folder, scale)]
        for folder in (data / "train", data / "val", *settings.tests.values())
    }
    return [no_images(folder, scales) for folder, scales in absent.items() if scales]


def _missing_files(bases: Mapping[str, dict[str, Any]], data: bool) -> list[str]:
    """A text for each file that option files name and that is not there, with or without data."""
    texts: dict[str, list[str]] = {}
    for setting, base in bases.items():
        for text in missing_files(base if data else base | {"datasets": {}}):
            texts.setdefault(text, []).append(setting)
    return [
        f"files that {', '.join(names)} {'need' if names[1:] else 'needs'} are missing\n{text}"
        for text, names in texts.items()
    ]


def _check_files(settings: Settings, files: Mapping[str, OptionFile]) -> None:
    """Look into all files, which are there."""
    from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset
    from basicsr_m2trans.options.building import find_unfit_weights

    refuse({name: file.placed(list(find_unfit_weights(file.opt))) for name, file in files.items()})
    for file in files.values():
        train = file.opt["datasets"]["train"]
        if train["type"] == "PairedImageTextDataset":
            PairedImageTextDataset(train | {"phase": "train", "scale": file.opt["scale"]})
    for scale in settings.scales:
        for folder in settings.tests.values():
            build_set(folder, scale)


def _panels(settings: Settings) -> list[tuple[str, str]]:
    """Test set and image of each figure of details."""
    scale = settings.scales[0]
    names = {test: image_names(folder, scale) for test, folder in settings.tests.items()}
    if not settings.panels:
        return [(test, images[len(images) // 2]) for test, images in names.items()]
    panels = []
    for entry in settings.panels:
        test, _, image = entry.partition("/")
        if image not in names.get(test, ()):
            place, known = settings.panels_place, ", ".join(names)
            raise InputError(f"{place}: write TEST/IMAGE, not {entry}; test sets: {known}")
        panels.append((test, image))
    return panels


def _counts(
    bases: Mapping[str, dict[str, Any]], runs: list[Run]
) -> dict[tuple[str, int], Complexity]:
    """Size and work by method and scale; equal networks of several methods are counted once."""
    networks = {(run.method, run.scale): json.dumps(_network(bases, run)) for run in runs}
    counts = {text: complexity(json.loads(text)) for text in dict.fromkeys(networks.values())}
    return {key: counts[text] for key, text in networks.items()}


def _network(bases: Mapping[str, dict[str, Any]], run: Run) -> dict[str, Any]:
    if run.seed is None:
        return {"type": BICUBIC, "upscale": run.scale}
    return bases[run.setting]["network_g"]
