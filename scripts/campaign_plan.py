"""Shares the time of scripts/campaign.sh out among its trainings, by measured steps.

python scripts/campaign_plan.py PLAN.yml STEPS.json SECONDS WORK [LEAST]

STEPS.json is what `m2trans bench plan` has written; LEAST replaces the groups' least numbers.
Writes WORK/plan.yml, the plan with lengths and with data and results in WORK, and WORK/groups: a
line for each group, with its scale and methods. Groups without measured steps are left out.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from basicsr_m2trans.utils.atomic import write_atomic

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

    @property
    def settings(self) -> list[str]:
        """Method and scale as `m2trans compare` names them."""
        return [f"{method}_x{self.scale}" for method in self.methods]


# In the order of their worth.
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


def lengths(
    steps: Mapping[str, float], seconds: float, least: int | None = None
) -> dict[Group, int]:
    """Iterations of each method of each group, without groups of which a step is not known.

    Args:
        steps: seconds of a training step by method and scale, such as `EDSR_open_x4`.
        seconds: that the campaign has left.
        least: instead of the groups' own least number.
    """
    found: dict[Group, int] = {}
    for group in GROUPS:
        if not steps.keys() >= set(group.settings) or (
            group.share is None and GROUPS[0] not in found
        ):
            continue
        if group.share is None:
            found[group] = found[GROUPS[0]]
            continue
        step = group.seeds * sum(steps[setting] for setting in group.settings)
        number = int(IN_STEPS * group.share * seconds / step)
        # Round figures, but not nothing.
        number = number // 1000 * 1000 if number >= 1000 else number
        found[group] = max(number, group.least if least is None else least)
    return found


def with_lengths(plan: dict[str, Any], found: Mapping[Group, int], work: Path) -> dict[str, Any]:
    """The plan with its trainings' lengths and files in `work`; without those that have none."""
    methods: dict[str, Any] = {"bicubic": None}
    for group, number in found.items():
        for method in group.methods:
            definition = methods.setdefault(
                method, dict(plan["methods"][method] or {}, scales=[], iterations={})
            )
            definition["scales"].append(group.scale)
            definition["iterations"][f"x{group.scale}"] = number
    data = {
        "data": str(work / "data"),
        "out": str(work / "comparison"),
        "tests": {"val": str(work / "data/val")},
    }
    return (
        {key: value for key, value in plan.items() if key != "iterations"}
        | data
        | {"methods": methods}
    )


def main() -> None:
    """Write both files."""
    plan, steps_file, seconds, work = (
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        float(sys.argv[3]),
        Path(sys.argv[4]),
    )
    figures = json.loads(steps_file.read_text())["figures"]
    steps = {
        figure["name"]: figure["median"]
        for figure in figures
        if figure["case"].startswith("training step")
    }
    found = lengths(steps, seconds, int(sys.argv[5]) if sys.argv[5:] else None)
    for group, number in found.items():
        print(f"{number:,} iterations: {', '.join(group.settings)}")
    content = with_lengths(yaml.safe_load(plan.read_text()), found, work)
    write_atomic(work / "plan.yml", yaml.safe_dump(content, sort_keys=False).encode())
    lines = [f"{group.scale} {','.join(group.methods)}\n" for group in found]
    write_atomic(work / "groups", "".join(lines).encode())


if __name__ == "__main__":
    main()
