"""scripts/draw_architecture.py, and that docs/architecture.md has every room."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT_DRAWN = {"__pycache__", "pretrained"}


def rooms(folder):
    return {path.name for path in folder.iterdir() if path.is_dir()} - NOT_DRAWN


ROOMS = rooms(ROOT / "basicsr_m2trans") | {"compat", "registration"}
APPS = rooms(ROOT / "basicsr_m2trans/apps")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the script needs tomllib")
def test_the_picture_has_every_room(tmp_path):
    file = tmp_path / "architecture.svg"
    subprocess.run([sys.executable, "scripts/draw_architecture.py", file], cwd=ROOT, check=True)
    committed = ROOT / "docs/images/architecture.svg"
    assert committed.read_bytes() == file.read_bytes(), "run scripts/draw_architecture.py"
    labels = {element.text for element in ElementTree.parse(file).iter() if element.text}
    assert labels >= ROOMS - {"apps"} | APPS


def test_the_page_describes_every_room():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert [room for room in sorted(ROOMS | APPS) if f"**{room}**" not in page] == []
