"""Runs BasicSR's trainer in a process of its own and stops it when its time is used up."""

import itertools
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basicsr_m2trans.apps.report.methods import write_options
from basicsr_m2trans.apps.report.training_log import TrainingLog, read_training_log
from basicsr_m2trans.checkpoints.training_states import latest_training_state
from basicsr_m2trans.training import launch

POLL_SECONDS = 0.5
# A probe ends after so many iterations or so many seconds of them, whichever comes first.
PROBE_ITERATIONS = 200
PROBE_SECONDS = 60.0


class TrainingError(RuntimeError):
    """A training ended with an error; the message names the file that holds its output."""


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        iterations: how many were run; fewer than planned if the time budget stopped it.
        seconds: time spent in the training steps up to there.
        checkpoint: the trained network, relative to the comparison's folder.
    """

    iterations: int
    seconds: float
    checkpoint: str


@dataclass(frozen=True)
class Trainer:
    """Trains in the folder of a comparison: options/, logs/ and experiments/ below it.

    Args:
        out: the comparison's folder, as an absolute path.
        inherited: open files that the training processes keep open, such as the comparison's lock.
    """

    out: Path
    inherited: Sequence[int] = ()

    def train(
        self, opt: dict[str, Any], max_seconds: float | None, report: Callable[[TrainingLog], None]
    ) -> Trained:
        """Train from the last checkpoint that an interrupted run left, or from the start.

        Args:
            opt: the run's complete options.
            max_seconds: stop at the first checkpoint after so long in training steps, if not None.
            report: called about twice a second with what the log says.

        Raises:
            TrainingError: the trainer ended with an error.
        """
        name, total = opt["name"], opt["train"]["total_iter"]
        folder = self.out / "experiments" / name
        # Other models cannot delete checkpoints, and a time budget may end at any.
        if max_seconds is None and opt["model_type"] == "M2TransModel":
            # The one to resume from and the one before it.
            opt = opt | {"logger": opt["logger"] | {"keep_last": 2}}
        used_up_at, last = None, "latest"

        def used_up(log: TrainingLog) -> bool:
            nonlocal used_up_at, last
            report(log)
            if max_seconds is None or log.seconds < max_seconds:
                return False
            used_up_at = used_up_at or log.iteration
            state = latest_training_state(folder / "training_states")
            # Iterations after a checkpoint are logged when its files are complete.
            if state is None or not used_up_at <= int(state.stem) < log.iteration:
                return False
            # Not the one that the trainer saves when it is stopped, some iterations further.
            last = state.stem
            return True

        finished = self._run(opt, used_up)
        log = read_training_log(folder, total)
        report(log)
        iterations = total if finished else int(last)
        checkpoint = f"experiments/{name}/models/net_g_{last}.pth"
        return Trained(iterations, round(log.seconds_until(iterations), 1), checkpoint)

    def probe(self, opt: dict[str, Any]) -> float:
        """Seconds of a training iteration, loading included: the median of a short run.

        The first half is left out, since kernels are chosen and loaders filled in it. The run's
        files are removed.

        Args:
            opt: options of a run of `PROBE_ITERATIONS` without validation.

        Raises:
            TrainingError: the trainer ended with an error.
        """
        name = f"probe_{opt['name']}"
        logger = opt["logger"] | {"print_freq": 1, "save_checkpoint_freq": 10 * PROBE_ITERATIONS}
        opt = opt | {"name": name, "logger": logger}
        folder = self.out / "experiments" / name
        shutil.rmtree(folder, ignore_errors=True)
        self._run(opt, lambda log: log.seconds > PROBE_SECONDS and log.iteration >= 4)
        times = [at for _, at in sorted(read_training_log(folder, PROBE_ITERATIONS).times.items())]
        times = times[len(times) // 2 - 1 :]
        for leftover in (folder, self.out / "tb_logger" / name):
            shutil.rmtree(leftover, ignore_errors=True)
        for file in (self.out / "options" / f"{name}.yml", folder.with_name(f".{name}.lock")):
            file.unlink(missing_ok=True)
        return statistics.median((b - a).total_seconds() for a, b in itertools.pairwise(times))

    def _run(self, opt: dict[str, Any], enough: Callable[[TrainingLog], bool]) -> bool:
        """Run the trainer to its end, or stop it when `enough`; True if it came to its end."""
        name = opt["name"]
        file, folder = f"options/{name}.yml", self.out / "experiments" / name
        write_options(self.out / file, opt)
        output = self.out / "logs" / f"{name}.txt"
        output.parent.mkdir(parents=True, exist_ok=True)
        command = launch.command("train", str(self.out), "-opt", file, "--auto_resume")
        with output.open("ab") as stream:
            process = subprocess.Popen(
                command,
                cwd=self.out,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=self.inherited,
            )
            try:
                while process.poll() is None:
                    time.sleep(POLL_SECONDS)
                    log = read_training_log(folder, opt["train"]["total_iter"])
                    if process.poll() is None and enough(log):
                        return False
            finally:
                _stop(process)
        if process.returncode:
            ending = f"ended with status {process.returncode}; its messages are in {output}"
            raise TrainingError(f"training {name} {ending}")
        return True


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
