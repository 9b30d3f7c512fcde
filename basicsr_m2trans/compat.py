"""Makes stock BasicSR 1.4.2 import and run on today's Python, PyTorch and torchvision.

`apply()` makes all repairs. Each repair is one function that names its defect and the upstream issue, and does
nothing where the defect is absent. The first three must precede `import basicsr`; the others replace functions of
the imported package, whose files stay as they are.
"""

import difflib
import functools
import importlib.metadata
import importlib.util
import math
import sys
import types
from logging import Logger
from pathlib import Path
from typing import Any

import torch

from basicsr_m2trans.errors import InputError
from basicsr_m2trans.weights import read_checkpoint

BASICSR_VERSION = "1.4.2"

# torch forgets the operators of a `Library` that is collected.
_libraries: list[torch.library.Library] = []


class UnknownNameError(InputError, KeyError):
    """An option file names a class or function that is in none of BasicSR's registries."""

    # KeyError would print the message in quotes.
    __str__ = Exception.__str__


@functools.cache
def apply() -> None:
    """Import BasicSR 1.4.2 with all repairs; later calls cost nothing.

    Raises:
        ImportError: BasicSR is not installed, or in another version than the repairs are written for.
    """
    require_basicsr()
    declare_torchvision_operators()
    provide_functional_tensor()
    provide_distutils()

    import basicsr  # noqa: F401

    explain_unknown_names()
    distribute_without_gpus()
    resume_inside_epoch()


def require_basicsr() -> None:
    """The folder `basicsr/` of launchers is taken for the package where BasicSR is not installed (no upstream issue).

    Raises:
        ImportError: BasicSR is not installed, or in another version than the repairs are written for.
    """
    try:
        version = importlib.metadata.version("basicsr")
    except importlib.metadata.PackageNotFoundError:
        version = None
    if version != BASICSR_VERSION:
        raise ImportError(
            f"BasicSR {BASICSR_VERSION} is needed, found {version or 'none'}; install PyTorch first, then run "
            f"`python -m pip install --no-build-isolation basicsr=={BASICSR_VERSION}`"
        )


def declare_torchvision_operators() -> None:
    """torchvision does not import beside a PyTorch that it was not built for (pytorch/vision issue 9085).

    PyPI's torchvision cannot load its compiled operators beside a CPU-only PyTorch, and then fails while describing
    the missing operators `nms` and `qnms`. Their signatures are declared here; nothing of BasicSR calls them.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    else:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)

    import torchvision  # noqa: F401


def provide_functional_tensor() -> None:
    """BasicSR imports a module that torchvision 0.17 removed (XPixelGroup/BasicSR issue 649).

    The repair, pull request 650, is merged upstream but not released. Only `rgb_to_grayscale` is used of it.
    """
    name = "torchvision.transforms.functional_tensor"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    module = types.ModuleType(name)
    module.rgb_to_grayscale = rgb_to_grayscale
    sys.modules[name] = module


def provide_distutils() -> None:
    """BasicSR imports `distutils`, which Python 3.12 removed (no upstream issue known).

    setuptools brings a copy of it; without that copy, `packaging` compares the versions.
    """
    try:
        importlib.import_module("distutils.version")
    except ModuleNotFoundError:
        from packaging.version import Version

        package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
        package.version = module
        module.LooseVersion = Version
        sys.modules.update({package.__name__: package, module.__name__: module})


def explain_unknown_names() -> None:
    """A registry answers an unknown name with a wrong line and no candidates (XPixelGroup/BasicSR issues 683, 723).

    Known names, also those that carry the suffix `_basicsr`, are found as before. An unknown one raises
    `UnknownNameError` with the nearest names.
    """
    from basicsr.utils.registry import Registry

    stock_get = Registry.get

    def get(self: Registry, name: str, suffix: str = "basicsr") -> Any:
        if name in self or f"{name}_{suffix}" in self:
            return stock_get(self, name, suffix)
        names = {known.lower(): known for known in sorted(self.keys())}
        near = difflib.get_close_matches(str(name).lower(), names, n=3, cutoff=0.5)
        candidates = [names[key] for key in near] or list(names.values())
        message = f"{name!r} is not a registered {self._name}; nearest names: {', '.join(candidates)}"
        if not any(obj.__module__.startswith("basicsr_m2trans.") for _, obj in self):
            message += "; the names of basicsr_m2trans are known after `basicsr_m2trans.register()`"
        raise UnknownNameError(message)

    Registry.get = get


def distribute_without_gpus() -> None:
    """Distributed training divides by the number of GPUs and knows NCCL only (no upstream issue known).

    Without GPUs the processes of `torchrun` talk through Gloo, and models on the CPU are wrapped without device
    numbers. A machine with GPUs keeps BasicSR's own way; hide its GPUs (`CUDA_VISIBLE_DEVICES=`) to train several
    processes on its CPU.
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


