"""docs/robustness.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_row_names_a_test_that_exists():
    page = (ROOT / "docs/robustness.md").read_text(encoding="utf-8")
    tables = [line for line in page[: page.index("## Soak")].splitlines() if line.startswith("| ")]
    rows = [line for line in tables if not line.endswith("| test |")]
    assert len(rows) >= 27
    for row in rows:
        named = re.findall(r"`(tests/\S+\.py)::(\w+)`", row)
        assert named, row
        for file, name in named:
            text = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{file}::{name}"
