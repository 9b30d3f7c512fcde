"""Writing CSV files."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from basicsr_m2trans.utils.atomic import write_atomic


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as a UTF-8 file that is complete or untouched; file names keep foreign bytes."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    write_atomic(path, buffer.getvalue().encode(errors="surrogateescape"))
