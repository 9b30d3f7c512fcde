"""Figures as files."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from basicsr_m2trans.utils.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, stream.getvalue())
