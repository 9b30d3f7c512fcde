"""Repairs of BasicSR's trainer, which the launcher makes."""

import argparse
import itertools
import os
import sys
import time
import types
from typing import Any

import torch

from basicsr_m2trans.models.interruption import stop_if_asked
from basicsr_m2trans.training.training_start import TrainingStart


def repair() -> None:
    """Make all repairs."""
    distribute_without_gpus()
    resume_exactly()
    keep_archived_folders()
    time_with_a_steady_clock()
    read_options_without_running_them()


def distribute_without_gpus() -> None:
    """Distributed training divides by the number of GPUs and knows NCCL only (no upstream issue
    known).

    Without GPUs the processes of `torchrun` talk through Gloo, and models on the CPU are wrapped
    without device numbers. A machine with GPUs keeps BasicSR's own way; hide its GPUs
    (`CUDA_VISIBLE_DEVICES=`) to train several processes on its CPU.
    """
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util

    stock_init, stock_model_to_device = dist_util._init_dist_pytorch, BaseModel.model_to_device

    def init_dist_pytorch(backend: str, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            stock_init(backend, **kwargs)
        else:
            torch.distributed.init_process_group("gloo", **kwargs)

    def model_to_device(self: BaseModel, net: torch.nn.Module) -> torch.nn.Module:
        if not (self.opt["dist"] and self.device.type == "cpu"):
            return stock_model_to_device(self, net)
        find_unused_parameters = self.opt.get("find_unused_parameters", False)
        return torch.nn.parallel.DistributedDataParallel(
            net.to(self.device), find_unused_parameters=find_unused_parameters
        )

    dist_util._init_dist_pytorch = init_dist_pytorch
    BaseModel.model_to_device = model_to_device


def resume_exactly() -> None:
    """A resumed run needs a GPU and sees other samples than an uninterrupted one
    (xinntao/Real-ESRGAN issue 799).

    Defects of one place: the state is put on a GPU even where there is none (XPixelGroup/BasicSR
    issue 107), and may run code; `--auto_resume` looks below the current directory and takes torn
    files; the epoch restarts at its first sample; the number of epochs counts the incomplete
    batches that the loader drops, so that training ends before `total_iter` (XPixelGroup/BasicSR
    issue 593); and a signal loses the work since the last checkpoint.
    """
    import basicsr.train
    from basicsr.models.base_model import BaseModel

    from basicsr_m2trans.training.sampler import ResumableSampler

    start = TrainingStart(basicsr.train.create_train_val_dataloader)
    basicsr.train.EnlargedSampler = ResumableSampler
    basicsr.train.load_resume_state = start.load_resume_state
    basicsr.train.create_train_val_dataloader = start.create_train_val_dataloader

    stock_update_learning_rate = BaseModel.update_learning_rate

    def update_learning_rate(self: BaseModel, current_iter: int, warmup_iter: int = -1) -> None:
        stop_if_asked(self, start, current_iter - 1)
        stock_update_learning_rate(self, current_iter, warmup_iter)

    BaseModel.update_learning_rate = update_learning_rate


def keep_archived_folders() -> None:
    """An older folder gets a name of the clock's second, and a start fails where one has it (no
    upstream issue known).

    That happens where the clock was set back, or where runs begin and end within a second.
    """
    import basicsr.train
    from basicsr.utils import misc

    def mkdir_and_rename(path: str) -> None:
        if os.path.exists(path):
            archived = f"{path}_archived_{misc.get_time_str()}"
            names = itertools.chain(
                [archived], (f"{archived}_{number}" for number in itertools.count(2))
            )
            unused = next(name for name in names if not os.path.exists(name))
            print(f"Path already exists. Rename it to {unused}", flush=True)
            os.rename(path, unused)
        os.makedirs(path, exist_ok=True)

    misc.mkdir_and_rename = basicsr.train.mkdir_and_rename = mkdir_and_rename


def time_with_a_steady_clock() -> None:
    """The times of iterations in the log are differences of a clock that can be set (no upstream
    issue known).

    One that is set back gave negative times; budgets of time rely on them.
    """
    from basicsr.utils import logger

    # The module takes nothing else from `time`.
    logger.time = types.SimpleNamespace(time=time.monotonic)


def read_options_without_running_them() -> None:
    """An option file can run code, and so can `--force_yml`, which is executed as Python (no
    upstream issue known).

    BasicSR's `parse_options` gets the options from `options.read_options`, overrides included, and
    does the rest.
    """
    import basicsr.test
    import basicsr.train
    import yaml
    from basicsr.utils import options as stock_options

    from basicsr_m2trans.options.checks import read_options

    stock_parse_options = stock_options.parse_options

    def parse_with_one_seed(
        root_path: str, is_train: bool
    ) -> tuple[dict[str, Any], argparse.Namespace]:
        opt, args = stock_parse_options(root_path, is_train)
        if opt["dist"]:
            import torch.distributed

            # Without `manual_seed` in the file every process has drawn one.
            seeds = [opt["manual_seed"]]
            torch.distributed.broadcast_object_list(seeds)
            opt["manual_seed"] = seeds[0]
        return opt, args

    def parse_options(
        root_path: str, is_train: bool = True
    ) -> tuple[dict[str, Any], argparse.Namespace]:
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument("-opt")
        parser.add_argument("--force_yml", nargs="+", default=[])
        args, others = parser.parse_known_args()
        if args.opt is None:
            return stock_parse_options(root_path, is_train)  # prints the usage and exits

        class OptionLoader(yaml.SafeLoader):
            def get_single_data(self) -> dict[str, Any]:
                return read_options(args.opt, "train" if is_train else "test", args.force_yml)

        stock_options.ordered_yaml = lambda: (OptionLoader, yaml.SafeDumper)
        command_line = sys.argv
        sys.argv = [command_line[0], "-opt", args.opt, *others]
        try:
            return parse_with_one_seed(root_path, is_train)
        finally:
            sys.argv = command_line

    for module in (stock_options, basicsr.train, basicsr.test):
        module.parse_options = parse_options
