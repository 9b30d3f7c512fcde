"""Where a training run begins: at its first iteration, or exactly where an interrupted run has
ended.
"""

import functools
import logging
import math
import sys
from pathlib import Path
from typing import Any

from basicsr_m2trans.checkpoints.training_states import (
    read_training_state,
    read_whole_checkpoint,
    training_states,
)
from basicsr_m2trans.models.training_position import TrainingPosition
from basicsr_m2trans.models.training_run import TrainingRun
from basicsr_m2trans.training.loader_processes import leave_signals_to_trainer
from basicsr_m2trans.training.start_checks import (
    early_end,
    kept_settings,
    require_fitting_optimizer,
    require_same_network,
)
from basicsr_m2trans.utils.errors import InputError


class TrainingStart:
    """The epoch and iteration at which a run begins: those of its resume state, 0 and 0 for a new
    run.

    Its methods stand in for the functions of the same names in `basicsr.train`.

    Args:
        stock_dataloaders: BasicSR's own `create_train_val_dataloader`.
        run: gets the sampler and the position at which it begins.
    """

    def __init__(self, stock_dataloaders: Any, run: TrainingRun) -> None:
        self.stock_dataloaders = stock_dataloaders
        self.run = run
        self.epoch = 0
        self.iteration = 0
        self._samples: dict[str, int] = {}
        self._passed_over: list[str] = []
        self._told: list[str] = []

    def load_resume_state(self, opt: dict[str, Any]) -> dict[str, Any] | None:
        """Read the state that `opt` resumes from and point `opt` to the networks saved with it.

        `--auto_resume` takes the newest state that is whole and whose networks are.

        Raises:
            InputError: the state or one of its networks does not exist or cannot be used; with
                `--auto_resume`, there are states, but none that can be used; the processes of the
                run do not find the same state; or the option file has another network or type of
                scheduler, or an end that the run cannot come to.
        """
        self.epoch = self.iteration = 0
        self._samples = {}
        self._passed_over, self._told = [], []
        paths = opt["path"]
        if opt["auto_resume"]:
            state_path, state, networks = self._newest_whole_state(opt)
        else:
            state_path = paths.get("resume_state")
            state, networks = _read_with_networks(state_path, opt) if state_path else (None, {})
        if opt["dist"]:
            _require_same_start(opt, 0 if state is None else state["iter"])
        if state is None:
            return None
        paths["resume_state"] = str(state_path)

        from basicsr.utils import check_resume

        check_resume(opt, state["iter"])
        self._told = kept_settings(opt, state)
        # Only what is loaded whole continues the run; the option file speaks of the weights that it
        # began with.
        for label in networks:
            paths[f"param_key_{label}"], paths[f"strict_load_{label}"] = "params", True
        if "g" in networks:
            self._told += require_same_network(opt, networks["g"], paths["pretrain_network_g"])
        else:
            require_fitting_optimizer(opt, state)
        # The option file may say another one by now.
        seed = state.get("manual_seed", opt["manual_seed"])
        if seed != opt["manual_seed"]:
            given = opt["manual_seed"]
            self._told.append(
                f"manual_seed stays {seed}, with which the run began; {given} has no effect."
            )
        opt["manual_seed"] = seed
        self.epoch, self.iteration = state["epoch"], state["iter"]
        self._samples = {key: value for key, value in state.items() if key.startswith("samples_")}
        return state

    def create_train_val_dataloader(
        self, opt: dict[str, Any], logger: logging.Logger
    ) -> tuple[Any, ...]:
        """BasicSR's loaders, with the sampler set behind the last sample that the interrupted run
        trained on.

        Every sample of an epoch is drawn at most once, also where the number of processes or the
        batch size has changed since: the rest of the epoch is dealt anew. Where the data set has
        changed, its epoch restarts.

        From here on, training ends where its log file cannot be written.

        Returns:
            Training loader, its sampler, list of validation loaders, total epochs, total
            iterations.

        Raises:
            InputError: the training set does not fill one batch.
        """
        _stop_at_failing_log(logger)
        for problem in self._passed_over:
            logger.warning(f"A checkpoint is skipped: {problem}")
        for text in self._told:
            logger.warning(text)
        for text in early_end(opt) if not self.iteration else ():
            logger.info(text)
        if opt["model_type"] != "M2TransModel":
            logger.info(
                f"{opt['model_type']} does not answer signals: SIGTERM and Ctrl-C end this run "
                "without a checkpoint (with M2TransModel they save one)."
            )
        train_opt = opt["datasets"]["train"]
        if train_opt.get("seed") is None:
            train_opt["seed"] = opt["manual_seed"]
        if train_opt.get("num_worker_per_gpu") == 0:
            train_opt["persistent_workers"] = (
                False  # PyTorch refuses to keep workers that do not exist
            )
        loader, sampler, val_loaders, _, total_iters = self.stock_dataloaders(opt, logger)
        if self.iteration and not getattr(loader.dataset, "numbered_draws", False):
            logger.warning(
                f"{type(loader.dataset).__name__} draws its crops from random states that no "
                "checkpoint holds: from here on they are others than in an uninterrupted run "
                "(those of PairedImageTextDataset are the same)."
            )
        leave_signals_to_trainer(loader)
        if len(loader) == 0:
            raise InputError(
                f"datasets: train: an epoch of {len(sampler)} images per process does not fill one "
                f"batch of {loader.batch_size}; raise dataset_enlarge_ratio or lower "
                "batch_size_per_gpu"
            )
        position = self._position(
            sampler.total_size, loader.batch_size * sampler.num_replicas, logger
        )
        self.run.sampler, self.run.position = sampler, position
        sampler.start_at(self.epoch, position.samples_done)
        later_iters = total_iters - self.iteration - position.iters_left
        total_epochs = self.epoch + 1 + math.ceil(later_iters / position.iters_per_epoch)
        return loader, sampler, val_loaders, total_epochs, total_iters

    def _position(
        self, per_epoch: int, per_iteration: int, logger: logging.Logger
    ) -> TrainingPosition:
        """Where the run begins; the log says what is dealt otherwise than in the
        interrupted run.
        """
        new_run = TrainingPosition(0, 0, 0, per_epoch, per_iteration)
        # A state of `SRModel` does not count samples: it is taken for one of as many processes.
        saved = self._samples or new_run.entries(self.epoch, self.iteration)
        done = saved["samples_done"]
        if saved["samples_per_epoch"] != per_epoch or not 0 <= done <= per_epoch:
            logger.warning(
                "The data set has changed since the state was saved, or, with SRModel, the batch "
                f"size or the number of processes: epoch {self.epoch} restarts at its first sample."
            )
            done = 0
        elif saved["samples_per_iteration"] != per_iteration:
            logger.warning(
                f"An iteration now takes {per_iteration} samples (processes x batch size), before "
                f"the interruption {saved['samples_per_iteration']}: the remaining "
                f"{per_epoch - done} of the {per_epoch} samples of epoch {self.epoch} are dealt "
                "anew; the learning rate is as before."
            )
        return TrainingPosition(self.epoch, self.iteration, done, per_epoch, per_iteration)

    def _newest_whole_state(
        self, opt: dict[str, Any]
    ) -> tuple[Path | None, dict[str, Any] | None, dict[str, Any]]:
        """The newest state that can be used, with its networks; the others that were tried are kept
        for the log.
        """
        folder = opt["path"]["training_states"]
        for path in training_states(folder):
            try:
                return path, *_read_with_networks(path, opt)
            except InputError as error:
                self._passed_over.append(str(error))
        if self._passed_over:
            raise InputError(
                f"no checkpoint of {opt['name']} can be resumed; repair one, or remove {folder} to "
                "start again:\n  " + "\n  ".join(self._passed_over)
            )
        return None, None, {}


