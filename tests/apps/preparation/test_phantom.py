"""Synthetic B-mode images: determinism, geometry, and the physics that makes them look like
ultrasound.
"""

import cv2
import numpy as np
import pytest

from basicsr_m2trans.apps.preparation import phantom
from basicsr_m2trans.apps.preparation.phantom import GEOMETRIES, make_phantom, write_phantoms
from basicsr_m2trans.utils.errors import InputError


def correlation(image: np.ndarray, axis: int) -> float:
    """Correlation of neighbouring pixels along an axis."""
    first, second = np.delete(image, -1, axis), np.delete(image, 0, axis)
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def uniform_tissue(rows: int = 192, lines: int = 256) -> phantom._Tissue:
    return phantom._Tissue(phantom._linear_grid(rows, lines), np.random.default_rng(0))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(384, 512), (96, 96), (64, 80), (32, 32), (32, 150), (150, 32)])
def test_any_size_gives_a_grey_image_with_contrast(geometry, size):
    image = make_phantom(1, *size, geometry=geometry)
    assert image.shape == size
    assert image.dtype == np.uint8
    inside = image[image > 0]
    assert inside.size > 300
    assert inside.std() > 12
    assert inside.max() > 150


def test_a_seed_fixes_every_byte():
    assert np.array_equal(make_phantom(5, 96, 128), make_phantom(5, 96, 128))
    assert not np.array_equal(
        make_phantom(5, 96, 128, "linear"), make_phantom(6, 96, 128, "linear")
    )


def test_the_geometry_is_drawn_from_the_seed():
    drawn = []
    for seed in range(6):
        image = make_phantom(seed, 48, 64)
        drawn += [
            geometry
            for geometry in GEOMETRIES
            if np.array_equal(image, make_phantom(seed, 48, 64, geometry))
        ]
    assert len(drawn) == 6
    assert set(drawn) == set(GEOMETRIES)


@pytest.mark.parametrize("seed", range(4))
def test_a_sector_is_a_symmetric_fan_on_black(seed):
    image = make_phantom(seed, geometry="sector")
    assert not image[:100, :60].any()
    assert not image[:100, -60:].any()
    rows, columns = np.nonzero(image)
    assert columns.min() + columns.max() == pytest.approx(511, abs=6)
    assert columns.max() - columns.min() > 450 or rows.max() - rows.min() > 350
    # The arc of the array bulges downwards: the fan begins higher at its sides than in the middle.
    assert np.flatnonzero(image[:, 256])[0] > rows.min() + 5


def test_a_linear_image_fills_the_frame():
    image = make_phantom(0, geometry="linear")
    assert image[:5].mean(axis=0).min() > 20


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_detail_suits_super_resolution_by_two(geometry):
    for seed in range(3):
        image = make_phantom(seed, geometry=geometry)
        small = cv2.resize(image, (256, 192), interpolation=cv2.INTER_CUBIC)
        psnr = cv2.PSNR(image, cv2.resize(small, (512, 384), interpolation=cv2.INTER_CUBIC))
        assert 28 < psnr < 39


def test_resolution_is_finer_along_the_beam_and_best_at_the_focus():
    image = phantom._scan(uniform_tissue())
    near, focal, far = image[:38], image[85:123], image[-38:]
    assert correlation(focal, axis=0) < correlation(focal, axis=1) - 0.05
    assert (
        correlation(focal, axis=1) < min(correlation(near, axis=1), correlation(far, axis=1)) - 0.02
    )


@pytest.mark.parametrize(("loss", "sign"), [(200.0, -1), (-40.0, 1)])
def test_loss_shadows_and_fluid_brightens_what_lies_behind(loss, sign):
    tissue = uniform_tissue()
    behind, beside = (slice(110, 150), slice(108, 148)), (slice(110, 150), slice(10, 50))
    block = tissue.ellipse((0.0, 0.4), (0.2, 0.1), 0)
    tissue.fill(block, 0.0, loss)
    image = phantom._scan(tissue)
    assert sign * (image[behind].mean() - image[beside].mean()) > 15


