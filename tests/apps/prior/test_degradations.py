import numpy as np
import pytest
from numpy.random import default_rng

from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.apps.prior.degradations import FLAWS, degrade

PHANTOM = make_phantom(3, 128, 160, "linear").astype(np.float32) / 255


@pytest.mark.parametrize("flaw", FLAWS)
def test_error_grows_with_severity(flaw):
    images = [
        degrade(PHANTOM, flaw, severity, default_rng(0)) for severity in (0, 0.25, 0.5, 0.75, 1)
    ]
    errors = [np.abs(image - PHANTOM).mean() for image in images]
    assert errors[0] == 0
    assert np.all(np.diff(errors) > 0)
    for image in images:
        assert image.shape == PHANTOM.shape
        assert image.dtype == np.float32
        np.testing.assert_allclose(image * 255, np.rint(image * 255), atol=1e-4)
        assert image.min() >= 0
        assert image.max() <= 1


def test_strengths_are_those_of_the_docstrings():
    flat = np.full((96, 96), 0.5, np.float32)
    assert degrade(flat, "noise", 0.5, default_rng(0)).std() == pytest.approx(0.1, rel=0.05)
    assert degrade(flat, "speckle", 0.5, default_rng(0)).std() == pytest.approx(0.15, rel=0.1)
    assert degrade(flat, "high gain", 0.5, default_rng(0)).mean() == pytest.approx(0.75, abs=2e-3)
    assert degrade(flat, "low gain", 0.5, default_rng(0)).mean() == pytest.approx(0.25, abs=3e-3)
    assert degrade(flat, "steep curve", 1, default_rng(0)).mean() == pytest.approx(0.125, abs=2e-3)
    assert degrade(flat, "flat curve", 1, default_rng(0)).mean() == pytest.approx(
        0.5 ** (1 / 3), abs=2e-3
    )


def test_bicubic_loss_removes_what_the_smaller_grid_cannot_hold():
    """Severity 0.2 is x2: stripes of 2 pixels vanish, stripes of 16 stay."""
    columns = np.arange(96)
    for period, kept in ((2, False), (16, True)):
        stripes = np.tile(0.5 + 0.4 * np.cos(2 * np.pi * columns / period), (96, 1)).astype(
            np.float32
        )
        assert (degrade(stripes, "resolution", 0.2, default_rng(0))[:, 8:-8].std() > 0.2) == kept


def test_gain_leaves_the_black_outside_of_the_scan():
    image = np.zeros((96, 96), np.float32)
    image[:, 48:] = 0.4
    assert degrade(image, "high gain", 1, default_rng(0))[:, :48].max() == 0


def test_bands_run_across_the_depth():
    banded = degrade(np.full((96, 96), 0.5, np.float32), "banding", 1, default_rng(0))
    assert np.ptp(banded, axis=1).max() == 0
    assert np.ptp(banded, axis=0).min() > 0.4