def _require_same_start(opt: dict[str, Any], iteration: int) -> None:
    """Processes that start from different iterations would silently train different networks."""
    import torch.distributed

    iterations: list[Any] = [None] * opt["world_size"]
    torch.distributed.all_gather_object(iterations, iteration)
    if len(set(iterations)) > 1:
        found = ", ".join(f"rank {rank}: {number}" for rank, number in enumerate(iterations))
        raise InputError(
            f"the processes find different checkpoints of {opt['name']} to resume from (iteration "
            f"0 is none; {found}); make {opt['path']['training_states']} and "
            f"{opt['path']['models']} the same on all machines, by a folder that they share or by "
            "copying"
        )


def _read_with_networks(
    state_path: str | Path, opt: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a state and, by their labels such as `g`, the networks that BasicSR will load with it,
    all whole.
    """
    state, networks = read_training_state(state_path), {}
    for label in _resumed_networks(opt):
        network = Path(opt["path"]["models"], f"net_{label}_{state['iter']}.pth")
        if not network.is_file():
            raise InputError(
                f"cannot resume {opt['name']} from {state_path}: its network {network} does not "
                "exist; keep `name` as it was in the interrupted run, or resume an iteration of "
                "which both files are there"
            )
        try:
            networks[label] = read_whole_checkpoint(network)
        except InputError as error:
            raise InputError(f"cannot resume {opt['name']} from {state_path}: {error}") from error
    return state, networks


def _resumed_networks(opt: dict[str, Any]) -> list[str]:
    """Labels, such as `g`, of the networks that a state is resumed with."""
    ignored = opt["path"].get("ignore_resume_networks") or ()
    return [
        key.removeprefix("network_")
        for key in opt
        if key.startswith("network_") and key not in ignored
    ]


def _stop_at_failing_log(logger: logging.Logger) -> None:
    """Python's logging prints a traceback and goes on where a log file cannot be written, such as
    on a full disk.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            refuse = functools.partial(_refuse_to_go_on, handler.baseFilename)
            handler.handleError = refuse  # type: ignore[method-assign]  # BasicSR has made the handler already


def _refuse_to_go_on(file: str, _record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    raise InputError(
        f"training stopped: the log {file} cannot be written ({error}); the checkpoints are as "
        "they were: make room there, then go on with --auto_resume"
    ) from error
