"""scripts/install.sh where it must refuse or fail; this environment shows that it succeeds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def install(tmp_path):
    """Run the script in a copy of the files it reads, without network or settings of pip."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    offline = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
    }

    def run(**settings):
        environment = clean | offline | settings
        return subprocess.run(
            ["bash", "scripts/install.sh"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_wrong_python(install, tmp_path):
    result = install(PYTHON="/bin/false")
    assert result.returncode == 1
    assert "Python 3.10, 3.11 or 3.12 is needed" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_environment_that_it_did_not_make_is_left_alone(install, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/mine").touch()
    result = install(PYTHON=sys.executable)
    assert result.returncode == 1
    assert "was not made by make install" in result.stderr
    assert (tmp_path / ".venv/mine").exists()


def test_a_failed_step_names_itself_and_leaves_nothing(install, tmp_path):
    result = install(PYTHON=sys.executable)
    assert result.returncode == 1
    assert "the step 'torch and torchvision' could not reach the package index" in result.stderr
    assert not (tmp_path / ".venv").exists()
    assert (tmp_path / "install.log").exists()
