"""Checkpoints of a BasicSR model that a kill or a full disk cannot harm, and all that an exact
resume needs.
"""

import io
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import nn

from basicsr_m2trans.checkpoints.training_states import (
    delete_older_checkpoints,
    latest_training_state,
)
from basicsr_m2trans.checkpoints.weights import read_checkpoint
from basicsr_m2trans.models.shared_validation import SharedValidationModel
from basicsr_m2trans.models.training_options import CheckpointOptions
from basicsr_m2trans.models.training_run import current_run, stop_if_asked
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError


class ResumableModel(SharedValidationModel):
    """BasicSR's `SRModel` with atomic checkpoints that hold the best metrics too, and the options
    `CheckpointOptions`.

    The state of an iteration is written when the iteration is over, its validation included, which
    BasicSR runs after saving. A run that is killed before resumes from the checkpoint before and
    validates again: its log of metrics is that of an uninterrupted run. The states of random
    generators are in no file, because nothing depends on them with `PairedImageTextDataset`: every
    step is seeded with its iteration, and crops are numbered by epoch.

    Raises:
        InputError: an option cannot be used.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.run = current_run() if opt["is_train"] else None
        if self.run:
            self.run.listen()
        self.checkpoint_options = CheckpointOptions.from_options(opt)
        self._finished_iter = 0
        self._due_state: tuple[int, int] | None = None
        super().__init__(opt)

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Begin an iteration: the one before is over, so a state that waited for its validation is
        written.
        """
        self._finished_iter = current_iter - 1
        self._write_due_state()
        if self.run:
            stop_if_asked(self, self.run, self._finished_iter)
        super().update_learning_rate(current_iter, warmup_iter)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the network, with its average if there is one, and the training state.

        Args:
            epoch: that of the iteration; -1 at the end of training.
            current_iter: the iteration; -1 at the end of training, when the last one gets a state,
                too, if it has none.

        Raises:
            InputError: a file cannot be written; an older one of that name is then left as it was.
        """
        if current_iter == -1:
            self._save_last_iteration()
        self._save_networks(current_iter)
        self.save_training_state(epoch, current_iter)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load weights as BasicSR does, and those of a safetensors file, such as the networks of
        this package.

        Args:
            net: the network.
            load_path: a checkpoint; of a file that ends in .safetensors the only weights are taken.
            strict: whether all weights must fit.
            param_key: entry of a checkpoint.

        Raises:
            InputError: the safetensors file cannot be read.
        """
        if not str(load_path).endswith(".safetensors"):
            super().load_network(net, load_path, strict, param_key)
            return
        weights = read_checkpoint(load_path)["params"]
        self._print_different_keys_loading(net, weights, strict)
        self.get_bare_model(net).load_state_dict(weights, strict=strict)

    @master_only
    def save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int | str,
        param_key: str | list[str] = "params",
    ) -> None:
        """Save weights as BasicSR does, with the option file's `network_g` beside them, which tells
        the network.

        Args:
            net: one network or several.
            net_label: first part of the file's name.
            current_iter: last part of the file's name; -1 for `latest`.
            param_key: entry of the file for each network.

        Raises:
            InputError: the file cannot be written; an older one of that name is then left as it
                was.
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        entries: dict[str, Any] = {}
        for key, each in zip(keys, nets, strict=True):
            entries[key] = {
                name: value.cpu() for name, value in self.get_bare_model(each).state_dict().items()
            }
        entries["network_g"] = dict(self.opt["network_g"])
        name = "latest" if current_iter == -1 else current_iter
        _write(self._models / f"{net_label}_{name}.pth", entries)

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Save optimizers, schedulers and the best metrics so far, at once or after the iteration's
        validation.

        Raises:
            InputError: the file cannot be written; an older one of that name is then left as it
                was.
        """
        if current_iter != -1:
            self._due_state = (epoch, current_iter)
        val = self.opt.get("val")
        if current_iter <= self._finished_iter or val is None or current_iter % val["val_freq"]:
            self._write_due_state()

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Take over optimizers, schedulers and best metrics from a training state."""
        super().resume_training(resume_state)
        if not self._metrics:
            return
        for dataset_name, saved in resume_state.get("best_metric_results", {}).items():
            if dataset_name not in self._validation_sets:
                continue
            self._initialize_best_metric_results(dataset_name)
            record = self.best_metric_results[dataset_name]
            # Metrics may have been added to the option file or removed since, too.
            record |= {metric: result for metric, result in saved.items() if metric in record}

    def validation(
        self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False
    ) -> None:
        """Validate, and with `keep_best` save a network that is the best so far on the first data
        set.
        """
        if self.is_train:
            # BasicSR counts on behind the end.
            current_iter = min(int(current_iter), self.opt["train"]["total_iter"])
        super().validation(dataloader, current_iter, tb_logger, save_img)
        metric = self.checkpoint_options.best_metric
        if not (self.is_train and metric):
            return
        first = self._validation_sets[0]
        of_first = dataloader.dataset.opt["name"] == first
        if of_first and self.best_metric_results[first][metric]["iter"] == current_iter:
            self._save_networks("best")

    def _print_different_keys_loading(
        self, crt_net: nn.Module, load_net: dict[str, torch.Tensor], strict: bool = True
    ) -> None:
        """BasicSR's list of the weights that do not fit, and without `strict` how many do."""
        super()._print_different_keys_loading(crt_net, load_net, strict)
        if not strict:
            names = self.get_bare_model(crt_net).state_dict().keys()
            text = (
                f"{len(names & load_net.keys())} of {len(names)} weights and buffers are loaded, "
                "the others stay."
            )
            (get_root_logger().info if names <= load_net.keys() else get_root_logger().warning)(
                text
            )

    @property
    def newest_checkpoint(self) -> str:
        """The newest network whose training can be resumed, for messages."""
        state = latest_training_state(self.opt["path"]["training_states"])
        return str(self._models / f"net_g_{state.stem}.pth") if state else "none saved yet"

    @property
    def _validation_sets(self) -> list[str]:
        return [
            dataset["name"]
            for phase, dataset in self.opt["datasets"].items()
            if phase.startswith("val")
        ]

    @property
    def _models(self) -> Path:
        return Path(self.opt["path"]["models"])

    def _save_networks(self, current_iter: int | str) -> None:
        if hasattr(self, "net_g_ema"):
            self.save_network(
                [self.net_g, self.net_g_ema], "net_g", current_iter, ["params", "params_ema"]
            )
        else:
            self.save_network(self.net_g, "net_g", current_iter)

    def _save_last_iteration(self) -> None:
        # Without a state of its end, a finished run would be resumed before it, or begun anew.
        last = int(self.opt["train"]["total_iter"])
        position = self.run.position if self.run else None
        if position is None or last % self.opt["logger"]["save_checkpoint_freq"] == 0:
            return
        self._save_networks(last)
        self.save_training_state(position.epoch_of(last), last)

    def _write_due_state(self) -> None:
        if self._due_state is None:
            return
        epoch, iteration = self._due_state
        state = {
            "epoch": epoch,
            "iter": iteration,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "best_metric_results": self._best_metric_results(),
            "manual_seed": self.opt["manual_seed"],
        }
        if self.run and self.run.position:
            state |= self.run.position.entries(epoch, iteration)
        folder = Path(self.opt["path"]["training_states"])
        _write(folder / f"{iteration}.state", state)
        self._due_state = None
        if self.checkpoint_options.keep_last is not None:
            delete_older_checkpoints(
                self._models, folder, iteration, self.checkpoint_options.keep_last
            )

    def _best_metric_results(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The best metrics so far, as numbers of Python: files that may hold others
        could run code.
        """
        results = getattr(self, "best_metric_results", {})
        return {
            dataset_name: {
                metric: result | {"val": float(result["val"])} for metric, result in record.items()
            }
            for dataset_name, record in results.items()
        }


def _write(path: Path, entries: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(entries, buffer)
    try:
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise InputError(
            f"training stopped: {path} cannot be written ({error.strerror or error}); the "
            "checkpoints before are as they were: make room there, then go on with --auto_resume"
        ) from error
