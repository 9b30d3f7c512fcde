from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    """The benchmarks are scripts, which import each other by name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
