"""Runs BasicSR's training or test with this plugin, on options that are checked once."""

import argparse
import contextlib
import itertools
import logging
import os
import random
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from basicsr_m2trans.checkpoints.training_states import (
    latest_training_state,
    read_training_state,
)
from basicsr_m2trans.models.training_run import TrainingRun, TrainingStopped
from basicsr_m2trans.options.checks import require_sound
from basicsr_m2trans.registration import register
from basicsr_m2trans.training.command_line import add_arguments
from basicsr_m2trans.training.failures import explain_failure, is_lost_exchange
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.locking import locked
from basicsr_m2trans.utils.yaml_file import OptionFile

# The folder of a run's folders, below the root path.
FOLDERS = {"train": "experiments", "test": "results"}


def main(mode: str, root_path: str) -> int:
    """Run BasicSR's training or test with the arguments of the command line, which are BasicSR's.

    They are `-opt FILE [--launcher pytorch] [--auto_resume] [--debug] [--force_yml KEY:KEY=VALUE
    ...]`. A mistake of the user is printed without a traceback; before BasicSR creates any folder,
    one message lists all that is wrong. Another run that writes the same folder is refused. Where
    the machine fails (a GPU, memory, a full disk), the log and the last line say what to do.

    Args:
        mode: 'train' or 'test'.
        root_path: the folder that receives `experiments/` or `results/`.

    Returns:
        The exit status: 0 when all went well, 1 where the machine or the exchange with the run's
        other processes failed, 2 for a mistake in the input, 130 after Ctrl-C, 143 after SIGTERM,
        which a training in progress answers by saving a checkpoint first.
    """
    return start(mode, root_path, parse_arguments(), as_typed=True)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """BasicSR's arguments, by default those of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-opt", required=True, help="option file")
    add_arguments(parser)
    return parser.parse_args(arguments)


def start(mode: str, root_path: str, args: argparse.Namespace, as_typed: bool = False) -> int:
    """What `main` does, with arguments that are parsed.

    Args:
        mode, root_path: as of `main`.
        args: `opt` and those of `command_line`.
        as_typed: whether they are this process's command line as it is.
    """
    return status_of(mode, lambda: _start(mode, root_path, args, as_typed))


def command(mode: str, root_path: str, *arguments: str) -> list[str]:
    """The command of a process that does what `main` does."""
    return _python(f"main({mode!r}, {root_path!r})", arguments)


def go_on(mode: str, root_path: str) -> int:
    """Run BasicSR's pipeline in a process that has BasicSR's command line."""
    return status_of(mode, lambda: run_pipeline(mode, root_path))


def run_pipeline(mode: str, root_path: str) -> None:
    """Fill BasicSR's registries and run its pipeline for `mode`, which reads the command line."""
    register()

    import torch.distributed
    from basicsr.test import test_pipeline
    from basicsr.train import train_pipeline

    from basicsr_m2trans.training.repairs import repaired_trainer

    with TrainingRun().current() as run, repaired_trainer(run):
        (train_pipeline if mode == "train" else test_pipeline)(root_path)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _start(mode: str, root_path: str, args: argparse.Namespace, as_typed: bool) -> None:
    file, folder, state = checked(mode, root_path, args)
    if file.opt.get("manual_seed") is None:
        saved = _saved_seed(state) if state else None
        file.opt["manual_seed"] = saved or _draw_seed(args.launcher)
    with alone_in(folder) as lock:
        if lock is not None and not state:
            keep_earlier_run(folder)
            tb_logger = mode == "train" and file.opt["logger"].get("use_tb_logger")
            if tb_logger and "debug" not in folder.name:
                keep_earlier_run(Path(root_path, "tb_logger", folder.name))
        if as_typed and not args.force_yml and _as_basicsr_reads(args.opt) == file.opt:
            run_pipeline(mode, root_path)
            return
        # BasicSR takes its arguments from the command line alone (`parser.parse_args()` in its
        # utils/options.py): other ones need a process of their own, which keeps the lock.
        resolved = folder.with_name(f".{folder.name}.options") / _rank() / Path(args.opt).name
        resolved.parent.mkdir(parents=True, exist_ok=True)
        # ASCII alone, because BasicSR opens the file in the locale's encoding.
        text = f"# As a run was given it: {shlex.join(sys.argv)!a}\n"
        write_atomic(resolved, (text + yaml.safe_dump(file.opt, sort_keys=False)).encode())
        if lock is not None:
            os.set_inheritable(lock, True)
        sys.stdout.flush()
        code = f"go_on({mode!r}, {root_path!r})"
        os.execv(sys.executable, _python(code, [*_flags(args), "-opt", str(resolved)]))


