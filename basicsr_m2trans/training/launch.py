"""Runs BasicSR's training or test with this plugin, after checking the option file of the command
line.
"""

import contextlib
import logging
import os
import sys
from pathlib import Path

from basicsr_m2trans.models.interruption import STOP_REQUEST, TrainingStopped
from basicsr_m2trans.options.checks import check_options
from basicsr_m2trans.registration import register
from basicsr_m2trans.training.failures import explain_failure, is_lost_exchange
from basicsr_m2trans.training.repairs import repair
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.locking import locked


def main(mode: str, root_path: str) -> int:
    """Run `basicsr.train.train_pipeline` or `basicsr.test.test_pipeline` with the arguments of the
    command line.

    The arguments are BasicSR's: `-opt FILE [--launcher pytorch] [--auto_resume] [--debug]
    [--force_yml KEY:KEY=VALUE ...]`. A mistake of the user is printed without a traceback; before
    BasicSR creates any folder, one message lists all files that are missing. Another run that
    writes the same folder is refused. Where the machine fails (a GPU, memory, a full disk), the log
    and the last line say what to do.

    Args:
        mode: 'train' or 'test'.
        root_path: the folder that receives `experiments/` or `results/`.

    Returns:
        The exit status: 0 when all went well, 1 where the machine or the exchange with the run's
        other processes failed, 2 for a mistake in the input, 130 after Ctrl-C, 143 after SIGTERM,
        which a training in progress answers by saving a checkpoint first.
    """
    rank = os.environ.get("RANK")
    title = mode if rank is None else f"{mode} (rank {rank})"
    try:
        folder = check_options(mode, root_path)
        with alone_in(folder):
            run_pipeline(mode, root_path)
    except InputError as error:
        # A DataLoader worker's error arrives with the worker's traceback before its message.
        message = (
            str(error).rpartition(f"{InputError.__module__}.{InputError.__name__}: ")[2].strip()
        )
        print(f"{title}: {message}", file=sys.stderr, flush=True)
        return 2
    except (RuntimeError, OSError) as error:
        explanation = explain_failure(error)
        if explanation is None:
            raise
        if mode == "train":
            explanation += (
                "; the checkpoints are as they were, --auto_resume goes on from the newest"
            )
        # The log may lie on the disk that is full.
        with contextlib.suppress(InputError):
            # Where one process fails, the tracebacks of all others would bury its message.
            logging.getLogger("basicsr").error(explanation, exc_info=not is_lost_exchange(error))
        print(f"{title}: {explanation}", file=sys.stderr, flush=True)
        return 1
    except TrainingStopped as stopped:
        print(f"{title}: {stopped}", file=sys.stderr, flush=True)
        return stopped.status
    except KeyboardInterrupt:
        print(f"{title}: interrupted", file=sys.stderr, flush=True)
        return 130
    return 0


def alone_in(folder: Path | None) -> contextlib.AbstractContextManager[object]:
    """Hold a run's folder against other runs, which would move it away as an old one, or write the
    same files.

    The lock file stands beside the folder, which BasicSR renames, and is held by the first of
    several processes.

    Raises:
        InputError: another run holds the folder, or nothing can be written there.
    """
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    if folder is None or rank != "0":
        return contextlib.nullcontext()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder.parent} cannot be made ({error.strerror}); start where you may write"
        ) from error
    return locked(
        folder.with_name(f".{folder.name}.lock"),
        f"another run is writing {folder}; wait for it or stop it, or give this one another name",
    )


def run_pipeline(mode: str, root_path: str) -> None:
    """Fill BasicSR's registries and run its pipeline for `mode`, which reads the command line
    again.
    """
    register()
    repair()

    import torch.distributed
    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline

    if mode == "train":
        with STOP_REQUEST.listening():
            train_pipeline(root_path)
    else:
        test_pipeline(root_path)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
