"""Options of the training loop: how a step is computed, what is kept (docs/training.md)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from basicsr_m2trans.utils.errors import InputError, Problem


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What `M2TransModel` reads under `train:` beside `SRModel`'s keys; defaults change nothing.

    Args:
        amp: 'bf16' runs the network under autocast to bfloat16; weights, losses and the optimizer
            stay float32.
        compile: True compiles the network's training pass with `torch.compile`; a text names
            another backend of it.
        tf32: True lets a GPU multiply float32 in TF32, False forbids it (`precision.py`); None
            leaves it to PyTorch.
        channels_last: keep weights and images channels-last in memory.
        checkpointing: keep only the inputs of the network's repeated blocks and compute the rest
            again in the backward pass.
        accumulate: number of equal parts (micro-batches) that a batch is divided into; their
            gradients are summed.
        grad_clip_norm: largest norm of the gradient of all weights together.

    Raises:
        InputError: one or several values cannot be used; the message names each.
    """

    amp: str | None = None
    compile: bool | str = False
    tf32: bool | None = None
    channels_last: bool = False
    checkpointing: bool = False
    accumulate: int = 1
    grad_clip_norm: float = math.inf

    def __post_init__(self) -> None:
        clip = self.grad_clip_norm
        wanted = {
            "amp": (self.amp in (None, "bf16"), "bf16, or ~ for float32"),
            "tf32": (
                isinstance(self.tf32, bool | None),
                "true or false, or ~ for PyTorch's own setting",
            ),
            "channels_last": (isinstance(self.channels_last, bool), "true or false"),
            "checkpointing": (isinstance(self.checkpointing, bool), "true or false"),
            "accumulate": (_is_count(self.accumulate), "a whole number of at least 1"),
            "grad_clip_norm": (
                isinstance(clip, int | float) and not isinstance(clip, bool) and clip > 0,
                "a number above 0, or ~ for none",
            ),
        }
        problems = _problems("train", self, wanted) + self._compile_problems()
        if problems:
            raise InputError(problems=problems)

    @classmethod
    def from_section(cls, section: Mapping[str, Any]) -> "TrainingOptions":
        """Take the options out of an option file's section `train`; `~` means the default.

        Raises:
            InputError: as the class.
        """
        return cls(**{key: section[key] for key in OPTION_KEYS if section.get(key) is not None})

    def part_size(self, batch_size: int) -> int:
        """Images in each of the parts that a batch is divided into.

        Raises:
            InputError: the parts would not be equal.
        """
        if batch_size % self.accumulate:
            text = f"a batch of {batch_size} does not divide into train: accumulate "
            text += f"{self.accumulate} equal parts"
            remedy = "change it or datasets: train: batch_size_per_gpu"
            problem = Problem(("train", "accumulate"), f"does not fit: {text}", remedy)
            raise InputError(f"{text}; {remedy}", [problem])
        return batch_size // self.accumulate

    def _compile_problems(self) -> list[Problem]:
        if self.compile is False:
            return []
        import torch

        if self.compile is True:
            from basicsr_m2trans.inference.compiled import missing_for_compiling

            missing = missing_for_compiling("cuda" if torch.cuda.is_available() else "cpu")
            text = f"needs {missing}, which is not here"
            remedy = "install it, or write false"
            return [Problem(("train", "compile"), text, remedy)] if missing else []
        backends, wanted = torch.compiler.list_backends(exclude_tags=()), "true or false"
        if isinstance(self.compile, str):
            wanted = f"true, false or one of {', '.join(backends)}"
        return _problems("train", self, {"compile": (self.compile in backends, wanted)})


@dataclasses.dataclass(frozen=True)
class CheckpointOptions:
    """What `M2TransModel` reads under `logger:` beside BasicSR's keys; defaults keep everything.

    Args:
        keep_last: how many of the newest checkpoints (network and state) stay; None for all.
        keep_best: True keeps the network that is best in the first metric as `net_g_best.pth`; a
            text names another metric.
        metrics: names of the metrics in the section `val:`.

    Raises:
        InputError: one or both values cannot be used; the message names each.
    """

    keep_last: int | None = None
    keep_best: bool | str = False
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kept = self.keep_last is None or _is_count(self.keep_last)
        wanted = {"keep_last": (kept, "a whole number of at least 1, or ~ for all")}
        if not isinstance(self.keep_best, bool) and self.metrics:
            names = f"true, false or one of val: metrics: {', '.join(self.metrics)}"
            wanted["keep_best"] = self.keep_best in self.metrics, names
        problems = _problems("logger", self, wanted)
        if self.keep_best is not False and not self.metrics:
            text, remedy = "needs metrics to compare", "add some to val: metrics, or write false"
            problems.append(Problem(("logger", "keep_best"), text, remedy))
        if problems:
            raise InputError(problems=problems)

    @classmethod
    def from_options(cls, opt: Mapping[str, Any]) -> "CheckpointOptions":
        """Take the options out of an option file; `~` means the default.

        Raises:
            InputError: as the class.
        """
        logger = opt.get("logger") or {}
        given = {
            key: logger[key] for key in ("keep_last", "keep_best") if logger.get(key) is not None
        }
        return cls(**given, metrics=tuple((opt.get("val") or {}).get("metrics") or ()))

    @property
    def best_metric(self) -> str | None:
        """The metric that decides which network is the best; None where none is kept."""
        return self.metrics[0] if self.keep_best is True else self.keep_best or None


OPTION_KEYS = tuple(field.name for field in dataclasses.fields(TrainingOptions))


def _problems(section: str, options: Any, wanted: Mapping[str, tuple[bool, str]]) -> list[Problem]:
    """A problem for each key with a wrong value; `wanted` says whether it is right, and what is."""
    return [
        Problem((section, key), f"is {getattr(options, key)!r}", f"write {text}")
        for key, (right, text) in wanted.items()
        if not right
    ]


def _is_count(value: Any) -> bool:
    """YAML's true and false are whole numbers to Python, but not to the user."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
