import os
from pathlib import Path

import pytest

from basicsr_m2trans.utils.atomic import write_atomic


def test_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_interruption_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def test_the_file_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    steps = []
    flush, rename = os.fsync, os.replace

    def record_flush(descriptor):
        steps.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        flush(descriptor)

    def record_rename(source, target):
        assert Path(source).read_bytes() == b"new"
        steps.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", record_flush)
    monkeypatch.setattr(os, "replace", record_rename)
    write_atomic(tmp_path / "a.txt", b"new")
    assert steps == ["a.txt.partial", "rename", tmp_path.name]


def test_a_full_disk_keeps_the_old_file_and_nothing_of_the_new(tmp_path, files_no_larger_than):
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")
    with files_no_larger_than(1000), pytest.raises(OSError, match="File too large"):
        write_atomic(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
