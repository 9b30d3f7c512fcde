"""The four objects of BasicSR 1.4.2 that no subclass reaches, replaced while a run lasts."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from basicsr_m2trans.models.training_run import TrainingRun
from basicsr_m2trans.training.sampler import ResumableSampler
from basicsr_m2trans.training.training_start import TrainingStart


@contextlib.contextmanager
def repaired_trainer(run: TrainingRun) -> Iterator[None]:
    """Replace four objects of the imported package, whose files stay as they are.

    - `basicsr.train.EnlargedSampler`: a resumed epoch begins at its first sample
      (xinntao/Real-ESRGAN issue 799); `train.py` names the class.
    - `basicsr.train.create_train_val_dataloader`: the number of epochs counts the incomplete
      batches that the loader drops, so that training ends before `total_iter` (XPixelGroup/BasicSR
      issue 593), and loader processes end with any signal and outlive a killed trainer.
    - `basicsr.train.load_resume_state`: the state is put on a GPU even where there is none
      (XPixelGroup/BasicSR issue 107), and may run code; `--auto_resume` looks below the current
      directory and takes torn files.
    - `basicsr.utils.dist_util._init_dist_pytorch`: it divides by the number of GPUs and knows NCCL
      only (no upstream issue known).

    Args:
        run: gets to know where it begins, and its sampler.
    """
    import basicsr.train
    from basicsr.utils import dist_util

    start = TrainingStart(basicsr.train.create_train_val_dataloader, run)
    stock_init = dist_util._init_dist_pytorch

    def init_dist_pytorch(backend: str, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            stock_init(backend, **kwargs)
        else:
            torch.distributed.init_process_group("gloo", **kwargs)

    with contextlib.ExitStack() as stack:
        for module, name, replacement in (
            (basicsr.train, "EnlargedSampler", ResumableSampler),
            (basicsr.train, "create_train_val_dataloader", start.create_train_val_dataloader),
            (basicsr.train, "load_resume_state", start.load_resume_state),
            (dist_util, "_init_dist_pytorch", init_dist_pytorch),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, replacement)
        yield
