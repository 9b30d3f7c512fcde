"""Boxes drawn with LabelImg (the tool of Sec. IV), from its Pascal VOC XML and YOLO text files."""

from pathlib import Path
from typing import NamedTuple

from basicsr_m2trans.data.pairs import size_text
from basicsr_m2trans.utils.errors import InputError

ANNOTATION_EXTENSIONS = (".xml", ".txt")
CLASSES_FILE = "classes.txt"  # the classes' names, which LabelImg writes beside YOLO annotations


class Box(NamedTuple):
    """A box in pixels: columns `left` to `right` and rows `top` to `bottom`, these not included."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.bottom - self.top, self.right - self.left


def read_boxes(path: Path, size: tuple[int, int]) -> list[Box]:
    """Read the boxes of a Pascal VOC file (`.xml`) or a YOLO file (`.txt`).

    LabelImg's numbers are edges between pixels, in both formats.

    Args:
        path: the file.
        size: height and width of the image in pixels.

    Returns:
        The boxes in the file's order, which may reach out of the image.

    Raises:
        InputError: the file is damaged or in another format, was made for an image of another size,
            or holds no box.
    """
    try:
        boxes = _read_voc(path, size) if path.suffix.lower() == ".xml" else _read_yolo(path, size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not boxes:
        raise InputError(f"{path}: holds no box")
    return boxes


def _read_voc(path: Path, size: tuple[int, int]) -> list[Box]:
    # The standard library's parser would expand entities to any size and read files that they name.
    from defusedxml.ElementTree import ParseError, parse

    try:
        root = parse(path, forbid_dtd=True).getroot()
        declared = int(root.findtext("size/height", "0")), int(root.findtext("size/width", "0"))
        boxes = [
            Box(*(round(float(box.findtext(edge))) for edge in ("xmin", "ymin", "xmax", "ymax")))
            for box in root.iterfind("object/bndbox")
        ]
    except (ParseError, ValueError, TypeError, OverflowError, LookupError) as error:
        raise InputError(
            f"{path}: is no Pascal VOC annotation ({error or type(error).__name__})"
        ) from error
    if all(declared) and declared != size:
        raise InputError(
            f"{path}: was made for an image of {size_text(declared)}, but it is {size_text(size)}"
        )
    return boxes


def _read_yolo(path: Path, size: tuple[int, int]) -> list[Box]:
    """Lines of class, centre x, centre y, width and height, in fractions of the image's sides."""
    h, w = size
    boxes = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                _, x, y, width, height = (float(number) for number in line.split())
                left, top = (x - width / 2) * w, (y - height / 2) * h
                right, bottom = (x + width / 2) * w, (y + height / 2) * h
                boxes.append(Box(round(left), round(top), round(right), round(bottom)))
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: is no YOLO annotation ({error})") from error
    return boxes
