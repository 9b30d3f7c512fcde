import numpy as np
import pytest
import torch

from basicsr_m2trans.apps.analysis.layer_features import (
    COLUMNS_AT_ONCE,
    layer_features,
    load_m2trans,
    open_set,
    principal_coordinates,
)
from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.archs.padding import pad_to_multiple
from basicsr_m2trans.checkpoints.networks import build_network
from basicsr_m2trans.utils.errors import InputError

CROP = 20


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A prepared set of 4 images of 36 x 48 LR pixels."""
    folder = tmp_path_factory.mktemp("mda")
    write_phantoms(folder / "images", 4, height=72, width=96)
    prepare(folder / "images", folder / "set", Preparation(scales=(2,), workers=1))
    return folder / "set"


@pytest.fixture
def network():
    torch.manual_seed(0)
    return M2Trans(2, num_feat=8, num_block=2).eval()


def distances(rows):
    return np.linalg.norm(rows[:, None] - rows, axis=2)


def test_principal_coordinates_keep_distances_with_falling_variance():
    rows = np.random.default_rng(0).normal(size=(5, COLUMNS_AT_ONCE + 9)).astype(np.float32)
    rows[1] *= 3
    coordinates = principal_coordinates(rows)
    assert coordinates.shape == (5, 4)
    np.testing.assert_allclose(distances(coordinates), distances(rows.astype(float)), atol=1e-3)
    np.testing.assert_allclose(coordinates.mean(axis=0), 0, atol=1e-9)
    products = coordinates.T @ coordinates
    np.testing.assert_allclose(products, np.diag(products.diagonal()), atol=1e-6)
    assert (np.diff(products.diagonal()) < 0).all()


def test_features_are_those_of_each_module_on_the_middle_of_each_image(data, network, tmp_path):
    dataset = open_set(data, 2, CROP)
    features = layer_features(network, dataset, CROP, tmp_path)
    assert features.images == ("phantom_0001", "phantom_0002", "phantom_0003", "phantom_0004")
    lq = torch.stack([item["lq"] for item in dataset])[..., 8:28, 14:34]
    with torch.no_grad():
        first = network.body[0](network.head(pad_to_multiple(lq, 32)))
        second = network.body[1](first)
        expected = [first[..., :CROP, :CROP], second[..., :CROP, :CROP], network(lq)]
    for found, tensor in zip([*features.layers, features.output], expected, strict=True):
        assert found.shape == (4, 3)
        np.testing.assert_allclose(
            distances(found), distances(tensor.flatten(1).double().numpy()), atol=1e-3
        )
    assert list(tmp_path.iterdir()) == []
    assert not any(block._forward_hooks for block in network.body)


def test_images_smaller_than_the_crop_are_named(data):
    assert len(open_set(data, 2, 36)) == 4
    with pytest.raises(
        InputError, match=r"4 of 4 LR images at x2 are smaller than --crop 37 .*phantom_0001"
    ):
        open_set(data, 2, 37)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {
                "type": "EDSR",
                "upscale": 2,
                "num_in_ch": 3,
                "num_out_ch": 3,
                "num_feat": 8,
                "num_block": 1,
            },
            "holds EDSR; name checkpoints of M2Trans",
        ),
        (
            {
                "type": "M2Trans",
                "upscale": 2,
                "num_in_ch": 1,
                "num_out_ch": 1,
                "num_feat": 8,
                "num_block": 1,
            },
            "for RGB",
        ),
    ],
)
def test_other_networks_are_refused(settings, message, tmp_path):
    weights = build_network(settings, "the test").state_dict()
    torch.save({"params": weights, "network_g": settings}, tmp_path / "net.pth")
    with pytest.raises(InputError, match=message):
        load_m2trans(tmp_path / "net.pth", None)


def test_the_scale_comes_with_the_network(network, tmp_path):
    settings = {"type": "M2Trans", "upscale": 2, "num_feat": 8, "num_block": 2}
    torch.save({"params": network.state_dict(), "network_g": settings}, tmp_path / "net.pth")
    loaded, scale = load_m2trans(tmp_path / "net.pth", None)
    assert scale == 2
    assert len(loaded.body) == 2
