"""How many iterations the trainings of scripts/campaign.sh get: the groups' shares of the time, by measured steps.

python scripts/campaign_lengths.py STEPS.json SECONDS [LEAST]

STEPS.json is what `m2trans bench plan` has written; LEAST replaces the groups' least numbers. Prints a line for each
group, in the order of their worth: scale, methods, iterations of each.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

# Of the time, how much steps get; the rest goes to starting, validating and measuring.
IN_STEPS = 0.75


@dataclass(frozen=True)
class Group:
    """Trainings of equal length.

    Attributes:
        scale, methods: what is trained.
        share: of the time; None for as many iterations as the first group's.
        seeds: how many trainings each method has.
        least: iterations, whatever they take.
    """

    scale: int
    methods: tuple[str, ...]
    share: float | None
    seeds: int = 1
    least: int = 1


GROUPS = (
    Group(4, ("M2Trans_open", "EDSR_open"), 0.35, least=20_000),
    Group(4, ("M2Trans_skip",), 0.1),
    Group(2, ("M2Trans_open", "EDSR_open"), 0.15),
    Group(3, ("M2Trans_open", "EDSR_open"), 0.1),
    Group(4, ("M2Trans_open_bf16",), None),
    Group(4, ("ELAN_skip",), 0.05),
    Group(4, ("SwinIR_skip",), 0.05),
    Group(4, ("HAT_skip",), 0.05),
    Group(4, ("L1_alone", "L1_and_semantic"), 0.1, seeds=3),
)


def lengths(steps: dict[str, float], seconds: float, least: int | None = None) -> list[int]:
    """Iterations of each method of each group.

    Args:
        steps: seconds of a training step by method and scale, such as `EDSR_open_x4`.
        seconds: that the campaign has left.
        least: instead of the groups' own least number.
    """
    found: list[int] = []
    for group in GROUPS:
        if group.share is None:
            found.append(found[0])
            continue
        step = group.seeds * sum(steps[f"{method}_x{group.scale}"] for method in group.methods)
        number = int(IN_STEPS * group.share * seconds / step)
        # Round figures, but not nothing.
        number = number // 1000 * 1000 if number >= 1000 else number
        found.append(max(number, group.least if least is None else least))
    return found


def main() -> None:
    """Print the groups."""
    figures = json.loads(Path(sys.argv[1]).read_text())["figures"]
    steps = {figure["name"]: figure["median"] for figure in figures if figure["case"].startswith("training step")}
    least = int(sys.argv[3]) if sys.argv[3:] else None
    for group, number in zip(GROUPS, lengths(steps, float(sys.argv[2]), least), strict=True):
        print(group.scale, ",".join(group.methods), number)


if __name__ == "__main__":
    main()
