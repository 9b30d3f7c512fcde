"""What a run does otherwise than its option file seems to say, because of a checkpoint or of its own length."""

from collections.abc import Iterator
from typing import Any

from basicsr_m2trans.errors import InputError
from basicsr_m2trans.option_schema.building import build_network
from basicsr_m2trans.option_schema.relations import section
from basicsr_m2trans.weights import as_weights, check_weights

REMEDY = "write what the run began with, or begin a new run under another name"


def require_same_network(opt: dict[str, Any], checkpoint: Any, source: str) -> list[str]:
    """Refuse an option file whose network is another one than the checkpoint's.

    Args:
        opt: the option file.
        checkpoint: contents of a network file; its entry `network_g` is the section that the run began with.
        source: that file's path.

    Returns:
        For the log, a sentence about settings that differ although the weights fit, such as `fast` or `img_range`.

    Raises:
        InputError: the weights do not fit; the message names the settings that differ, or else the weights.
    """
    network, saved = section(opt, "network_g"), section(checkpoint, "network_g")
    if "type" not in network:
        return []
    changed = "; ".join(
        f"{key} is {_written(network, key)}, but was {_written(saved, key)}"
        for key in {**saved, **network}
        if saved and network.get(key) != saved.get(key)
    )
    try:
        own = build_network(network).state_dict()
        check_weights(as_weights(checkpoint["params"], source), own, source, "network_g")
    except InputError as error:
        raise InputError(f"cannot resume {opt['name']}: network_g: {changed or error}; {REMEDY}") from error
    return [f"network_g: {changed}, when the run began; the weights fit, and it goes on so."] if changed else []


def _written(settings: dict[str, Any], key: str) -> str:
    return repr(settings[key]) if key in settings else "not given"


def kept_schedule(opt: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """What a training state says otherwise of the learning rate than the option file, in sentences for the log.

    Args:
        opt: the option file.
        state: a training state; its schedulers are those that the run began with.

    Raises:
        InputError: `total_iter` goes beyond the saved periods, behind which there is no learning rate.
    """
    train = section(opt, "train")
    kept = [(key, saved, given) for key, saved, given in _settings(train, state) if saved != given]
    total = train.get("total_iter", 0)
    for key, saved, _ in kept:
        if key == "scheduler: periods" and total > sum(saved):
            raise InputError(
                f"cannot resume {opt['name']}: train: total_iter is {total}, but the run began with the learning rate "
                f"of scheduler: periods {saved}, which a state keeps; to train on, begin a new run from its weights "
                "(path: pretrain_network_g)"
            )
    return [f"{key} stays {saved}, with which the run began; {given} has no effect." for key, saved, given in kept]


def early_end(opt: dict[str, Any]) -> list[str]:
    """That a training ends before its learning rate has fallen, in a sentence for the log; none where it does not."""
    train = section(opt, "train")
    periods, total = section(train, "scheduler").get("periods"), train.get("total_iter", 0)
    if not periods or not 0 < total < sum(periods):
        return []
    return [
        f"total_iter {total} ends before scheduler: periods {periods}: the learning rate does not fall to its end; "
        "if it shall, write periods with the same sum."
    ]


def _settings(train: dict[str, Any], state: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Key, saved and given value of what PyTorch's schedulers keep in their states."""
    scheduler, rate = section(train, "scheduler"), section(train, "optim_g").get("lr")
    for saved in state["schedulers"][:1]:
        if "periods" in saved and "periods" in scheduler:
            yield "scheduler: periods", list(saved["periods"]), scheduler["periods"]
        if "milestones" in saved and "milestones" in scheduler:
            yield "scheduler: milestones", sorted(saved["milestones"].elements()), scheduler["milestones"]
        if rate is not None and saved.get("base_lrs"):
            yield "optim_g: lr", saved["base_lrs"][0], rate