def test_a_cyst_is_black_inside():
    tissue = uniform_tissue()
    tissue.fill(tissue.ellipse((0.0, 0.4), (0.3, 0.2), 0), -60.0)
    image = phantom._scan(tissue)
    assert image[60:90, 100:156].mean() < 3
    assert image[60:90, :40].mean() > 60


def test_a_surface_echoes_where_the_beam_meets_it_squarely():
    tissue = uniform_tissue()
    grid = tissue.grid
    tissue.reflect(grid.z - 0.3 + 0 * grid.x, 20.0)
    level = tissue.interface.max()
    tilted = uniform_tissue()
    tilted.reflect((grid.z + grid.x - 0.3) / np.float32(np.sqrt(2)), 20.0)
    assert level > 3
    assert tilted.interface.max() < level / 4


def test_the_random_field_has_unit_variance_and_the_given_scale():
    tissue = uniform_tissue(256, 256)
    fields = np.stack([tissue.noise(0.05, 0.02) for _ in range(20)])
    assert fields.var() == pytest.approx(1, abs=0.05)
    # A Gaussian field of correlation length s has a mean square gradient of 1 / s^2.
    slope_z, slope_x = (np.gradient(fields, axis=axis).std() * 256 for axis in (1, 2))
    assert slope_x == pytest.approx(1 / 0.05, rel=0.1)
    assert slope_z == pytest.approx(1 / 0.02, rel=0.1)


@pytest.mark.parametrize("axis", [0, 1])
def test_blur_is_gaussian_and_keeps_the_power_of_noise(axis):
    impulse = np.zeros((121, 121), np.complex64)
    impulse[60, 60] = 1
    blurred = phantom._blur(impulse, axis, 3.0, 0.0)
    profile = np.abs(np.take(blurred, 60, axis=1 - axis))
    offset = np.arange(121) - 60
    assert np.allclose(profile / profile.max(), np.exp(-(offset**2) / 18), atol=1e-5)
    assert (np.abs(blurred) ** 2).sum() == pytest.approx(1, abs=1e-4)


def test_writing_is_reproducible_and_grows_with_the_count(tmp_path):
    paths = write_phantoms(tmp_path / "a", 2, seed=7, height=48, width=64)
    assert [path.name for path in paths] == ["phantom_0001.png", "phantom_0002.png"]
    more = write_phantoms(tmp_path / "b", 3, seed=7, height=48, width=64)
    assert [path.read_bytes() for path in more[:2]] == [path.read_bytes() for path in paths]
    assert sorted((tmp_path / "b").iterdir()) == more
    image = cv2.imread(str(paths[0]), cv2.IMREAD_UNCHANGED)
    assert image.shape == (48, 64)
    assert image.dtype == np.uint8


def test_sets_of_two_seeds_share_no_image(tmp_path):
    sets = [
        write_phantoms(tmp_path / str(seed), 4, seed=seed, height=32, width=32) for seed in (0, 1)
    ]
    assert len({path.read_bytes() for paths in sets for path in paths}) == 8


def test_what_cannot_be_made_is_named():
    with pytest.raises(InputError, match="31x40"):
        make_phantom(0, 31, 40)
    with pytest.raises(InputError, match="40x31"):
        make_phantom(0, 40, 31)
    with pytest.raises(InputError, match=r"'convex'.*linear, sector"):
        make_phantom(0, 64, 64, "convex")
    with pytest.raises(InputError, match="seed is -1"):
        make_phantom(-1)


def test_nothing_is_written_for_wrong_arguments(tmp_path):
    folder = tmp_path / "set"
    for wrong in ({"count": 0}, {"count": 1, "seed": -1}, {"count": 1, "height": 16}):
        with pytest.raises(InputError):
            write_phantoms(folder, **wrong)
    assert not folder.exists()
    folder.write_text("")
    with pytest.raises(InputError, match="is a file"):
        write_phantoms(folder, 1)
