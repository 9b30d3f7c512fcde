"""scripts/bundle.sh and install_bundle.sh on a small project, without a network."""

import base64
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER_VERSION = "3.12" if VERSION != "3.12" else "3.11"
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "basicsr_m2trans"
version = "7.0"
requires-python = ">=3.10,<3.13"
dependencies = ["basicsr==1.4.2", "pip>=20"]
[project.optional-dependencies]
old = ["leaf<2"]
video = ["film"]
test = ["basicsr_m2trans[old]"]
[tool.setuptools]
packages = ["basicsr_m2trans"]
"""
PROJECT = {
    "pyproject.toml": PYPROJECT,
    "README.md": "",
    "LICENSE": "",
    "constraints.txt": (
        f'leaf==2.0; python_version >= "{VERSION}" and python_version <= "{VERSION}"\nfilm==1.0\n'
    ),
    "basicsr_m2trans/__init__.py": "def register():\n    import basicsr, leaf\n",
}


def make_wheel(folder, name, version, *requires):
    """A wheel of one empty module."""
    info = f"{name}-{version}.dist-info"
    metadata = "".join(
        [
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            *(f"Requires-Dist: {r}\n" for r in requires),
        ]
    )
    files = {
        f"{name}/__init__.py": "",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for path, text in files.items()
    }
    record = "".join(
        f"{path},sha256={digest},{len(files[path])}\n" for path, digest in digests.items()
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project like this one, and in `index` all the wheels there are in its world."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "index").mkdir()
    make_wheel(
        folder / "index",
        "basicsr",
        "1.4.2",
        "leaf",
        f'only_here; python_version == "{VERSION}"',
        f'only_there; python_version == "{OTHER_VERSION}"',
    )
    for name in ("only_here", "only_there"):
        make_wheel(folder / "index", name, "1.0")
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(folder / "index", "leaf", version)
    make_wheel(folder / "index", "film", "1.0", "film_codec")
    return folder


@pytest.fixture(scope="module")
def bundle(project):
    """Run bundle.sh with the wheels in `index` alone."""

    def run(*arguments):
        return execute(
            "scripts/bundle.sh",
            *arguments,
            cwd=project,
            env=offline(project) | {"PYTHON": sys.executable},
        )

    return run


@pytest.fixture(scope="module")
def whole(project, bundle):
    """A bundle without pip, which stands for torch: what is left out must be there already."""
    result = bundle("whole", "--without", "pip")
    assert result.returncode == 0, result.stderr
    return project / "whole"


@pytest.fixture
def collect(project, monkeypatch):
    """Run collect_wheels.py in this process, with the wheels in `index` alone."""
    spec = importlib.util.spec_from_file_location(
        "collect_wheels", ROOT / "scripts/collect_wheels.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in offline(project).items():
        monkeypatch.setenv(name, value)

    def run(folder, *arguments):
        options = [
            "--constraints",
            str(project / "constraints.txt"),
            "--python",
            VERSION,
            *arguments,
        ]
        monkeypatch.setattr(sys, "argv", ["collect_wheels.py", str(folder), *options])
        module.main()

    return run


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copied")


def offline(project):
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(project / "index"),
    }


def execute(script, *arguments, cwd, env=None):
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PIP_", "PYTHONPATH"))
    }
    command = ["bash", script, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=clean | (env or {}), capture_output=True, text=True, check=False
    )


def install(folder, *arguments, env=None):
    """Run the script of the bundle, whose folder stands alone."""
    return execute(
        folder / "install_bundle.sh",
        "--python",
        sys.executable,
        *arguments,
        cwd=folder.parent,
        env=env,
    )


def seal(folder):
    """Renew the checksums after a change."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
        for path in files
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def names(folder):
    return (folder / "requirements.txt").read_text().splitlines()


def test_a_bundle_holds_pinned_versions_and_the_markers_of_its_python(whole):
    assert names(whole) == ["basicsr-m2trans==7.0", "basicsr==1.4.2", "leaf==2.0", "only-here==1.0"]
    assert len(list((whole / "wheels").iterdir())) == 4
    assert (whole / "left-out.txt").read_text() == "pip>=20\n"
    assert (whole / "python-version").read_text() == f"{VERSION}\n"
    assert not list(whole.parent.glob("whole.partial*"))


