import numpy as np
import pytest

from basicsr_m2trans.apps.report.summary import paired_bootstrap, summarise
from basicsr_m2trans.evaluation.prepared_set import Scores
from basicsr_m2trans.evaluation.protocols import METRICS, PROTOCOLS
from basicsr_m2trans.utils.errors import InputError


def scores(values, images=("a", "b", "c")):
    return Scores(
        images,
        {(protocol, name): np.array(values, float) for protocol in PROTOCOLS for name in METRICS},
    )


def test_means_deviations_and_paired_differences():
    given = {
        (2, "EDSR", "val"): [scores([30, 31, 32]), scores([32, 33, 34])],
        (2, "M2Trans", "val"): [scores([33, 35, 37])],
        (3, "EDSR", "val"): [scores([1, 1, 1])],
    }
    cells = summarise(given, "M2Trans")
    edsr = cells[2, "EDSR", "val", "paper", "psnr"]
    assert (edsr.mean, edsr.seeds, edsr.images) == (32, 2, 3)
    assert edsr.deviation == pytest.approx(np.sqrt(2))
    # Image by image against the mean of the seeds: 33 - 31, 35 - 32, 37 - 33.
    assert edsr.difference.mean == 3
    assert 2 <= edsr.difference.low < 3 < edsr.difference.high <= 4
    assert edsr.difference.better == 1
    # GMSD: lower is better.
    assert cells[2, "EDSR", "val", "paper", "gmsd"].difference.better == 0
    reference = cells[2, "M2Trans", "val", "paper", "psnr"]
    assert (reference.mean, reference.deviation, reference.difference) == (35, None, None)
    assert cells[3, "EDSR", "val", "standard", "ssim"].difference is None


def test_other_images_are_refused():
    given = {
        (2, "EDSR", "val"): [scores([1, 2, 3])],
        (2, "M2Trans", "val"): [scores([1, 2, 3], ("a", "b", "d"))],
    }
    with pytest.raises(InputError, match="delete the comparison's folder results/"):
        summarise(given, "M2Trans")


def test_a_constant_difference_has_no_width():
    found = paired_bootstrap(np.full(5, 0.25))
    assert (found.mean, found.low, found.high) == (0.25, 0.25, 0.25)


def test_images_on_which_a_method_is_better():
    differences = np.array([1.0, 0.0, -0.5, 2.0])
    assert paired_bootstrap(differences).better == 0.5
    assert paired_bootstrap(differences, lower_is_better=True).better == 0.25


def test_the_interval_of_many_images_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(0.5, 2, 400)
    found = paired_bootstrap(values)
    error = values.std() / np.sqrt(400)
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.01
    )
    assert paired_bootstrap(values) == found
