"""What a comparison would do, as text: its runs, what is finished of them, and what is missing."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from basicsr_m2trans.apps.report.comparison_state import ComparisonState, open_state, refuse_others
from basicsr_m2trans.apps.report.methods import SET_KEYS, make_paths_absolute, option_file
from basicsr_m2trans.apps.report.settings import Run
from basicsr_m2trans.apps.report.work import Work
from basicsr_m2trans.options.checks import read_option_file
from basicsr_m2trans.options.relations import section
from basicsr_m2trans.utils.yaml_file import leaves

# Options of a network that every comparison gives by itself or that are the same for all.
COMMON_KEYS = ("type", "upscale", "num_in_ch", "num_out_ch", "in_chans", "img_range", "rgb_mean")
WIDTH = 120


def describe(comparison: Work) -> str:
    """The comparison's runs, methods, data and what it lacks.

    Raises:
        InputError: the folder to write to holds something else, or a comparison with other
            settings.
    """
    refuse_others(comparison.out)
    settings, state = comparison.settings, open_state(comparison, keep=False)
    header = ["run", "option file", "parameters (M)", "GMACs", "length", "state"]
    rows = [_row(comparison, state, run) for run in comparison.runs]
    first = {run.setting: run for run in comparison.runs if run.seed is not None}
    lines = [*_aligned([header, *rows]), ""]
    for run in first.values():
        lines += _method(comparison, run)
    lines += ["", f"data:      {settings.data}"]
    lines += [f"test:      {name}={folder}" for name, folder in settings.tests.items()]
    lines += [f"reference: {settings.reference}", f"out:       {comparison.out}"]
    if comparison.missing:
        missing = [line for text in comparison.missing for line in text.splitlines()]
        lines += ["", "missing:", *(f"  {line}" for line in missing)]
    return "\n".join(lines)


def _row(comparison: Work, state: ComparisonState, run: Run) -> list[str]:
    count = comparison.counts[run.method, run.scale]
    tests = comparison.settings.tests
    measured = ", ".join(test for test in tests if comparison.scores_file(run, test).is_file())
    done = ["trained"] if run.name in state.trained else []
    done += [f"measured on {measured}"] if measured else []
    trained = run.seed is not None
    path = str(_option_file(comparison, run)) if trained else "-"
    length = _length(comparison, state, run) if trained else "-"
    return [run.name, path, *count.texts, length, "; ".join(done) or "to do"]


def _option_file(comparison: Work, run: Run) -> Path:
    method = comparison.settings.methods[run.method]
    return option_file(method.base or method.name, run.scale, comparison.settings.options)


def _length(comparison: Work, state: ComparisonState, run: Run) -> str:
    iterations, minutes = comparison.length(run), comparison.settings.minutes
    known = state.iterations.get(run.setting, iterations)
    texts = [f"{known:,} iterations"] if known else []
    texts += [f"{minutes:g} minutes"] if minutes else []
    return ", at most ".join(texts)


def _method(comparison: Work, run: Run) -> Iterator[str]:
    """A method's network at one scale, how it is trained, and what differs from its option file."""
    base, path = comparison.bases[run.setting], _option_file(comparison, run)
    network, data, train = base["network_g"], base["datasets"]["train"], base["train"]
    values = [f"{key} {value}" for key, value in network.items() if key not in COMMON_KEYS]
    yield f"{run.setting}: {', '.join([network['type'], *values])}"
    losses = [section(train, key).get("type") for key in train if key.endswith("_opt")]
    yield (
        f"  HR patch {data.get('gt_size')}, batch {data.get('batch_size_per_gpu')}, "
        f"{train['optim_g']['type']} at {train['optim_g']['lr']}, {train['scheduler']['type']}, "
        f"{' + '.join(loss for loss in losses if loss)}"
    )
    before = read_option_file(path, "train").opt
    make_paths_absolute(before)
    changed = ", ".join(_changes(before, base)) or "nothing"
    yield from textwrap.wrap(
        f"changed: {changed}",
        WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What a method has other than its option file, and what it lacks, apart from the data."""
    old, new = dict(leaves(before)), dict(leaves(now))
    for key, value in new.items():
        if old.get(key, ()) != value and not _is_of_the_data(key):
            yield f"{':'.join(key)}={'~' if value is None else value}"
    sections = {key[:size] for key in new for size in range(1, len(key) + 1)}
    lacking: dict[tuple[str, ...], None] = {}
    for key in old:
        # A section that has become a value, such as `~`, or the reverse is named above.
        named = key in sections or any(key[:size] in new for size in range(1, len(key)))
        if not named and not _is_of_the_data(key):
            # A section that is gone is named as a whole.
            above = (key[:size] for size in range(1, len(key)))
            lacking[next((each for each in above if each not in sections), key)] = None
    yield from (f"without {':'.join(key)}" for key in lacking)


def _is_of_the_data(key: tuple[str, ...]) -> bool:
    # A comparison's data sets are of one type, unless the changes name another.
    return key[0] == "datasets" and key[2] in SET_KEYS and key[2] != "type"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines in which the cells of a column begin below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
