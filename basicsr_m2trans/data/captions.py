"""Captions of ultrasound images: the paper's templates (Sec. IV, last part), captions files."""

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from basicsr_m2trans.utils.csv_file import write_csv
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import image_name

TEMPLATES = (
    "a picture of a {attr} ultrasound image",
    "a {attr} image of an ultrasound",
    "a {attr} ultrasound image",
)
ATTRIBUTES = ("nice", "sharp", "fine", "clear", "clean", "cool", "great")
COLUMNS = ("image", "caption")


def make_caption(name: str, seed: int = 0) -> str:
    """A caption by the paper's recipe (Sec. IV): a template filled with one to seven quality words.

    Template, number of words, words and their order are uniformly random, and depend on `seed` and
    `name` alone: the same on every machine and for any set of other images.
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    words = rng.permutation(ATTRIBUTES)[: rng.integers(1, len(ATTRIBUTES) + 1)]
    return template.format(attr=", ".join(words))


def read_captions(path: str | Path) -> dict[str, str]:
    """Read a captions file: CSV in UTF-8 with the columns `image` and `caption`.

    Returns:
        Captions by image name (see `names.image_name`). Further columns are ignored.

    Raises:
        InputError: the file is missing, is not UTF-8 CSV or lacks a column; or a line has no image,
            no caption, an image that an earlier line had, or more fields than the header. The
            message names file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: the captions file cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: the captions file is not UTF-8; save it as CSV in UTF-8"
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    captions: dict[str, str] = {}
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(
                f"{path}: line 1 lacks the column {' and '.join(missing)}; the first line of a "
                "captions file is 'image,caption', with a comma"
            )
        for row in reader:
            problem = _row_problem(row, captions)
            if problem:
                raise InputError(f"{path}: line {reader.line_num} {problem}")
            captions[image_name(row["image"].strip())] = row["caption"].strip()
    except csv.Error as error:
        # The reader counts a row's lines after it has read them.
        raise InputError(
            f"{path}: line {reader.line_num + 1} is not valid CSV ({error})"
        ) from error
    return captions


def _row_problem(row: dict, captions: Mapping[str, str]) -> str | None:
    if None in row:
        return (
            "has more fields than the header; put a caption that holds a comma into double quotes "
            '("...")'
        )
    image, caption = ((row[column] or "").strip() for column in COLUMNS)
    if not image:
        return "has no image name"
    if not caption:
        return f"has no caption for image {image!r}"
    if image_name(image) in captions:
        return f"repeats image {image_name(image)!r}; keep one caption for each image"
    return None


def write_captions(path: str | Path, captions: Mapping[str, str]) -> None:
    """Write captions by image name as a file that `read_captions` reads back."""
    write_csv(Path(path), [COLUMNS, *captions.items()])
