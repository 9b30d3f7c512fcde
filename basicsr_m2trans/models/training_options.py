"""Options of the training loop, apart from what is learned: how a step is computed, what is kept
(docs/training.md).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from basicsr_m2trans.utils.errors import InputError


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Keys of the section `train:` that `M2TransModel` knows beside `SRModel`'s; every default is
    plain training.

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
        problems = []
        if self.amp not in (None, "bf16"):
            problems.append(f"train: amp is {self.amp!r}; write bf16, or ~ for float32")
        if self.tf32 is not None and not isinstance(self.tf32, bool):
            problems.append(
                f"train: tf32 is {self.tf32!r}; write true or false, or ~ for PyTorch's own setting"
            )
        for key in ("channels_last", "checkpointing"):
            if not isinstance(getattr(self, key), bool):
                problems.append(f"train: {key} is {getattr(self, key)!r}; write true or false")
        if not _is_number(self.accumulate, int) or self.accumulate < 1:
            problems.append(
                f"train: accumulate is {self.accumulate!r}; write a whole number of at least 1"
            )
        if not _is_number(self.grad_clip_norm, int | float) or not self.grad_clip_norm > 0:
            problems.append(
                f"train: grad_clip_norm is {self.grad_clip_norm!r}; write a number above 0, or ~ "
                "for none"
            )
        problems += self._compile_problems()
        if problems:
            raise InputError("\n  ".join(problems))

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
            raise InputError(
                f"a batch of {batch_size} does not divide into train: accumulate {self.accumulate} "
                "equal parts; change it or datasets: train: batch_size_per_gpu"
            )
        return batch_size // self.accumulate

    def _compile_problems(self) -> list[str]:
        if self.compile is True:
            import torch

            from basicsr_m2trans.inference.compiled import missing_for_compiling

            missing = missing_for_compiling("cuda" if torch.cuda.is_available() else "cpu")
            if missing:
                return [
                    f"train: compile needs {missing}, which is not here; install it, or write false"
                ]
        elif isinstance(self.compile, str):
            import torch

            backends = torch.compiler.list_backends(exclude_tags=())
            if self.compile not in backends:
                return [
                    f"train: compile is {self.compile!r}; write true, false or one of "
                    f"{', '.join(backends)}"
                ]
        elif self.compile is not False:
            return [f"train: compile is {self.compile!r}; write true or false"]
        return []


@dataclasses.dataclass(frozen=True)
class CheckpointOptions:
    """Keys of the section `logger:` that `M2TransModel` knows beside BasicSR's; the defaults keep
    every checkpoint.

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
        problems = []
        if self.keep_last is not None and (
            not _is_number(self.keep_last, int) or self.keep_last < 1
        ):
            problems.append(
                f"logger: keep_last is {self.keep_last!r}; write a whole number of at least 1, or "
                "~ for all"
            )
        if self.keep_best is not False and not self.metrics:
            problems.append(
                "logger: keep_best needs metrics to compare; add some to val: metrics, or write "
                "false"
            )
        elif not isinstance(self.keep_best, bool) and self.keep_best not in self.metrics:
            known = ", ".join(self.metrics)
            problems.append(
                f"logger: keep_best is {self.keep_best!r}; write true, false or one of val: "
                f"metrics: {known}"
            )
        if problems:
            raise InputError("\n  ".join(problems))

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


def _is_number(value: Any, kind: Any) -> bool:
    """YAML's true and false are whole numbers to Python, but not to the user."""
    return isinstance(value, kind) and not isinstance(value, bool)
