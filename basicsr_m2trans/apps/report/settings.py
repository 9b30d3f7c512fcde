"""What a comparison is of: its methods, and all that they have in common."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from basicsr_m2trans.utils.yaml_file import Changes

# Bicubic interpolation, the method without parameters.
BICUBIC = "Bicubic"


def method_name(text: str) -> str:
    """The name of a method; that of bicubic interpolation may be written in lower case."""
    return BICUBIC if text.lower() == BICUBIC.lower() else text


@dataclass(frozen=True)
class Method:
    """A method of a comparison.

    Attributes:
        name: in tables, figures and names of files.
        base: its option file is train_BASE_xSCALE.yml; the same as the name where it is empty.
        seeds: one training for each.
        scales: those of the comparison's at which the method is trained; None for all.
        lengths: iterations of each training, by scale; where there are none the time decides.
        changes: what is merged into the option file, by scale and in this order.
        others: names that may have been meant where the option file does not exist, beside those of
            option files.
        place: where the method is defined, for messages.
    """

    name: str
    base: str = ""
    seeds: tuple[int, ...] = (0,)
    scales: tuple[int, ...] | None = None
    lengths: dict[int, int] = field(default_factory=dict)
    changes: dict[int, tuple[Changes, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = field(default=(), compare=False)
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Settings:
    """What a comparison is of.

    Attributes:
        data: folder with the prepared sets `train` and `val`.
        methods: by name, in the order of the tables.
        scales: every method is trained at each, unless it names its own.
        minutes: time in training steps for each training; None for no limit.
        tests: prepared sets to measure on, by name.
        reference: the method of which the others are subtracted in the tables.
        overrides: changes of the option files by `--set`; see `methods.base_files`.
        validations: how often each training validates.
        options: folder of option files.
        panels: TEST/IMAGE for each figure of details; none for the middle image of each test set.
        panels_place: where they are named, for messages.
    """

    data: Path
    methods: dict[str, Method]
    scales: tuple[int, ...]
    minutes: float | None
    tests: dict[str, Path]
    reference: str
    overrides: tuple[str, ...] = ()
    validations: int = 10
    options: Path = Path("options")
    panels: tuple[str, ...] = ()
    panels_place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Run:
    """One training of a comparison; `seed` is None for bicubic interpolation, which needs none."""

    method: str
    scale: int
    seed: int | None

    @property
    def setting(self) -> str:
        """Name shared by the runs that differ in their seed alone."""
        return f"{self.method}_x{self.scale}"

    @property
    def name(self) -> str:
        """Name of the run's option file, experiment and results."""
        return self.setting if self.seed is None else f"{self.setting}_seed{self.seed}"


def plan_runs(methods: Iterable[Method], scales: Iterable[int]) -> list[Run]:
    """All runs, scale by scale and seed by seed, so that early results compare all methods."""
    methods = list(methods)
    seeds = list(dict.fromkeys(seed for method in methods for seed in method.seeds)) or [0]
    return [
        Run(method.name, scale, None if method.name == BICUBIC else seed)
        for scale in scales
        for seed in seeds
        for method in methods
        if method.scales is None or scale in method.scales
        if (seed == seeds[0] if method.name == BICUBIC else seed in method.seeds)
    ]
