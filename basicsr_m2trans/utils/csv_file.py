"""Tables as CSV."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from basicsr_m2trans.utils.atomic import write_atomic


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows, the header among them, as lines that end with a mere line feed; numbers in full."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as a UTF-8 file that is complete or untouched; file names keep foreign bytes."""
    write_atomic(path, csv_text(rows).encode(errors="surrogateescape"))
