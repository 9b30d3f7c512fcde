"""A comparison of methods: every run trained, measured, and put into tables and figures; it may stop at any point."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from basicsr_m2trans.atomic import write_atomic
from basicsr_m2trans.errors import InputError
from basicsr_m2trans.inference.tiles import Tiled
from basicsr_m2trans.options import check_weights_files, missing_files
from basicsr_m2trans.report.comparison_state import ComparisonState, held
from basicsr_m2trans.report.complexity import Complexity, complexity
from basicsr_m2trans.report.evaluation import build_set, evaluate, image_names, load_network, set_digest
from basicsr_m2trans.report.methods import BICUBIC, Run, base_options, plan_runs, run_options
from basicsr_m2trans.report.results import write_results
from basicsr_m2trans.report.training import PROBE_ITERATIONS, Trainer
from basicsr_m2trans.report.training_log import TrainingLog, read_training_log


@dataclass(frozen=True)
class Settings:
    """What a comparison is of.

    Attributes:
        data: folder with the prepared sets `train` and `val`.
        methods: names of option files, and `Bicubic`.
        scales, seeds: every method is trained at each scale with each seed.
        iterations: length of each training; None to let the time decide.
        minutes: time in training steps for each training; None for no limit.
        tests: prepared sets to measure on, by name.
        reference: the method of which the others are subtracted in the tables.
        overrides: changes of the option files; see `methods.base_options`.
        validations: how often each training validates.
        options: folder of option files.
        panels: TEST/IMAGE for each figure of details; none for the middle image of each test set.
        lengths: iterations of single methods, in place of `iterations`.
    """

    data: Path
    methods: tuple[str, ...]
    scales: tuple[int, ...]
    seeds: tuple[int, ...]
    iterations: int | None
    minutes: float | None
    tests: dict[str, Path]
    reference: str
    overrides: tuple[str, ...] = ()
    validations: int = 10
    options: Path = Path("options")
    panels: tuple[str, ...] = ()
    lengths: dict[str, int] = field(default_factory=dict)


class Comparison:
    """One comparison in its folder `out`.

    What can be wrong with options and files is checked here, before any training.

    Args:
        settings: what to compare.
        out: folder for all that the comparison writes; an earlier one is continued.

    Raises:
        InputError: an option, a file or an image set cannot be used.
    """

    def __init__(self, settings: Settings, out: Path) -> None:
        if settings.iterations is None and settings.minutes is None:
            raise InputError("neither iterations nor a time budget is given; use --iters, --time-budget or both")
        self.settings = settings
        self.out = out.resolve()
        self.runs = plan_runs(settings.methods, settings.scales, settings.seeds)
        self.bases = {run.setting: self._base(run) for run in self.runs if run.seed is not None}
        self._check_files()
        self.panels = self._panels()
        self.counts: dict[tuple[str, int], Complexity] = {
            (run.method, run.scale): complexity(self._network(run))
            for run in {run.setting: run for run in self.runs}.values()
        }

    def _base(self, run: Run) -> dict[str, Any]:
        settings = self.settings
        return base_options(
            run.method, run.scale, settings.options, settings.data, settings.overrides, settings.methods
        )

    def _check_files(self) -> None:
        from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset

        for setting, base in self.bases.items():
            missing = missing_files(base)
            if missing:
                raise InputError("\n".join([f"files that {setting} needs are missing", *missing]))
            check_weights_files(base)
            if base["datasets"]["train"]["type"] == "PairedImageTextDataset":
                PairedImageTextDataset(base["datasets"]["train"] | {"phase": "train", "scale": base["scale"]})
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
                raise InputError(f"--panels {entry}: write TEST/IMAGE; test sets: {', '.join(names)}")
            panels.append((test, image))
        return panels

    def _network(self, run: Run) -> dict[str, Any]:
        return {"type": BICUBIC, "upscale": run.scale} if run.seed is None else self.bases[run.setting]["network_g"]

    def _length(self, run: Run) -> int | None:
        return self.settings.lengths.get(run.method, self.settings.iterations)

    def _open_state(self) -> ComparisonState:
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
                },
                "options": self.bases,
                "lengths": {
                    f"iterations of {run.setting}": self._length(run) for run in self.runs if run.seed is not None
                },
            },
        )

    def run(self) -> list[str]:
        """Train and measure what is still to do, then write tables and figures of all that is there.

        Returns:
            One message for each run that failed; the others are complete.

        Raises:
            InputError: the folder holds something else or a comparison with other settings, or another process
                works in it.
        """
        failures = []
        with held(self.out) as lock:
            self.state = self._open_state()
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
            length = self._length(run)
            limits = [] if length is None else [length]
            if seconds is not None:
                print(f"{title}: measuring its speed", flush=True)
                limits.append(max(1, int(seconds / trainer.probe(run_options(base, run, PROBE_ITERATIONS, 0)))))
            self.state.iterations[run.setting] = min(limits)
            self.state.save()
        opt = run_options(base, run, self.state.iterations[run.setting], settings.validations)
        with _progress(title, opt["train"]["total_iter"], "it") as bar:

            def report(log: TrainingLog) -> None:
                if log.validations:
                    bar.set_postfix_str(f"PSNR {list(log.validations.values())[-1].get('psnr', 0):.2f}", refresh=False)
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
        network = load_network(self._network(run), self.out / trained.checkpoint if trained else None)
        tile = self.bases[run.setting]["val"].get("tile") if trained else None
        return Tiled(network, run.scale, tile) if tile else network

    def _measure(self, run: Run, title: str) -> None:
        missing = [test for test in self.settings.tests if not self.scores_file(run, test).is_file()]
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
    with tqdm(desc=title, total=total, unit=unit, mininterval=interval, maxinterval=interval) as bar:
        yield bar
