"""LMDB folders in BasicSR's layout: `data.mdb`, `lock.mdb` and `meta_info.txt`.

Each value is a whole PNG file, each key an image name; a line of `meta_info.txt` reads `<key>.png (h,w,c) 1`, the last
number being the PNG compression level.
"""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import lmdb

from basicsr_m2trans.errors import InputError

_META_LINE = re.compile(r"(?P<key>.+)\.\w+ \((?P<h>\d+), *(?P<w>\d+), *(?P<c>\d+)\)( \d+)?")

# Real path -> (id of the process that opened it, environment).
_environments: dict[str, tuple[int, lmdb.Environment]] = {}


class LmdbReader:
    """Reads one LMDB folder; cheap to copy, to pickle and to carry across a fork.

    All readers of one folder in one process share one LMDB environment, because LMDB forbids to open a folder twice
    in a process. The environment belongs to the process that opened it: after a fork the child opens its own.

    Args:
        folder: the LMDB folder.

    Attributes:
        shapes: (h, w, c) in pixels by key, as `meta_info.txt` states them.

    Raises:
        InputError: the folder is no LMDB in BasicSR's layout, or code outside this class holds it open in this
            process.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(folder)
        self._real_path = os.path.realpath(folder)
        self.shapes = read_meta_info(folder)
        self._environment()

    def get(self, key: str) -> bytes:
        """The value stored under `key`.

        Raises:
            InputError: there is no such key.
        """
        with self._environment().begin() as transaction:
            value = transaction.get(key.encode())
        if value is None:
            raise InputError(
                f"{self.folder}: has no key {key!r} though its meta_info.txt may name it; make the LMDB again"
            )
        return value

    def _environment(self) -> lmdb.Environment:
        owner, environment = _environments.get(self._real_path, (None, None))
        if owner == os.getpid():
            return environment
        if environment is not None:
            # The copy inherited in a fork: closing it here leaves the parent's untouched and permits a new one.
            environment.close()
        try:
            environment = lmdb.open(self._real_path, readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise InputError(f"{self.folder}: cannot be opened as an LMDB ({error})") from error
        # Reading behind the end of a file that a broken copy cut short would kill the process without a word.
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if Path(self._real_path, "data.mdb").stat().st_size < needed:
            environment.close()
            raise InputError(f"{self.folder}: data.mdb is cut short, it should have {needed} bytes; copy it again")
        _environments[self._real_path] = (os.getpid(), environment)
        return environment


def read_meta_info(folder: str | Path) -> dict[str, tuple[int, int, int]]:
    """The (h, w, c) of every image of an LMDB folder by key, from its `meta_info.txt`.

    Unlike BasicSR's own reader, which cuts a key at its first dot, this takes off the extension only.

    Raises:
        InputError: the file is missing or empty, or a line is malformed or repeats a key. The message names it.
    """
    path = Path(folder, "meta_info.txt")
    if not path.is_file():
        raise InputError(f"{folder}: is not an LMDB folder of BasicSR (it has no meta_info.txt)")
    shapes = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = _META_LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{path}: line {number} is not '<name>.png (h,w,c) 1': {line!r}")
        if match["key"] in shapes:
            raise InputError(f"{path}: line {number} repeats {match['key']!r}; make the LMDB again")
        shapes[match["key"]] = (int(match["h"]), int(match["w"]), int(match["c"]))
    if not shapes:
        raise InputError(f"{path}: names no image; make the LMDB again")
    return shapes


def write_lmdb(folder: str | Path, entries: Iterable[tuple[str, bytes, tuple[int, int, int]]]) -> None:
    """Make an LMDB folder that stock BasicSR reads, replacing one that exists.

    It grows in `<folder>.partial` and is renamed when complete, so `folder` is absent, old or complete.

    Args:
        folder: the LMDB folder; its name ends in `.lmdb`, as BasicSR demands.
        entries: key, PNG file and (h, w, c) of each image. Keys are safe names (see `names.safe_name`).

    Raises:
        InputError: LMDB cannot write, mostly because the disk is full.
    """
    folder = Path(folder)
    partial, old = (folder.with_name(f"{folder.name}.{suffix}") for suffix in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    lines = []
    try:
        with lmdb.open(str(partial), map_size=2**26, sync=False) as environment:
            for key, value, (h, w, c) in entries:
                _put(environment, key.encode("ascii"), value)
                lines.append(f"{key}.png ({h},{w},{c}) 1\n")
            environment.sync(True)
    except lmdb.Error as error:
        raise InputError(f"{folder}: cannot be written ({error}); is the disk full?") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    Path(partial, "meta_info.txt").write_text("".join(lines), encoding="ascii")

    # A reader of this process would go on reading the replaced file.
    _, environment = _environments.pop(os.path.realpath(folder), (None, None))
    if environment is not None:
        environment.close()
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def _put(environment: lmdb.Environment, key: bytes, value: bytes) -> None:
    try:
        with environment.begin(write=True) as transaction:
            transaction.put(key, value)
    except lmdb.MapFullError:
        environment.set_mapsize(2 * (environment.info()["map_size"] + len(value)))
        _put(environment, key, value)
