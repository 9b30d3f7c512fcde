import csv

import cv2
import numpy as np
import pytest

from basicsr_m2trans.apps.analysis.manifold import Manifold
from basicsr_m2trans.apps.analysis.manifold_files import manifold_figure, write_manifolds


@pytest.fixture
def manifolds():
    """Two networks, of two and of one module, on three images."""
    return [
        Manifold(
            name=name,
            images=("a", "b", "c"),
            distances=np.array([0, 1 / 3, 2]),
            labels=np.array([0, 0, 1]),
            layers=tuple(np.arange(6.0).reshape(3, 2) + layer for layer in range(count)),
            trustworthiness=(0.75, 1.0)[:count],
        )
        for name, count in (("with", 2), ("without", 1))
    ]


def test_tables_hold_every_point_and_every_layer_in_full(manifolds, tmp_path):
    write_manifolds(manifolds, tmp_path)
    with (tmp_path / "coordinates.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 9
    assert list(rows[4].values()) == ["with", "b", repr(1 / 3), "0", "2", "3.0", "4.0"]
    assert (tmp_path / "trustworthiness.csv").read_text().splitlines() == [
        "network,layer,trustworthiness",
        "with,1,0.75",
        "with,2,1.0",
        "without,1,0.75",
    ]
    assert cv2.imread(str(tmp_path / "mda.png")).std() > 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "mda.png",
        "coordinates.csv",
        "trustworthiness.csv",
    }


def test_the_figure_has_a_row_for_each_network_and_a_column_for_each_module(manifolds):
    axes = manifold_figure(manifolds).axes[:4]
    assert [a.get_title() for a in axes] == ["CFTM 1: 0.750", "CFTM 2: 1.000", "CFTM 1: 0.750", ""]
    assert [a.axison for a in axes] == [True, True, True, False]
    assert [axes[0].get_ylabel(), axes[2].get_ylabel()] == ["with", "without"]
    shown = axes[1].collections[0]
    assert shown.get_offsets().tolist() == [[1, 2], [3, 4], [5, 6]]
    assert shown.get_array().tolist() == [0, 0, 1]
