"""Draws the rooms of the package and the imports between them: docs/images/architecture.svg.

    python scripts/draw_architecture.py [FILE.svg]

Rooms stand in the layers of pyproject.toml's import-linter contract, the highest first. From each a
line leads down; where it meets the line into a lower room, a number says how many pairs of modules
import each other. Needs Python 3.11 and `grimp`, which import-linter brings.
"""

import sys
from collections import Counter
from pathlib import Path

import grimp
import tomllib

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = "basicsr_m2trans"
APPS = "apps"
# Pixels.
ROW, COLUMN, APP_COLUMN = 44, 38, 96
BOX_WIDTH, BOX_HEIGHT, RADIUS, MARGIN = 88, 26, 9, 24
COLOURS = {"cli": "#dbeafe", APPS: "#dcfce7"}
OTHER_COLOUR = "#fef3c7"


def main() -> None:
    """Write the picture."""
    file = Path(sys.argv[1]) if sys.argv[1:] else PROJECT / "docs/images/architecture.svg"
    sys.path.insert(0, str(PROJECT))  # not a package that is installed from elsewhere
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    file.write_text(draw(layers(graph), imports(graph)), encoding="utf-8")


def layers(graph: grimp.ImportGraph) -> list[list[str]]:
    """Rooms of each layer; the applications are those of one layer."""
    configuration = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    names = next(
        contract["layers"]
        for contract in configuration["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    found = []
    for name in names:
        rooms = [room.strip() for room in name.split("|")]
        if rooms == [APPS]:
            rooms = sorted(room_of(child) for child in graph.find_children(f"{PACKAGE}.{APPS}"))
        found.append(rooms)
    return found


def room_of(module: str) -> str:
    """'apps.files' for a module of that application, 'data' for one of that room."""
    names = module.split(".")[1:3]
    return ".".join(names if names[:1] == [APPS] else names[:1])


def imports(graph: grimp.ImportGraph) -> Counter[tuple[str, str]]:
    """How many imports lead from one room to another."""
    return Counter(
        (room_of(module), room_of(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if room_of(module) != room_of(imported)
    )


def draw(rows: list[list[str]], counts: Counter[tuple[str, str]]) -> str:
    """The picture as SVG."""
    position: dict[str, tuple[int, int]] = {}  # of a box's left end, where its line leads down
    x, y = MARGIN, MARGIN + BOX_HEIGHT // 2
    for rooms in rows:
        for room in rooms:
            position[room] = (x, y)
            x += APP_COLUMN if len(rooms) > 1 else COLUMN
        y += ROW
    lines, numbers, boxes = [], [], []
    for room, (left, middle) in position.items():
        top = middle - BOX_HEIGHT // 2
        sources = [source for source in position if counts[source, room]]
        in_line = room.startswith(f"{APPS}.")  # with others, so that lines come from above
        bend = top - (ROW - BOX_HEIGHT) // 2 if in_line else middle
        if sources:
            start = min(position[source][0] for source in sources)
            end = f"H{left + BOX_WIDTH // 2}V{top}" if in_line else f"H{left}"
            lines.append(f'<path d="M{start + 10} {bend}{end}" marker-end="url(#arrow)"/>')
        if in_line:
            text = sum(counts[source, room] for source in sources)
            numbers.append(number(left + BOX_WIDTH // 2, bend, text))
        else:
            numbers += [
                number(position[source][0] + 10, middle, counts[source, room]) for source in sources
            ]
        targets = [position[target][1] for target in position if counts[room, target]]
        if targets:
            lines.append(f'<path d="M{left + 10} {middle}V{max(targets)}"/>')
        label = room.removeprefix(f"{APPS}.")
        colour = COLOURS.get(APPS if in_line else room, OTHER_COLOUR)
        boxes.append(
            f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" '
            f'fill="{colour}" stroke="#374151"/>'
            f'<text x="{left + BOX_WIDTH // 2}" y="{middle + 5}" font-size="14">{label}</text>'
        )
    width = max(left for left, _ in position.values()) + BOX_WIDTH + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" '
            f'width="{width}" height="{y}" font-family="sans-serif" text-anchor="middle">',
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#9ca3af"/></marker>'
            "</defs>",
            f'<rect width="{width}" height="{y}" fill="white"/>',
            '<g fill="none" stroke="#9ca3af">',
            *lines,
            "</g>",
            *boxes,
            *numbers,
            "</svg>\n",
        ]
    )


def number(x: int, y: int, value: int) -> str:
    """A number in a circle."""
    return (
        f'<circle cx="{x}" cy="{y}" r="{RADIUS}" fill="white" stroke="#374151"/>'
        f'<text x="{x}" y="{y + 4}" font-size="11">{value}</text>'
    )


if __name__ == "__main__":
    main()
