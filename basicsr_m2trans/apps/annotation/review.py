"""A web page to review captions: one self-contained HTML file with the images inside."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from basicsr_m2trans.apps.annotation.state import Description

THUMBNAIL_SIDE = 320  # pixels of the longer side
BOX_COLOUR = (64, 220, 255)  # blue, green, red

_HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Captions to review</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
section { border-top: 1px solid #ccc; display: flex; gap: 1.5em; padding: 1em 0 }
section > div { flex: 1; min-width: 0; overflow-wrap: anywhere }
h2 { font-size: 1em; margin: 0 }
.caption { font-size: 1.15em; margin: .4em 0 }
td, th { padding: .1em .8em .1em 0; text-align: left; vertical-align: top }
.number { font-variant-numeric: tabular-nums; white-space: nowrap }
</style>
<h1>Captions to review</h1>
<p>The chosen caption stands beside each image, whose yellow box is the caption's region; below are
all descriptions, best score first. To change a caption, copy the captions file, edit the copy and
give it to the data set.</p>
"""


@dataclass(frozen=True)
class Reviewed:
    """One image of the sheet, `thumbnail` a JPEG; its caption is the `chosen` description."""

    name: str
    thumbnail: bytes
    chosen: Description
    descriptions: Sequence[Description]


def thumbnail(image: np.ndarray, box: tuple[int, int, int, int]) -> bytes:
    """JPEG of an image (h, w, 3), RGB, uint8, of at most `THUMBNAIL_SIDE`, with a box drawn.

    `box` is left, top, width and height in the image's pixels.
    """
    height, width = image.shape[:2]
    factor = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    left, top, box_width, box_height = box
    first = int(left * factor), int(top * factor)
    last = round((left + box_width) * factor) - 1, round((top + box_height) * factor) - 1
    cv2.rectangle(small, first, last, BOX_COLOUR)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def review_sheet(reviewed: Sequence[Reviewed], problems: Sequence[str]) -> str:
    """The page as HTML, all text escaped; `problems` has a sentence for each image left out."""
    parts = [_HEAD]
    if problems:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
        parts.append(f"<h2>{len(problems)} images without a caption</h2>\n<ul>{items}</ul>\n")
    parts += [_section(entry) for entry in reviewed]
    return "".join([*parts, "</html>\n"])


def _section(entry: Reviewed) -> str:
    source = base64.b64encode(entry.thumbnail).decode()
    rows = "".join(
        f'<tr><td class="number">{found.score:.4f}</td><td class="number">{found.area:.1%}</td>'
        f"<td>{escape(found.caption)}</td><td>{escape(found.raw)}</td></tr>\n"
        for found in sorted(entry.descriptions, key=lambda found: found.score, reverse=True)
    )
    return (
        f'<section><img src="data:image/jpeg;base64,{source}" alt="{escape(entry.name)}">\n'
        f'<div><h2>{escape(entry.name)}</h2><p class="caption">{escape(entry.chosen.caption)}</p>\n'
        "<table><tr><th>score</th><th>area</th><th>description</th><th>before "
        f"refinement</th></tr>\n{rows}</table></div></section>\n"
    )
