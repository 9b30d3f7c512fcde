"""The one exception type for mistakes that the user can correct, and how they are reported."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with an option file."""

    key: tuple[str, ...]  # names of the sections and the key, from the top
    text: str  # what is wrong, after the key's path
    remedy: str  # what to do about it
    place: str = ""  # file and line, or argument; `OptionFile.report` fills in what is left out

    def __str__(self) -> str:
        return f"{self.statement}; {self.remedy}"

    @property
    def statement(self) -> str:
        """Path of the key and what is wrong with it."""
        return f"{': '.join(self.key)} {self.text}".strip()


class InputError(ValueError):
    """A file, key or option given by the user cannot be used.

    The message, by default a list of `problems`, names the file, key or option and says what to do.
    The launchers and the `m2trans` command print it without a traceback and exit with status 2.
    """

    def __init__(self, message: str = "", problems: Iterable[Problem] = ()) -> None:
        self.problems = list(problems)
        super().__init__(message or "\n  ".join(map(str, self.problems)))


def reported(subject: str, problems: Sequence[Problem]) -> str:
    """How many problems `subject` (`option file x.yml has`) there are, then the groups of them."""
    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    return "\n".join([f"{subject} {count}", *grouped(problems)])


def grouped(problems: Iterable[Problem]) -> list[str]:
    """One text for each remedy: a line for each problem that it mends, then the remedy."""
    texts = []
    for remedy, group in itertools.groupby(problems, key=lambda problem: problem.remedy):
        lines = [f"  {each.place}: {each.statement}".replace("  : ", "  ") for each in group]
        texts.append("\n".join([*lines, f"    -> {remedy}"]))
    return texts
