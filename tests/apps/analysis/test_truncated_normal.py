import numpy as np
import pytest
from scipy.stats import norm

from basicsr_m2trans.apps.analysis.truncated_normal import truncated_means


@pytest.mark.parametrize("gap", [-8, -1, 0, 3])
def test_two_variables_have_a_closed_form(gap):
    """Their difference is a normal variable of variance 2 that is cut off at 0."""
    means, log_probability = truncated_means(np.array([[1.0 + gap, 1.0]]), np.array([0]))
    z = gap / np.sqrt(2)
    shift = np.exp(norm.logpdf(z) - norm.logcdf(z)) / np.sqrt(2)
    np.testing.assert_allclose(means, [[1 + gap + shift, 1 - shift]], atol=1e-9)
    assert log_probability[0] == pytest.approx(norm.logcdf(z), abs=1e-9)


def test_the_largest_of_three_equal_variables():
    means, log_probability = truncated_means(np.zeros((3, 3)), np.arange(3))
    largest = 1.5 / np.sqrt(np.pi)  # the expected maximum of three standard normal variables
    np.testing.assert_allclose(means, np.where(np.eye(3), largest, -largest / 2), atol=1e-9)
    np.testing.assert_allclose(log_probability, -np.log(3), atol=1e-9)


def test_probabilities_of_all_classes_add_up():
    rng = np.random.default_rng(0)
    centres, classes = rng.normal(scale=2, size=6), np.arange(6)
    means, log_probability = truncated_means(np.tile(centres, (6, 1)), classes)
    assert np.exp(log_probability).sum() == pytest.approx(1, abs=1e-9)
    assert (means.argmax(axis=1) == classes).all()
    # Averaged over what is the largest, the knowledge of it is lost again.
    np.testing.assert_allclose(np.exp(log_probability) @ means, centres, atol=1e-9)
