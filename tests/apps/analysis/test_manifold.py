import numpy as np
import pytest

from basicsr_m2trans.apps.analysis import manifold
from basicsr_m2trans.apps.analysis.layer_features import LayerFeatures
from basicsr_m2trans.apps.analysis.manifold import (
    MIN_IMAGES,
    analyse,
    distances_from_end,
    output_trustworthiness,
    pseudo_labels,
    require_umap,
)
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture
def line():
    """Points on a line in three dimensions, at 0, 1, ..., 8 from its end; the end is at the far
    side of the mean.
    """
    positions = np.array([8, 3, 0, 1, 7, 5, 2, 6, 4, 7.5, 7.75])
    return positions, positions[:, None] * np.array([[2, -1, 2]]) / 3 + np.array([5, 0, 9])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_end_of_a_line_is_found_and_distances_run_along_it(line):
    positions, points = line
    np.testing.assert_allclose(distances_from_end(points), positions, atol=1e-12)


def test_the_end_does_not_hang_on_the_order_of_the_images(line, rng):
    _, points = line
    order = rng.permutation(len(points))
    np.testing.assert_allclose(
        distances_from_end(points[order]), distances_from_end(points)[order], atol=1e-12
    )


def test_pseudo_labels_are_the_bins_of_the_distances():
    """'auto' makes 5 bins of 0, ..., 8 (Sturges), each 1.6 wide; the largest belongs
    to the last.
    """
    assert pseudo_labels(np.arange(9.0)).tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4]


def test_an_isometric_copy_is_fully_trustworthy(rng):
    outputs = rng.normal(size=(40, 4))
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert output_trustworthiness(outputs @ rotation + 3, outputs) == 1
    assert output_trustworthiness(np.insert(outputs, 0, 2.0, axis=1), outputs) == 1
    values = [output_trustworthiness(rng.normal(size=(40, 4)), outputs) for _ in range(20)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


@pytest.fixture
def features(rng):
    """The first layer is a copy of the output, the second has nothing to do with it."""
    output, noise = rng.normal(size=(2, MIN_IMAGES, 3))
    return LayerFeatures(tuple(f"image{n}" for n in range(MIN_IMAGES)), (output, noise), output)


def test_layers_are_measured_against_the_output(features, monkeypatch):
    monkeypatch.setattr(
        manifold, "draw_in_two_dimensions", lambda points, seed: points[:, :2] + seed
    )
    found = analyse("net", features, components=3, seed=5)
    assert found.images == features.images
    assert found.distances.tolist() == distances_from_end(features.output).tolist()
    assert found.labels.tolist() == pseudo_labels(found.distances).tolist()
    assert [points.shape for points in found.layers] == [(11, 2), (11, 2)]
    assert found.trustworthiness[0] == 1
    assert found.trustworthiness[1] < 0.8


def test_shuffled_labels_are_the_same_in_another_order(features, monkeypatch):
    monkeypatch.setattr(manifold, "draw_in_two_dimensions", lambda points, _seed: points[:, :2])
    plain = analyse("net", features, components=3)
    shuffled = analyse("net", features, components=3, shuffle_labels=True)
    assert sorted(shuffled.labels) == sorted(plain.labels)
    assert shuffled.labels.tolist() != plain.labels.tolist()
    assert not np.allclose(shuffled.layers[0], plain.layers[0])
    assert shuffled.trustworthiness == plain.trustworthiness


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install 'basicsr_m2trans\[mda\]'"):
        require_umap()