def resume_inside_epoch() -> None:
    """A resumed run needs a GPU and sees other samples than an uninterrupted one (xinntao/Real-ESRGAN issue 799).

    Four defects of one place: the state is put on a GPU even where there is none (XPixelGroup/BasicSR issue 107);
    `--auto_resume` looks below the current directory (no upstream issue known); the epoch restarts at its first
    sample; and the number of epochs counts the incomplete batches that the loader drops, so that training ends
    before `total_iter` (XPixelGroup/BasicSR issue 593).
    """
    import basicsr.train

    from basicsr_m2trans.data.sampler import ResumableSampler

    start = TrainingStart(basicsr.train.create_train_val_dataloader)
    basicsr.train.EnlargedSampler = ResumableSampler
    basicsr.train.load_resume_state = start.load_resume_state
    basicsr.train.create_train_val_dataloader = start.create_train_val_dataloader


def latest_training_state(folder: str | Path) -> Path | None:
    """The file `<iteration>.state` of the highest iteration in `folder`, or None where there is none."""
    states = [path for path in Path(folder).glob("*.state") if path.stem.isdigit()]
    return max(states, key=lambda path: int(path.stem), default=None)


def read_training_state(path: str | Path) -> dict[str, Any]:
    """Read a `.state` file of BasicSR to the CPU; the optimizer moves its tensors to its parameters' device.

    Returns:
        The iteration and epoch of the file and the state dictionaries of `optimizers` and `schedulers`.

    Raises:
        InputError: there is no such file, it is damaged, or it is something else than a training state.
    """
    if not Path(path).is_file():
        raise InputError(
            f"path: resume_state: {path} does not exist; give a file of the interrupted run's folder training_states"
        )
    try:
        state = read_checkpoint(path)
    except InputError as error:
        raise InputError(f"{error}, or remove it and resume an earlier state") from error
    if not (isinstance(state, dict) and {"epoch", "iter", "optimizers", "schedulers"} <= state.keys()):
        raise InputError(f"{path} is not a training state; give a .state file of the interrupted run's training_states")
    return state


class TrainingStart:
    """Where a training run begins: the epoch and iteration of its resume state, 0 and 0 for a new run.

    Its methods stand in for the functions of the same names in `basicsr.train`.

    Args:
        stock_dataloaders: BasicSR's own `create_train_val_dataloader`.
    """

    def __init__(self, stock_dataloaders: Any) -> None:
        self.stock_dataloaders = stock_dataloaders
        self.epoch = 0
        self.iteration = 0

    def load_resume_state(self, opt: dict[str, Any]) -> dict[str, Any] | None:
        """Read the state that `opt` resumes from and point `opt` to the networks saved with it.

        Raises:
            InputError: the state or one of its networks does not exist or cannot be used.
        """
        self.epoch = self.iteration = 0
        paths = opt["path"]
        state_path = paths.get("resume_state")
        if opt["auto_resume"]:
            state_path = latest_training_state(paths["training_states"])
        if not state_path:
            return None
        state = read_training_state(state_path)
        paths["resume_state"] = str(state_path)

        from basicsr.utils import check_resume

        check_resume(opt, state["iter"])
        for key, path in paths.items():
            if key.startswith("pretrain_network") and path and not Path(path).is_file():
                raise InputError(
                    f"cannot resume {opt['name']} from {state_path}: its network {path} does not exist; keep `name` as "
                    "it was in the interrupted run, or resume an iteration of which both files are there"
                )
        self.epoch, self.iteration = state["epoch"], state["iter"]
        return state

    def create_train_val_dataloader(self, opt: dict[str, Any], logger: Logger) -> tuple[Any, ...]:
        """BasicSR's loaders, with the sampler set behind the last sample that the interrupted run trained on.

        Returns:
            Training loader, its sampler, list of validation loaders, total epochs, total iterations.

        Raises:
            InputError: the training set does not fill one batch.
        """
        train_opt = opt["datasets"]["train"]
        if train_opt.get("seed") is None:
            train_opt["seed"] = opt["manual_seed"]
        if train_opt.get("num_worker_per_gpu") == 0:
            train_opt["persistent_workers"] = False  # PyTorch refuses to keep workers that do not exist
        loader, sampler, val_loaders, _, total_iters = self.stock_dataloaders(opt, logger)
        iters_per_epoch = len(loader)
        if iters_per_epoch == 0:
            raise InputError(
                f"datasets: train: an epoch of {len(sampler)} images per process does not fill one batch of "
                f"{loader.batch_size}; raise dataset_enlarge_ratio or lower batch_size_per_gpu"
            )
        iters_done = self.iteration - self.epoch * iters_per_epoch
        if not 0 <= iters_done <= iters_per_epoch:
            logger.warning(
                "The data set, batch size or number of processes has changed since the state was saved: "
                f"epoch {self.epoch} restarts at its first sample."
            )
            iters_done = 0
        sampler.start_at(self.epoch, iters_done * loader.batch_size)
        total_epochs = self.epoch + math.ceil((total_iters - self.iteration + iters_done) / iters_per_epoch)
        return loader, sampler, val_loaders, total_epochs, total_iters
