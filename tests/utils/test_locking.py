import errno
import os
import subprocess
import sys

import pytest

from basicsr_m2trans.utils import locking
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.locking import locked

HOLDER = """
import sys, time
from pathlib import Path
from basicsr_m2trans.utils.locking import locked
with locked(Path(sys.argv[1]), ""):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_gives_the_lock_back(tmp_path, monkeypatch, capsys):
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(locking, "PATIENCE", 0.1)
        with (
            pytest.raises(InputError, match="somebody works here"),
            locked(path, "somebody works here"),
        ):
            pass
        assert capsys.readouterr().err == "waiting 0 s: somebody works here\n"
        holder.kill()
    monkeypatch.undo()
    with locked(path, "still held"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_work_goes_on(number, tmp_path, monkeypatch, capsys):
    """As on some network disks."""

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking.fcntl, "flock", refuse)
    with locked(tmp_path / "lock", "held"):
        assert "no protection against a second run here" in capsys.readouterr().err


def test_the_lock_file_of_another_user_is_as_good(tmp_path):
    (tmp_path / "lock").touch(mode=0o444)
    with locked(tmp_path / "lock", "held"):
        pass


def test_a_child_that_outlives_the_block_holds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "PATIENCE", 0.0)
    with locked(tmp_path / "lock", "") as number:
        child = subprocess.Popen(["sleep", "600"], pass_fds=[number])
    try:
        with locked(tmp_path / "lock", "the child holds it"):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with (
        pytest.raises(InputError, match=r"nowhere/lock cannot be written \(No such file"),
        locked(tmp_path / "nowhere/lock", ""),
    ):
        pass
