"""Checkpoints of a training run on disk: a network file and a state for each iteration."""

import zipfile
from pathlib import Path
from typing import Any

from basicsr_m2trans.checkpoints.weights import read_checkpoint
from basicsr_m2trans.utils.errors import InputError


def training_states(folder: str | Path) -> list[Path]:
    """The files `<iteration>.state` in `folder`, if it exists; the latest iteration first."""
    states = [path for path in Path(folder).glob("*.state") if path.stem.isdigit()]
    return sorted(states, key=lambda path: int(path.stem), reverse=True)


def latest_training_state(folder: str | Path) -> Path | None:
    """The file `<iteration>.state` of the highest iteration in `folder`, or None."""
    return next(iter(training_states(folder)), None)


def read_whole_checkpoint(path: str | Path) -> Any:
    """Read a file written by `torch.save` to the CPU after checking all its bytes.

    Such a file is a zip archive, which ends with its list of contents and has a CRC-32 of every
    entry: a torn file lacks the first, a changed one fails the second. `torch.load` looks at none.

    Raises:
        InputError: the bytes have changed; or see `read_checkpoint`.
    """
    if zipfile.is_zipfile(path) and not _entries_are_whole(path):
        raise InputError(
            f"{path} cannot be read: its contents have changed since they were written; get it "
            "again"
        )
    return read_checkpoint(path)


def _entries_are_whole(path: str | Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile raises many types for changed bytes
        return False


def read_training_state(path: str | Path) -> dict[str, Any]:
    """Read a `.state` file of BasicSR to the CPU; the optimizer moves its tensors itself.

    Returns:
        `iter`, `epoch` and the state dictionaries of `optimizers` and `schedulers`; of
        `M2TransModel` also `best_metric_results` and the `TrainingPosition.entries`.

    Raises:
        InputError: there is no such file, it is damaged, or no training state.
    """
    if not Path(path).is_file():
        raise InputError(
            f"path: resume_state: {path} does not exist; give a file of the interrupted run's "
            "folder training_states"
        )
    try:
        state = read_whole_checkpoint(path)
    except InputError as error:
        raise InputError(f"{error}, or remove it and resume an earlier state") from error
    parts = {"epoch", "iter", "optimizers", "schedulers"}
    if not isinstance(state, dict) or not parts <= state.keys():
        raise InputError(
            f"{path} is not a training state; give a .state file of the interrupted run's "
            "training_states"
        )
    return state


def delete_older_checkpoints(models: Path, states: Path, newest: int, keep: int) -> None:
    """Delete networks and states before iteration `newest`, but the last `keep - 1` of them.

    Files of later iterations, and networks without a number such as `net_g_latest.pth`, stay.

    Args:
        models, states: folders of the networks and of the training states.
        newest: iteration of a complete checkpoint.
        keep: number of checkpoints to keep, the newest included; at least 1.
    """
    numbers = {path.stem for path in training_states(states)}
    numbers |= {path.stem.removeprefix("net_g_") for path in models.glob("net_g_*.pth")}
    older = sorted(
        (int(number) for number in numbers if number.isdigit() and int(number) < newest),
        reverse=True,
    )
    for iteration in older[keep - 1 :]:
        # The state first: a state without its network would be missed.
        (states / f"{iteration}.state").unlink(missing_ok=True)
        (models / f"net_g_{iteration}.pth").unlink(missing_ok=True)
