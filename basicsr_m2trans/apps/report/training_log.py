"""What the logs of a BasicSR training say: iterations, times and validations."""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

_ITERATION = re.compile(
    r"^(?P<stamp>\S+ \S+) INFO: \[.*\]\[epoch:.*, iter: *(?P<iter>[\d,]+), lr:.*"
    r"time \(data\): (?P<time>[\d.]+) \((?P<data>[\d.]+)\)\]"
)
_START = re.compile(r".* INFO: Start training from epoch: \d+, iter: (?P<iter>\d+)")
_METRIC = re.compile(r"^\s*# (?P<name>\w+): (?P<value>-?[\d.]+|inf|nan)")
_VALIDATION = " INFO: Validation "
_END = " INFO: End of training"
# BasicSR logs the mean time since each start, and anew after so many iterations.
TIMER_ITERATIONS = 201


@dataclass
class TrainingLog:
    """The contents of a run's logs.

    Attributes:
        times: when each logged iteration ended, by iteration.
        durations: seconds of an iteration, loading included, by logged iteration; the mean since
            the one before.
        validations: metric values by name, by iteration.
    """

    times: dict[int, datetime] = field(default_factory=dict)
    durations: dict[int, float] = field(default_factory=dict)
    validations: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def iteration(self) -> int:
        """The last logged iteration, 0 before the first."""
        return max(self.durations, default=0)

    @property
    def seconds(self) -> float:
        """Time spent in training steps, without validations, checkpoints and start-up."""
        return self.seconds_until(self.iteration)

    def seconds_until(self, iteration: int) -> float:
        """Time spent in the training steps up to this iteration."""
        total, before = 0.0, 0
        for logged, duration in sorted(self.durations.items()):
            if logged > iteration:
                break
            total += (logged - before) * duration
            before = logged
        return total


def read_training_log(folder: Path, total: int) -> TrainingLog:
    """Read all log files of an experiment; what was repeated after a resume counts once.

    Args:
        folder: the experiment's folder; it need not exist.
        total: the training's length, at which the validation behind its end took place.
    """
    files = sorted(folder.glob("train_*.log"), key=lambda path: path.stat().st_mtime)
    logs = [path.read_text(encoding="utf-8", errors="replace").splitlines() for path in files]
    # By iteration, because clocks may be set back; starts at the same one stay in order of time.
    logs.sort(key=_first_iteration)
    return parse_training_log(itertools.chain(*logs), total)


def _first_iteration(lines: Iterable[str]) -> int:
    return next((int(match["iter"]) for line in lines if (match := _START.match(line))), 0)


def parse_training_log(lines: Iterable[str], total: int) -> TrainingLog:
    """Collect iterations and validations from the lines of a log; other lines are passed over.

    BasicSR does not say at which iteration it validates: it is that of the iteration line before.
    """
    log = TrainingLog()
    iteration, values = 0, None
    start, before, seconds_before = 0, 0, 0.0
    for line in lines:
        if match := _ITERATION.match(line):
            iteration, mean = int(match["iter"].replace(",", "")), float(match["time"])
            log.times[iteration] = datetime.strptime(match["stamp"], "%Y-%m-%d %H:%M:%S,%f")
            timer_start = iteration - 1 - (iteration - 1 - start) % TIMER_ITERATIONS
            seconds = mean * (iteration - timer_start)
            same_timer = timer_start < before < iteration
            log.durations[iteration] = (
                (seconds - seconds_before) / (iteration - before) if same_timer else mean
            )
            before, seconds_before = iteration, seconds
        elif match := _START.match(line):
            start = before = int(match["iter"])
        elif _END in line:
            iteration = total
        elif _VALIDATION in line:
            values = log.validations[iteration] = {}
        elif values is not None and (match := _METRIC.match(line)):
            values[match["name"]] = float(match["value"])
    return log