def checked(
    mode: str, root_path: str, args: argparse.Namespace
) -> tuple[OptionFile, Path, str | Path | None]:
    """The options of a run, the folder that it will write, and the state that it goes on from.

    Raises:
        InputError: the options cannot be used.
    """
    file = OptionFile.read(args.opt, args.force_yml)
    folder = _folder(mode, root_path, file, args)
    state = latest_training_state(folder / "training_states") if args.auto_resume else None
    require_sound(file, mode, resume_state=state)
    model = file.opt["model_type"]
    if args.launcher != "none" and model != "M2TransModel" and not torch.cuda.is_available():
        raise InputError(
            f"--launcher {args.launcher}: BasicSR's {model} needs a GPU for each of several "
            "processes, and PyTorch finds none here; write model_type: M2TransModel"
        )
    return file, folder, state or file.opt["path"].get("resume_state")


def _folder(mode: str, root_path: str, file: OptionFile, args: argparse.Namespace) -> Path:
    """The folder that BasicSR will write."""
    name = str(file.opt.get("name"))
    prefix = "debug_" if args.debug and not name.startswith("debug") else ""
    folder = Path(root_path, FOLDERS[mode], prefix + name)
    if Path(args.opt).resolve().parent == folder.resolve():
        raise InputError(
            f"-opt {args.opt}: the run writes its own copy to this place; copy the file elsewhere "
            "first"
        )
    return folder


def _saved_seed(state: str | Path) -> int | None:
    """The seed of an interrupted run; None in states of `SRModel`, and if the state is damaged."""
    with contextlib.suppress(InputError):
        return read_training_state(state).get("manual_seed")
    return None


def _draw_seed(launcher: str) -> int:
    """A seed as BasicSR draws one; the same for all processes of a run."""
    seed = random.randint(1, 10000)
    if launcher == "none":
        return seed
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise InputError(
            "manual_seed is missing: the processes of a run need the same one, and only those of "
            "torchrun can agree on it; write a number"
        )
    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False)
    return int(store.compare_set("m2trans/manual_seed", "", str(seed)))


def _flags(args: argparse.Namespace) -> list[str]:
    """BasicSR's arguments beside the option file's; overrides are in the file."""
    flags = ["--launcher", args.launcher] if args.launcher != "none" else []
    return flags + [f"--{name}" for name in ("auto_resume", "debug") if getattr(args, name)]


def _as_basicsr_reads(path: str) -> dict[str, Any]:
    """The options of a file that has proved to hold plain values alone."""
    register()
    from basicsr.utils.options import ordered_yaml

    return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=ordered_yaml()[0])


def _python(code: str, arguments: Sequence[str]) -> list[str]:
    """The command that calls a function of this module."""
    package = str(Path(__file__).parents[2])
    paths = f"import sys; sys.path.insert(0, {package!r})"
    code = f"{paths}; from basicsr_m2trans.training import launch; sys.exit(launch.{code})"
    return [sys.executable, "-c", code, *arguments]


def status_of(mode: str, run: Callable[[], None]) -> int:
    """The exit status of what `main` does; errors are explained."""
    rank = os.environ.get("RANK")
    title = mode if rank is None else f"{mode} (rank {rank})"
    try:
        run()
    except InputError as error:
        # A DataLoader worker's error arrives with the worker's traceback before its message.
        marker = f"{InputError.__module__}.{InputError.__name__}: "
        print(f"{title}: {str(error).rpartition(marker)[2].strip()}", file=sys.stderr, flush=True)
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


def keep_earlier_run(folder: Path) -> None:
    """Rename the folder of an earlier run, if any, as BasicSR does, which fails on a taken name.

    That happens where the clock was set back, or where runs begin and end within a second.
    """
    if not folder.exists():
        return
    archived = f"{folder}_archived_{time.strftime('%Y%m%d_%H%M%S')}"
    names = itertools.chain([archived], (f"{archived}_{number}" for number in itertools.count(2)))
    unused = next(name for name in names if not os.path.exists(name))
    print(f"{folder} exists; it is renamed to {unused}", flush=True)
    folder.rename(unused)


def _rank() -> str:
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))


def alone_in(folder: Path) -> contextlib.AbstractContextManager[int | None]:
    """Hold a run's folder against other runs, which would move it away as an old one, or write the
    same files.

    The lock file stands beside the folder, which BasicSR renames, and is held by the first of
    several processes.

    Raises:
        InputError: another run holds the folder, or nothing can be written there.
    """
    if _rank() != "0":
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
