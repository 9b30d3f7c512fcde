import numpy as np
import pytest

from basicsr_m2trans.apps.analysis.supervised_reduction import reduce_supervised
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture(scope="module")
def classes():
    """Three classes that differ only along the eighth of eight directions, the one of the least
    variance.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    points = rng.normal(size=(90, 8)) * np.array([3, 3, 2, 2, 2, 1.5, 1.5, 0.05])
    points[:, 7] += 0.4 * labels
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    return points @ rotation, labels


@pytest.fixture(scope="module")
def reduction(classes):
    return reduce_supervised(*classes, dimensions=2)


def nearest_of_own_class(points, labels):
    """Part of the points whose nearest other point is of their class."""
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    return (labels[distances.argmin(axis=1)] == labels).mean()


def test_classes_come_apart_that_principal_components_mix(classes, reduction):
    points, labels = classes
    centred = points - points.mean(axis=0)
    components = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    assert nearest_of_own_class(components, labels) < 0.5
    assert reduction.points.shape == (90, 2)
    assert nearest_of_own_class(reduction.points, labels) > 0.95


def test_the_bound_never_falls(reduction):
    assert np.diff(reduction.bounds).min() > -1e-8
    assert reduction.bounds[-1] > reduction.bounds[0] + 10
    # It bounds the logarithm of a probability.
    assert reduction.bounds[-1] < 0


def test_the_bound_holds_where_the_evidence_is_known():
    """Of two points in two classes each label alone has probability 1/2, since the classes are
    alike a priori.
    """
    bounds = reduce_supervised(
        np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1]), dimensions=1
    ).bounds
    assert np.diff(bounds).min() > -1e-8
    assert bounds[-1] < np.log(1 / 2)


def test_equal_seeds_give_equal_points(classes):
    short = {"dimensions": 2, "iterations": 3}
    first, second, other = (
        reduce_supervised(*classes, seed=seed, **short).points for seed in (0, 0, 1)
    )
    assert np.array_equal(first, second)
    assert not np.allclose(first, other)


def test_unit_origin_and_names_of_the_classes_do_not_matter(classes):
    points, labels = classes
    short = {"dimensions": 2, "iterations": 3}
    expected = reduce_supervised(points, labels, **short)
    found = reduce_supervised(1000 * points + 7, 10 * labels - 3, **short)
    np.testing.assert_allclose(found.points, expected.points, atol=1e-6)
    np.testing.assert_allclose(found.bounds, expected.bounds, atol=1e-6)


def test_points_that_nothing_tells_apart_are_refused(classes):
    points, labels = classes
    for case in ((points, np.zeros(90)), (np.ones((90, 8)), labels)):
        with pytest.raises(InputError, match="nothing tells the points apart"):
            reduce_supervised(*case)
