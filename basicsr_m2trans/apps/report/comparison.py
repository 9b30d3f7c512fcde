"""A comparison of methods: every run trained, measured, and put into tables and figures; it may
stop at any point.
"""

import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from basicsr_m2trans.apps.report.comparison_state import ComparisonState, held
from basicsr_m2trans.apps.report.complexity import Complexity, complexity
from basicsr_m2trans.apps.report.methods import base_files, refuse, run_options
from basicsr_m2trans.apps.report.results import write_results
from basicsr_m2trans.apps.report.settings import BICUBIC, Run, Settings, plan_runs
from basicsr_m2trans.apps.report.training import PROBE_ITERATIONS, Trainer
from basicsr_m2trans.apps.report.training_log import TrainingLog, read_training_log
from basicsr_m2trans.evaluation.prepared_set import (
    build_set,
    evaluate,
    image_names,
    load_network,
    set_digest,
)
from basicsr_m2trans.evaluation.set_folders import is_prepared, no_images
from basicsr_m2trans.inference.tiles import Tiled
from basicsr_m2trans.options.checks import missing_files
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.yaml_file import OptionFile


class Comparison:
    """One comparison in its folder `out`.

    What can be wrong with options and files is checked here, before any training.

    Attributes:
        settings: what is compared.
        out: the folder.
        runs: all trainings, in their order, and bicubic interpolation.
        bases: the options of each method and scale (`M2Trans_x2`), before budget and seed.
        missing: texts about data and files that are not there, with what to do; `run` refuses them.
        panels: test set and image of each figure of details.
        counts: size and work of each method's network at each scale.

    Args:
        settings: what to compare.
        out: folder for all that the comparison writes; an earlier one is continued.

    Raises:
        InputError: an option, a file or an image set cannot be used.
    """

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings = settings
        self.out = out.resolve()
        self.runs = plan_runs(settings.methods.values(), settings.scales)
        files = base_files(settings, self.runs)
        self.bases = {setting: file.opt for setting, file in files.items()}
        self.missing = self._missing_sets()
        self.missing += self._missing_files()
        if not self.missing:
            self._check_files(files)
        self.panels = [] if self.missing else self._panels()
        self.counts = self._counts()

    def _missing_sets(self) -> list[str]:
        """A line for each data set that is not there, or not at all scales."""
        data, scales = self.settings.data, self.settings.scales
        folders = dict.fromkeys([data / "train", data / "val", *self.settings.tests.values()])
        missing = {
            folder: [scale for scale in scales if not is_prepared(folder, scale)]
            for folder in folders
        }
        return [no_images(folder, absent) for folder, absent in missing.items() if absent]

    def _missing_files(self) -> list[str]:
        """A text for each other file that an option file names and that is not there."""
        texts: dict[str, list[str]] = {}
        for setting, base in self.bases.items():
            for text in missing_files(base | {"datasets": {}} if self.missing else base):
                texts.setdefault(text, []).append(setting)
        return [
            f"files that {', '.join(settings)} {'need' if settings[1:] else 'needs'} are "
            f"missing\n{text}"
            for text, settings in texts.items()
        ]

    def _check_files(self, files: Mapping[str, OptionFile]) -> None:
        from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset
        from basicsr_m2trans.options.building import find_unfit_weights

        refuse(
            {
                setting: file.placed(list(find_unfit_weights(file.opt)))
                for setting, file in files.items()
            }
        )
        for base in self.bases.values():
            if base["datasets"]["train"]["type"] == "PairedImageTextDataset":
                PairedImageTextDataset(
                    base["datasets"]["train"] | {"phase": "train", "scale": base["scale"]}
                )
        for scale in self.settings.scales:
            for folder in self.settings.tests.values():
                build_set(folder, scale)

    def _panels(self) -> list[tuple[str, str]]:
        """Test set and image of each figure of details."""
        scale = self.settings.scales[0]
        names = {test: image_names(folder, scale) for test, folder in self.settings.tests.items()}
        if not self.settings.panels:
            return [(test, images[len(images) // 2]) for test, images in names.items()]
        panels = []
        for entry in self.settings.panels:
            test, _, image = entry.partition("/")
            if image not in names.get(test, ()):
                place = self.settings.panels_place
                raise InputError(
                    f"{place}: write TEST/IMAGE, not {entry}; test sets: {', '.join(names)}"
                )
            panels.append((test, image))
        return panels

    def _counts(self) -> dict[tuple[str, int], Complexity]:
        """Size and work by method and scale; networks that several methods have are
        counted once.
        """
        networks = {(run.method, run.scale): json.dumps(self.network(run)) for run in self.runs}
        counts = {text: complexity(json.loads(text)) for text in dict.fromkeys(networks.values())}
        return {key: counts[text] for key, text in networks.items()}

    def network(self, run: Run) -> dict[str, Any]:
        """The section `network_g` of a run."""
        return (
            {"type": BICUBIC, "upscale": run.scale}
            if run.seed is None
            else self.bases[run.setting]["network_g"]
        )

    def length(self, run: Run) -> int | None:
        """Iterations of a training; None where the time decides."""
        return self.settings.methods[run.method].lengths.get(run.scale)

    def open_state(self, keep: bool = True) -> ComparisonState:
        """What is finished in the folder.

        Args:
            keep: write the settings to it.

        Raises:
            InputError: the folder holds a comparison with other settings.
        """
        settings = self.settings
        return ComparisonState(
            self.out,
            {
                "data": str(settings.data.resolve()),
                "minutes": settings.minutes,
                "validations": settings.validations,
                "tests": {
                    f"{name} x{scale}": f"{folder.resolve()}, {set_digest(folder, scale)}"
                    for name, folder in settings.tests.items()
                    for scale in settings.scales
                    if is_prepared(folder, scale)
                },
                "options": self.bases,
                "lengths": {
                    f"iterations of {run.setting}": self.length(run)
                    for run in self.runs
                    if run.seed is not None
                },
            },
            keep,
        )

    def run(self) -> list[str]:
        """Train and measure what is still to do, then write tables and figures of all that is
        there.

        Returns:
            One message for each run that failed; the others are complete.

        Raises:
            InputError: data or files are missing, the folder holds something else or a comparison
                with other settings, or another process works in it.
        """
        if self.missing:
            raise InputError("\n".join(self.missing))
        failures = []
        with held(self.out) as lock:
            self.state = self.open_state()
            trainer = Trainer(self.out, [lock])
            for number, run in enumerate(self.runs, start=1):
                title = f"[{number}/{len(self.runs)}] {run.name}"
                log = self.out / "logs" / f"{run.name}_error.txt"
                try:
                    if run.seed is not None and run.name not in self.state.trained:
                        self._train(run, trainer, title)
                    self._measure(run, title)
                except Exception as error:  # one method's failure must not cost the others
                    log.parent.mkdir(parents=True, exist_ok=True)
                    write_atomic(log, traceback.format_exc().encode())
                    failures.append(f"{run.name}: {error} (details in {log})")
                    print(f"{title} failed: {error}", flush=True)
                else:
                    log.unlink(missing_ok=True)
            write_results(self)
        return failures

    def _train(self, run: Run, trainer: Trainer, title: str) -> None:
        settings, base = self.settings, self.bases[run.setting]
        seconds = None if settings.minutes is None else settings.minutes * 60
        if run.setting not in self.state.iterations:
            length = self.length(run)
            limits = [] if length is None else [length]
            if seconds is not None:
                print(f"{title}: measuring its speed", flush=True)
                limits.append(
                    max(
                        1, int(seconds / trainer.probe(run_options(base, run, PROBE_ITERATIONS, 0)))
                    )
                )
            self.state.iterations[run.setting] = min(limits)
            self.state.save()
        opt = run_options(base, run, self.state.iterations[run.setting], settings.validations)
        with _progress(title, opt["train"]["total_iter"], "it") as bar:

            def report(log: TrainingLog) -> None:
                if log.validations:
                    bar.set_postfix_str(
                        f"PSNR {list(log.validations.values())[-1].get('psnr', 0):.2f}",
                        refresh=False,
                    )
                bar.update(log.iteration - bar.n)

            before = read_training_log(self.out / "experiments" / run.name, bar.total)
            bar.initial = bar.n = before.iteration
            self.state.trained[run.name] = trainer.train(opt, seconds, report)
        self.state.save()

    def scores_file(self, run: Run, test: str) -> Path:
        """Where the values of a run's images of a test set are kept."""
        return self.out / "results" / run.name / f"{test}.csv"

    def load(self, run: Run) -> nn.Module:
        """The network of a finished run."""
        trained = self.state.trained.get(run.name)
        network = load_network(
            self.network(run), self.out / trained.checkpoint if trained else None
        )
        tile = self.bases[run.setting]["val"].get("tile") if trained else None
        return Tiled(network, run.scale, tile) if tile else network

    def _measure(self, run: Run, title: str) -> None:
        missing = [
            test for test in self.settings.tests if not self.scores_file(run, test).is_file()
        ]
        if not missing:
            return
        network = self.load(run)
        for test in missing:
            with _progress(f"{title}, {test}", None, "image") as bar:

                def report(done: int, total: int, bar: Any = bar) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                scores = evaluate(network, self.settings.tests[test], run.scale, report)
            scores.write(self.scores_file(run, test))


@contextmanager
def _progress(title: str, total: int | None, unit: str) -> Iterator[Any]:
    """A progress line with the time that is left; in a file a new one every half minute."""
    interval = 1 if sys.stderr.isatty() else 30
    with tqdm(
        desc=title, total=total, unit=unit, mininterval=interval, maxinterval=interval
    ) as bar:
        yield bar
