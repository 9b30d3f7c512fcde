"""A comparison: every run trained, measured, put into tables and figures; it may stop anywhere."""

import sys
import traceback
from typing import Any

from tqdm import tqdm

from basicsr_m2trans.apps.report.comparison_state import ComparisonState, held, open_state
from basicsr_m2trans.apps.report.methods import run_options
from basicsr_m2trans.apps.report.results import write_results
from basicsr_m2trans.apps.report.settings import Run
from basicsr_m2trans.apps.report.training import PROBE_ITERATIONS, Trainer
from basicsr_m2trans.apps.report.training_log import TrainingLog, read_training_log
from basicsr_m2trans.apps.report.work import Work
from basicsr_m2trans.evaluation.prepared_set import evaluate
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError


def run_comparison(work: Work) -> list[str]:
    """Train and measure what is still to do, then write tables and figures of what there is.

    Returns:
        One message for each run that failed; the others are complete.

    Raises:
        InputError: data or files are missing, the folder holds something else or a comparison
            with other settings, or another process works in it.
    """
    if work.missing:
        raise InputError("\n".join(work.missing))
    failures = []
    with held(work.out) as lock:
        state = open_state(work)
        trainer = Trainer(work.out, [lock])
        for number, run in enumerate(work.runs, start=1):
            title = f"[{number}/{len(work.runs)}] {run.name}"
            log = work.out / "logs" / f"{run.name}_error.txt"
            try:
                if run.seed is not None and run.name not in state.trained:
                    _train(work, state, run, trainer, title)
                _measure(work, state, run, title)
            except Exception as error:  # one method's failure must not cost the others
                log.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(log, traceback.format_exc().encode())
                failures.append(f"{run.name}: {error} (details in {log})")
                print(f"{title} failed: {error}", flush=True)
            else:
                log.unlink(missing_ok=True)
        write_results(work, state)
    return failures


def _train(work: Work, state: ComparisonState, run: Run, trainer: Trainer, title: str) -> None:
    settings, base = work.settings, work.bases[run.setting]
    seconds = None if settings.minutes is None else settings.minutes * 60
    if run.setting not in state.iterations:
        length = work.length(run)
        limits = [] if length is None else [length]
        if seconds is not None:
            print(f"{title}: measuring its speed", flush=True)
            iteration = trainer.probe(run_options(base, run, PROBE_ITERATIONS, 0))
            limits.append(max(1, int(seconds / iteration)))
        state.iterations[run.setting] = min(limits)
        state.save()
    opt = run_options(base, run, state.iterations[run.setting], settings.validations)
    total = opt["train"]["total_iter"]
    with _progress(title, total, "it") as bar:

        def report(log: TrainingLog) -> None:
            if log.validations:
                psnr = list(log.validations.values())[-1].get("psnr", 0)
                bar.set_postfix_str(f"PSNR {psnr:.2f}", refresh=False)
            bar.update(log.iteration - bar.n)

        before = read_training_log(work.out / "experiments" / run.name, total)
        bar.initial = bar.n = before.iteration
        state.trained[run.name] = trainer.train(opt, seconds, report)
    state.save()


def _measure(work: Work, state: ComparisonState, run: Run, title: str) -> None:
    missing = [test for test in work.settings.tests if not work.scores_file(run, test).is_file()]
    if not missing:
        return
    network = work.load(run, state.trained)
    for test in missing:
        with _progress(f"{title}, {test}", None, "image") as bar:

            def report(done: int, total: int, bar: Any = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            scores = evaluate(network, work.settings.tests[test], run.scale, report)
        scores.write(work.scores_file(run, test))


def _progress(title: str, total: int | None, unit: str) -> tqdm:
    interval = 1 if sys.stderr.isatty() else 30  # in a file each update is a new line
    return tqdm(desc=title, total=total, unit=unit, mininterval=interval, maxinterval=interval)
