"""Averages over images, spread over seeds, and paired differences with confidence intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from basicsr_m2trans.evaluation.prepared_set import Scores
from basicsr_m2trans.evaluation.protocols import LOWER_IS_BETTER
from basicsr_m2trans.utils.errors import InputError

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """One method's value minus another's, image by image.

    Attributes:
        mean: over the images.
        low, high: its bootstrap confidence interval.
        better: share of the images, from 0 to 1, on which the one method is better than the other.
    """

    mean: float
    low: float
    high: float
    better: float


@dataclass(frozen=True)
class Cell:
    """One method's value of one metric on one test set.

    Attributes:
        mean: over the images, then over the seeds.
        deviation: standard deviation (n - 1) of the seeds' means; None for a single seed.
        seeds, images: how many.
        difference: the reference method minus this one; None for the reference itself or where it
            is missing.
    """

    mean: float
    deviation: float | None
    seeds: int
    images: int
    difference: Difference | None


# (scale, method, test set, protocol, metric)
Key = tuple[int, str, str, str, str]


def summarise(
    scores: Mapping[tuple[int, str, str], Sequence[Scores]], reference: str
) -> dict[Key, Cell]:
    """Reduce per-image scores to the cells of the tables.

    Args:
        scores: for each scale, method and test set the scores of each seed.
        reference: the method that is compared with all others, image by image.

    Raises:
        InputError: two runs were measured on different images.
    """
    cells = {}
    for (scale, method, test), runs in scores.items():
        others = scores.get((scale, reference, test)) if method != reference else None
        for other in [*runs, *(others or [])]:
            if other.images != runs[0].images:
                raise InputError(
                    f"results of {method} x{scale} on {test} are of other images than the rest; "
                    "the test set has changed: delete the comparison's folder results/"
                )
        for protocol, metric in runs[0].values:
            values = np.stack([run.values[protocol, metric] for run in runs])
            means = values.mean(axis=1)
            difference = None
            if others:
                expected = np.mean([other.values[protocol, metric] for other in others], axis=0)
                gain = expected - values.mean(axis=0)
                difference = paired_bootstrap(gain, metric in LOWER_IS_BETTER)
            cells[scale, method, test, protocol, metric] = Cell(
                mean=float(means.mean()),
                deviation=float(means.std(ddof=1)) if len(runs) > 1 else None,
                seeds=len(runs),
                images=len(runs[0].images),
                difference=difference,
            )
    return cells


def paired_bootstrap(
    differences: np.ndarray, lower_is_better: bool = False, seed: int = 0
) -> Difference:
    """Percentile bootstrap of a mean: the images are drawn anew, with replacement, 10,000 times.

    The interval says how the result depends on the choice of test images; it says nothing of the
    training's chance, which several seeds show.

    Args:
        differences: (n,), one method minus the other for each image.
        lower_is_better: a negative difference is good, as with GMSD.
        seed: of the random draws.
    """
    rng = np.random.default_rng(seed)
    count = len(differences)
    draws = [differences[rng.integers(count, size=count)].mean() for _ in range(RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    better = (differences < 0 if lower_is_better else differences > 0).mean()
    return Difference(float(differences.mean()), float(low), float(high), float(better))
