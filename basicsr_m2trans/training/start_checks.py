"""What a run cannot do as its option file says, because of its checkpoint or of its own length."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from basicsr_m2trans.checkpoints.weights import as_weights, check_weights
from basicsr_m2trans.options.building import trial_network
from basicsr_m2trans.options.relations import section
from basicsr_m2trans.utils.errors import InputError

REMEDY = "write what the run began with, or begin a new run under another name"


def require_same_network(opt: dict[str, Any], checkpoint: Any, source: str) -> list[str]:
    """Refuse an option file whose network is another one than the checkpoint's.

    Args:
        opt: the option file.
        checkpoint: contents of a network file; its entry `network_g` is the section that the run
            began with.
        source: that file's path.

    Returns:
        For the log, a sentence about settings that differ although the weights fit, such as `fast`
        or `img_range`.

    Raises:
        InputError: the weights do not fit; the message names the settings that differ, or else the
            weights.
    """
    network, saved = section(opt, "network_g"), section(checkpoint, "network_g")
    if "type" not in network:
        return []
    changed = "; ".join(_changes(network, saved)) if saved else ""
    try:
        own = trial_network(network).state_dict()
        check_weights(as_weights(checkpoint["params"], source), own, source, "network_g")
    except InputError as error:
        raise InputError(
            f"cannot resume {opt['name']}: network_g: {changed or error}; {REMEDY}"
        ) from error
    return (
        [f"network_g: {changed}; the weights fit, so the run goes on with the new setting."]
        if changed
        else []
    )


def require_fitting_optimizer(opt: dict[str, Any], state: dict[str, Any]) -> None:
    """Refuse a network that is not resumed (`ignore_resume_networks`) and whose weights have other
    shapes than the moments of the optimizer, which is resumed all the same.

    Raises:
        InputError: they do not fit.
    """
    network = section(opt, "network_g")
    if "type" not in network or not state["optimizers"]:
        return
    optimizer = state["optimizers"][0]
    indices = [index for group in optimizer["param_groups"] for index in group["params"]]
    weights = [weight for weight in trial_network(network).parameters() if weight.requires_grad]
    fits = len(indices) == len(weights) and all(
        moment.shape == weight.shape
        for index, weight in zip(indices, weights, strict=True)
        for moment in optimizer["state"].get(index, {}).values()
        if isinstance(moment, Tensor) and moment.ndim
    )
    if not fits:
        raise InputError(
            f"cannot resume {opt['name']}: path: ignore_resume_networks keeps the optimizer's "
            "state, which does not fit the weights of this network_g; begin a new run under "
            "another name, or write the network_g that the run began with"
        )


def _changes(given: dict[str, Any], saved: dict[str, Any], title: str = "") -> Iterator[str]:
    """What differs, `type` alone where that does; of sections, the keys within them."""
    other_type = given.get("type") != saved.get("type")
    for key in ("type",) if other_type else {**saved, **given}:
        new, old = given.get(key), saved.get(key)
        if isinstance(new, dict) and isinstance(old, dict):
            yield from _changes(new, old, f"{title}{key}: ")
        elif new != old:
            written = [
                repr(section[key]) if key in section else "not given" for section in (given, saved)
            ]
            yield f"{title}{key} is {written[0]}, but was {written[1]}"


def kept_settings(opt: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """What a training state says otherwise of optimizer and learning rate, for the log.

    Args:
        opt: the option file.
        state: a training state, whose optimizer and scheduler go on as they are.

    Raises:
        InputError: the run began with another type of scheduler, `total_iter` goes beyond the saved
            periods, behind which there is no learning rate, or the run is past it already.
    """
    train, title = section(opt, "train"), f"cannot resume {opt['name']}: train:"
    total = train.get("total_iter", state["iter"])
    if total < state["iter"]:
        raise InputError(
            f"{title} total_iter is {total}, but the run has come to {state['iter']}; write at "
            "least that"
        )
    optimizers, schedulers = state["optimizers"][:1], state["schedulers"][:1]
    kept = [
        entry for saved in optimizers for entry in _common(train, "optim_g", _rate_at_start(saved))
    ]
    for saved in schedulers:
        if ("periods" in saved) != ("periods" in section(train, "scheduler")):
            raise InputError(
                f"{title} scheduler: type is not the one that the run began with; {REMEDY}"
            )
        if total > sum(saved.get("periods", [total])):
            raise InputError(
                f"{title} total_iter is {total}, but the run began with the learning rate of "
                f"scheduler: periods {saved['periods']}, which a state keeps; to train on, begin a "
                "new run from its weights (path: pretrain_network_g)"
            )
        kept += _common(train, "scheduler", saved)
    pairs = [(key, _listed(saved), _listed(given)) for key, saved, given in kept]
    return [
        f"train: {key} stays {saved}, with which the run began; {given} has no effect."
        for key, saved, given in pairs
        if saved != given
    ]


def _common(train: dict[str, Any], name: str, saved: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Key, saved and given value of the settings of a section that the state has, too."""
    return [
        (f"{name}: {key}", saved[key], given)
        for key, given in section(train, name).items()
        if key in saved
    ]


def _rate_at_start(optimizer: dict[str, Any]) -> dict[str, Any]:
    """The settings in an optimizer's state, with `lr` as it was before a scheduler lowered it."""
    group = optimizer["param_groups"][0]
    return group | {"lr": group.get("initial_lr", group["lr"])}


def _listed(value: Any) -> Any:
    """As an option file writes it."""
    if isinstance(value, Counter):
        return sorted(value.elements())
    return list(value) if isinstance(value, tuple) else value


def early_end(opt: dict[str, Any]) -> list[str]:
    """A sentence for the log where a training ends before its learning rate has fallen."""
    train = section(opt, "train")
    periods, total = section(train, "scheduler").get("periods"), train.get("total_iter", 0)
    if not periods or not 0 < total < sum(periods):
        return []
    return [
        f"total_iter {total} ends before scheduler: periods {periods}: the learning rate does not "
        "fall to its end; for that, write periods with the same sum."
    ]
