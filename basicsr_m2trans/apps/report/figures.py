"""Figures of a comparison: PSNR in training, PSNR against size and work, details (Figs. 3-5)."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from basicsr_m2trans.apps.report.complexity import Complexity
from basicsr_m2trans.apps.report.training_log import TrainingLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Columns of details beside the whole image before another pair of rows begins.
DETAIL_COLUMNS = 4
# Colours of methods; further methods have them again with another marker and line.
COLOURS = [f"C{number}" for number in range(10)]
SHAPES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))
MARKER_SIZE = 3
# Inches that a legend is high for each method.
LEGEND_ROW = 0.23


def method_styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line style of each method for matplotlib's `plot`; 40 differ."""
    styles = (
        {"color": colour, "marker": marker, "linestyle": line}
        for marker, line in SHAPES
        for colour in COLOURS
    )
    return dict(zip(dict.fromkeys(methods), itertools.cycle(styles), strict=False))


def training_curves(logs: Mapping[tuple[str, int], TrainingLog], title: str) -> "Figure | None":
    """Validation PSNR over iterations, and over time in training steps; one line for each seed.

    Args:
        logs: by method and seed.
        title: of the figure.

    Returns:
        The figure; None if no run has validated twice.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    curves = {
        key: [
            (iteration, values["psnr"])
            for iteration, values in sorted(log.validations.items())
            if "psnr" in values
        ]
        for key, log in logs.items()
    }
    if all(len(curve) < 2 for curve in curves.values()):
        return None
    styles = method_styles(method for method, _ in logs)
    figure = Figure(figsize=(12, max(4, LEGEND_ROW * len(styles))), layout="constrained")
    over_iterations, over_time = figure.subplots(1, 2, sharey=True)
    for (method, seed), curve in curves.items():
        style = styles[method] | {"markersize": MARKER_SIZE}
        psnr = [value for _, value in curve]
        minutes = [logs[method, seed].seconds_until(iteration) / 60 for iteration, _ in curve]
        over_iterations.plot([iteration for iteration, _ in curve], psnr, **style)
        over_time.plot(minutes, psnr, **style)
    over_iterations.set(xlabel="iterations", ylabel="PSNR of the validation images (dB)")
    over_time.set(xlabel="minutes in training steps")
    for axes in (over_iterations, over_time):
        axes.grid(alpha=0.3)
    lines = [Line2D([], [], markersize=MARKER_SIZE, **style) for style in styles.values()]
    figure.legend(lines, list(styles), loc="outside right upper")
    figure.suptitle(title)
    return figure


def trade_off(
    psnr: Mapping[tuple[str, str], float], counts: Mapping[str, Complexity], title: str
) -> "Figure | None":
    """PSNR against multiply-adds and against parameters, one row of axes for each test set.

    Args:
        psnr: by test set and method.
        counts: by method; methods without parameters are drawn as a horizontal line.
        title: of the figure.

    Returns:
        The figure; None if no method has parameters.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    if not any(counts[method].total for _, method in psnr):
        return None
    tests = list(dict.fromkeys(test for test, _ in psnr))
    # Those that are trained, as in the figure of training.
    styles = method_styles(method for _, method in psnr if counts[method].total)
    figure = Figure(figsize=(10, 3.6 * len(tests)), layout="constrained")
    grid = figure.subplots(len(tests), 2, squeeze=False, sharey="row", sharex="col")
    for row, test in zip(grid, tests, strict=True):
        for axes, (amount, unit) in zip(row, (("multiply_adds", 1e9), ("total", 1e6)), strict=True):
            for method in (method for of, method in psnr if of == test):
                value, size = psnr[test, method], getattr(counts[method], amount) / unit
                if method not in styles:
                    axes.axhline(value, color="grey", linestyle="--", label=method)
                    axes.legend(loc="lower right")
                    continue
                axes.scatter(
                    size, value, color=styles[method]["color"], marker=styles[method]["marker"]
                )
                axes.annotate(method, (size, value), xytext=(5, 4), textcoords="offset points")
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.25, y=0.2)
            axes.grid(alpha=0.3, which="both")
        row[0].set_ylabel(f"PSNR on {test} (dB)")
    grid[-1, 0].set_xlabel("multiply-adds (G) for an HR image of 384 x 384")
    grid[-1, 1].set_xlabel("parameters (M)")
    figure.suptitle(title)
    return figure


def find_box(hr: np.ndarray, bicubic: np.ndarray, side: int) -> tuple[int, int]:
    """Row and column of the square of `side` pixels in which bicubic differs most from HR.

    So the detail is chosen by the image alone, not by any of the compared networks.
    """
    error = np.abs(hr.astype(float) - bicubic).mean(axis=2)
    total = np.pad(error, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    return int(row), int(column)


def detail_panel(
    hr: np.ndarray, images: Mapping[str, np.ndarray], captions: Mapping[str, str], title: str
) -> "Figure":
    """The whole HR image with a box; beside it the box of every image, its absolute error below.

    Args:
        hr: (H, W, 3) RGB, 8 bits.
        images: upscaled images of that size by method, bicubic interpolation first.
        captions: what to write under each method's detail.
        title: of the figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    height, width = hr.shape[:2]
    side = max(min(height, width) // 4, min(48, height, width))
    row, column = find_box(hr, next(iter(images.values())), side)
    box = np.s_[row : row + side, column : column + side]
    errors = {
        name: np.abs(hr.astype(float) - image).mean(axis=2)[box] for name, image in images.items()
    }
    # The same scale for all; a few extreme pixels must not darken the rest.
    largest = max(1.0, *(float(np.quantile(error, 0.995)) for error in errors.values()))

    blocks = -(-(1 + len(images)) // DETAIL_COLUMNS)
    figure = Figure(figsize=(4 + 2 * DETAIL_COLUMNS, 4.2 * blocks + 0.4), layout="constrained")
    ratios = (4, 2 * DETAIL_COLUMNS)
    ((whole_figure, detail_figure),) = figure.subfigures(1, 2, squeeze=False, width_ratios=ratios)
    whole = whole_figure.subplots()
    whole.imshow(hr)
    whole.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5), side, side, fill=False, edgecolor="gold", linewidth=1.5
        )
    )
    whole.set(xlabel="HR", xticks=[], yticks=[])

    grid = detail_figure.subplots(2 * blocks, DETAIL_COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    details: Sequence[tuple[str, np.ndarray]] = [("HR", hr), *images.items()]
    for index, (name, image) in enumerate(details):
        block, position = divmod(index, DETAIL_COLUMNS)
        above, below = grid[2 * block, position], grid[2 * block + 1, position]
        above.set_axis_on()
        above.imshow(image[box], interpolation="nearest")
        above.set_title(name, fontsize=9)
        above.set_xlabel(captions.get(name, "PSNR/SSIM"), fontsize=8)
        above.set(xticks=[], yticks=[])
        if name in errors:
            below.set_axis_on()
            shown = below.imshow(
                errors[name], cmap="inferno", vmin=0, vmax=largest, interpolation="nearest"
            )
            below.set(xticks=[], yticks=[])
    detail_figure.colorbar(
        shown, ax=grid, location="right", shrink=0.5, label="absolute error (grey levels)"
    )
    figure.suptitle(title)
    return figure