def test_a_bundle_for_another_python_and_another_package_in_place_of_one(whole, tmp_path, collect):
    (tmp_path / "wheels").mkdir()
    shutil.copy(whole / "wheels/basicsr_m2trans-7.0-py3-none-any.whl", tmp_path / "wheels")
    collect(tmp_path, "--python", OTHER_VERSION, "--without", "pip=wheel")
    # The pin of leaf holds for the Python of these tests alone.
    assert names(tmp_path) == [
        "basicsr-m2trans==7.0",
        "basicsr==1.4.2",
        "leaf==3.0",
        "only-there==1.0",
    ]
    assert (tmp_path / "left-out.txt").read_text() == "wheel>=20\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the folder to make"),
        (["one", "two"], "one folder is needed"),
        (["whole"], "whole exists; remove it"),
        (["new", "--python"], "--python needs a value"),
        (["new", "--python", "python3.12"], "write a version such as 3.12"),
        (["new", "--without", "--python", "3.12"], "--without needs the names"),
        (["new", "--platform", "linux"], "unknown option --platform"),
    ],
)
def test_wrong_arguments(whole, bundle, arguments, message):
    result = bundle(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert (whole / "SHA256SUMS").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--python", "3.9"], "--python 3.9: this package needs Python <3.13,>=3.10"),
        (["--extras", "vidoe"], "there is no vidoe; there are old, test, video"),
        (["--without", "pip", "tprch"], "nothing in this bundle needs tprch"),
        (["--without", "basicsr-m2trans"], "nothing in this bundle needs basicsr-m2trans"),
        (
            ["--extras", "video", "--without", "pip"],
            "pip download failed; its messages are above. Needed: film-codec",
        ),
        (
            ["--extras", "test", "--without", "pip"],
            "leaf 2.0 was collected but <2 is needed; pin it",
        ),
    ],
)
def test_a_bundle_that_cannot_be(copied, collect, arguments, message):
    with pytest.raises(SystemExit, match=re.escape(message)):
        collect(copied, *arguments)


def test_a_failure_leaves_nothing(project, bundle):
    result = bundle("new", "--extras", "vidoe")
    assert result.returncode == 1
    assert "there is no vidoe" in result.stderr
    assert not (project / "new").exists()
    assert not list(project.glob("new.partial*"))


def test_installs_into_a_folder_whatever_the_settings_of_pip(copied, tmp_path):
    unhelpful = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_USER": "1",
        "PIP_NO_BINARY": ":all:",
    }
    result = install(copied, "--target", tmp_path / "site", env=unhelpful)
    assert result.returncode == 0, result.stderr
    assert f"export PYTHONPATH={tmp_path / 'site'}" in result.stdout
    assert {path.name for path in (tmp_path / "site").glob("*-*.dist-info")} == {
        "basicsr-1.4.2.dist-info",
        "basicsr_m2trans-7.0.dist-info",
        "leaf-2.0.dist-info",
        "only_here-1.0.dist-info",
    }
    again = install(copied, "--target", tmp_path / "site")
    assert again.returncode == 1
    assert "exists; remove it" in again.stderr


def test_installs_into_an_environment(copied, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    packages = tmp_path / f"env/lib/python{VERSION}/site-packages"
    pip = Path(
        subprocess.check_output(
            [sys.executable, "-c", "import pip; print(pip.__path__[0])"], text=True
        ).strip()
    )
    for path in (pip, *pip.parent.glob("pip-*.dist-info")):
        (packages / path.name).symlink_to(path)
    result = execute(copied / "install_bundle.sh", "--python", "env/bin/python", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (packages / "basicsr_m2trans-7.0.dist-info").exists()
    assert "-m basicsr_m2trans.cli upscale" in result.stdout


def test_a_damaged_bundle(copied, tmp_path):
    with (copied / "wheels/leaf-2.0-py3-none-any.whl").open("ab") as wheel:
        wheel.write(b"x")
    result = install(copied, "--target", tmp_path / "site")
    assert result.returncode == 1
    assert "wheels/leaf-2.0-py3-none-any.whl: FAILED" in result.stdout
    assert "missing or damaged" in result.stderr
    assert not (tmp_path / "site").exists()


def test_what_is_left_out_must_be_there(copied, tmp_path):
    (copied / "left-out.txt").write_text("nowhere>=2\npip>=9999\npytest>=1\n")
    seal(copied)
    result = install(copied, "--target", tmp_path / "site")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"the bundle leaves out nowhere and needs nowhere>=2; {sys.executable} has none",
        f"the bundle leaves out pip and needs pip>=9999; {sys.executable} has "
        f"{importlib.metadata.version('pip')}",
        "install_bundle.sh: install these first, or make a bundle with them",
    ]
    assert not (tmp_path / "site").exists()


def test_another_python(copied, tmp_path):
    (copied / "python-version").write_text("3.9\n")
    seal(copied)
    result = install(copied, "--target", tmp_path / "site")
    assert result.returncode == 1
    assert f"the bundle is for Python 3.9 and {sys.executable} is {VERSION}" in result.stderr
    assert not (tmp_path / "site").exists()


def test_a_failed_installation_leaves_no_target(copied, tmp_path):
    (copied / "wheels/leaf-2.0-py3-none-any.whl").unlink()
    seal(copied)
    result = install(copied, "--target", tmp_path / "site")
    assert result.returncode == 1
    assert "pip failed" in result.stderr
    assert not (tmp_path / "site").exists()
    assert not (tmp_path / "site.partial").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target"], "--target needs a value"),
        (["--traget", "x"], "unknown argument --traget"),
        (["--bundle", "/nowhere"], "/nowhere is no bundle"),
        (["--python", "/nowhere/python"], "/nowhere/python was not found"),
    ],
)
def test_wrong_arguments_of_the_installation(whole, arguments, message):
    result = install(whole, *arguments)
    assert result.returncode == 1
    assert message in result.stderr
