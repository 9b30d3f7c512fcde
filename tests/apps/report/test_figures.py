import cv2
import numpy as np
import pytest

from basicsr_m2trans.apps.report.complexity import Complexity
from basicsr_m2trans.apps.report.figures import (
    detail_panel,
    find_box,
    trade_off,
    training_curves,
)
from basicsr_m2trans.apps.report.training_log import TrainingLog
from basicsr_m2trans.utils.figures import save_figure


@pytest.fixture
def images():
    """An HR image, and upscaled ones that differ in a known place."""
    hr = np.random.default_rng(0).integers(0, 200, (60, 80, 3), np.uint8)
    other = hr.copy()
    other[20:30, 50:60] += 40
    return hr, other


def test_the_box_is_where_bicubic_is_worst(images):
    assert find_box(*images, 10) == (20, 50)
    row, column = find_box(*images, 16)
    assert 14 <= row <= 20
    assert 44 <= column <= 50


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_panel_shows_every_method_and_its_error(images, count, tmp_path):
    hr, other = images
    methods = {f"method{index}": other for index in range(count)}
    figure = detail_panel(hr, methods, dict.fromkeys(methods, "30.00/0.9000"), "val")
    shown = [axes for part in figure.subfigs for axes in part.axes if axes.images and axes.axison]
    assert sum(axes.get_title() in ("HR", *methods) for axes in shown) == 1 + count
    assert sum(axes.get_xlabel() == "30.00/0.9000" for axes in shown) == count
    maps = [axes.images[0] for axes in shown if axes.images[0].get_array().ndim == 2]
    assert len([image for image in maps if image.get_cmap().name == "inferno"]) >= count
    assert maps[0].get_clim() == (0, 40)
    save_figure(figure, tmp_path / "folder/panel.png")
    assert cv2.imread(str(tmp_path / "folder/panel.png")).std() > 0


def test_curves_follow_the_log():
    log = TrainingLog(
        durations={10: 1.0, 20: 3.0},
        validations={10: {"psnr": 30.0}, 20: {"psnr": 31.0, "gmsd": 0.1}},
    )
    figure = training_curves({("EDSR", 0): log, ("EDSR", 1): log, ("M2Trans", 0): log}, "x2")
    over_iterations, over_time = figure.axes
    assert [line.get_xydata().tolist() for line in over_iterations.lines] == [
        [[10, 30], [20, 31]]
    ] * 3
    assert over_time.lines[0].get_xdata().tolist() == pytest.approx([10 / 60, 40 / 60])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["EDSR", "M2Trans"]


def test_twenty_methods_can_be_told_apart():
    methods = [f"method{index}" for index in range(20)]
    log = TrainingLog(
        durations={10: 1.0, 20: 3.0}, validations={10: {"psnr": 30.0}, 20: {"psnr": 31.0}}
    )
    figure = training_curves({(method, seed): log for method in methods for seed in (0, 1)}, "x2")
    (legend,) = figure.legends
    for lines in (*(axes.lines for axes in figure.axes), legend.get_lines()):
        assert (
            len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines})
            == 20
        )
    for axes in figure.axes:
        assert [line.get_color() for line in axes.lines[::2]] == [
            line.get_color() for line in legend.get_lines()
        ]
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().height > 0.7  # beside the legend, not below it

    counts = {method: Complexity(1 + index, 1, 10**9) for index, method in enumerate(methods)}
    for axes in trade_off({("val", method): 30.0 for method in methods}, counts, "x2").axes:
        drawn = {
            (point.get_facecolor().tobytes(), point.get_paths()[0].vertices.tobytes())
            for point in axes.collections
        }
        assert len(drawn) == 20


def test_no_curves_without_validations():
    assert training_curves({("EDSR", 0): TrainingLog()}, "x2") is None


def test_trade_off_places_methods_by_size():
    counts = {"Bicubic": Complexity(0, 0, 0), "EDSR": Complexity(1, 12_000_000, 450_000_000_000)}
    psnr = {("val", "Bicubic"): 30.0, ("val", "EDSR"): 33.0, ("test", "EDSR"): 34.0}
    axes = trade_off(psnr, counts, "x2").axes
    assert [a.collections[0].get_offsets().tolist() for a in axes] == [
        [[450, 33]],
        [[12, 33]],
        [[450, 34]],
        [[12, 34]],
    ]
    assert axes[0].lines[0].get_ydata()[0] == 30
    assert trade_off({("val", "Bicubic"): 30.0}, counts, "x2") is None
