"""The manifolds of networks as a figure in the form of the paper's Fig. 6, and as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from basicsr_m2trans.apps.analysis.manifold import Manifold
from basicsr_m2trans.utils.csv_file import write_csv
from basicsr_m2trans.utils.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_manifolds(manifolds: Sequence[Manifold], folder: Path) -> None:
    """Write mda.png, coordinates.csv and trustworthiness.csv, with numbers in full."""
    header = ("network", "image", "distance", "pseudo_label", "layer", "x", "y")
    points = (
        (manifold.name, image, float(distance), int(label), number, float(x), float(y))
        for manifold in manifolds
        for number, points in enumerate(manifold.layers, start=1)
        for image, distance, label, (x, y) in zip(
            manifold.images, manifold.distances, manifold.labels, points, strict=True
        )
    )
    write_csv(folder / "coordinates.csv", [header, *points])
    rows = (
        (manifold.name, number, value)
        for manifold in manifolds
        for number, value in enumerate(manifold.trustworthiness, start=1)
    )
    write_csv(folder / "trustworthiness.csv", [("network", "layer", "trustworthiness"), *rows])
    save_figure(manifold_figure(manifolds), folder / "mda.png")


def manifold_figure(manifolds: Sequence[Manifold]) -> "Figure":
    """Scatter plots: a row for each network, a column for each CFTM, coloured by pseudo-label."""
    from matplotlib.figure import Figure

    columns = max(len(manifold.layers) for manifold in manifolds)
    figure = Figure(figsize=(1.6 * columns + 1, 2 * len(manifolds) + 0.2), layout="constrained")
    grid = figure.subplots(len(manifolds), columns, squeeze=False)
    for row, manifold in zip(grid, manifolds, strict=True):
        for axes in row[len(manifold.layers) :]:
            axes.set_axis_off()
        drawn = zip(row, manifold.layers, manifold.trustworthiness, strict=False)
        for number, (axes, points, trustworthiness) in enumerate(drawn, start=1):
            shown = axes.scatter(*points.T, c=manifold.labels, cmap="viridis", s=12)
            axes.set_title(f"CFTM {number}: {trustworthiness:.3f}", fontsize=8)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(manifold.name, fontsize=8)
        bar = figure.colorbar(shown, ax=row, pad=0.01)
        bar.set_label("pseudo-label", size=8)
        bar.ax.tick_params(labelsize=8)
    return figure
