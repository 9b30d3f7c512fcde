"""LMDB folders in BasicSR's layout: `data.mdb`, `lock.mdb` and `meta_info.txt`.

Each key is an image name. Each value is either a whole PNG file, as stock BasicSR wants it, or the
image's raw pixels, of which a window can be copied out of the memory map without reading the rest.
A line of `meta_info.txt` says which:

    <key>.png (h,w,c) 1        PNG file; the last number is its compression level
    <key>.raw (h,w,c) uint8    raw pixels, row by row, uint8 or little-endian uint16

`FORMATS` names the two; images are as described in `images`.
"""

import math
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import lmdb
import numpy as np

from basicsr_m2trans.data.images import decode_image
from basicsr_m2trans.utils.errors import InputError

FORMATS = ("png", "raw")

Window = tuple[slice, slice]  # rows and columns in pixels, as in `image[window]`

_RAW_TYPES: dict[str, np.dtype] = {"uint8": np.dtype("u1"), "uint16": np.dtype("<u2")}
_META_LINE = re.compile(
    r"(?P<key>.+)\.(?P<extension>\w+) \((?P<h>\d+), *(?P<w>\d+), *(?P<c>\d+)\)"
    r"( (?P<raw_type>uint8|uint16)| \d+)?"
)

_Buffer = TypeVar("_Buffer", bytes, memoryview)

# Real path -> (id of the process that opened it, environment).
_environments: dict[str, tuple[int, lmdb.Environment]] = {}


def check_lmdb_format(lmdb: str) -> None:
    """Raise an `InputError` for what is not one of `FORMATS`."""
    if lmdb not in FORMATS:
        raise InputError(f"lmdb: {lmdb!r} is none of {', '.join(FORMATS)}")


class StoredImage(NamedTuple):
    """What `meta_info.txt` says of one image."""

    shape: tuple[int, int, int]  # (h, w, c) in pixels
    raw_type: np.dtype | None  # of the raw pixels; None for a PNG file


class LmdbReader:
    """Reads one LMDB folder; cheap to copy, to pickle and to carry across a fork.

    All readers of one folder in one process share one LMDB environment, because LMDB forbids to
    open a folder twice in a process. After a fork the child opens its own.

    Attributes:
        shapes: (h, w, c) in pixels by key, as `meta_info.txt` states them.

    Raises:
        InputError: the folder is not an LMDB in BasicSR's layout, or code outside this class holds
            it open in this process.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(folder)
        self._real_path = os.path.realpath(folder)
        self._stored = read_meta_info(folder)
        self.shapes = {key: stored.shape for key, stored in self._stored.items()}
        self._environment()

    def get(self, key: str) -> bytes:
        """The value stored under `key`, as it is: a PNG file or raw pixels.

        Raises:
            InputError: there is no such key.
        """
        with self._environment().begin() as transaction:
            return self._value(transaction, key)

    def image(self, key: str, window: Window = np.s_[:, :]) -> np.ndarray:
        """A window, within the image stored under `key`; of raw pixels nothing else is read.

        Returns:
            Image (h, w, 1 or 3) of the window's size, uint8 or uint16.

        Raises:
            InputError: there is no such key, or its value is damaged or differs in size from what
                `meta_info.txt` says. The message names folder and key.
        """
        shape, raw_type = self._stored[key]
        source = f"{self.folder}, key {key!r}"
        if raw_type is not None:
            with self._environment().begin(buffers=True) as transaction:
                pixels = _as_image(self._value(transaction, key), shape, raw_type, source)
                # The memory map may be read only while the transaction lasts.
                return pixels[window].copy()
        image = decode_image(self.get(key), source)
        if image.shape[:2] != shape[:2]:
            raise InputError(
                f"{source}: is {image.shape[1]} x {image.shape[0]} but meta_info.txt says "
                f"{shape[1]} x {shape[0]}; make the LMDB again"
            )
        return image[window]

    def _value(self, transaction: "lmdb.Transaction[_Buffer]", key: str) -> _Buffer:
        value = transaction.get(key.encode())
        if value is None:
            raise InputError(
                f"{self.folder}: has no key {key!r} though its meta_info.txt may name it; make the "
                "LMDB again"
            )
        return value

    def _environment(self) -> lmdb.Environment:
        opened = _environments.get(self._real_path)
        if opened is not None:
            owner, environment = opened
            if owner == os.getpid():
                return environment
            # The copy inherited in a fork: closing it here leaves the parent's untouched and
            # permits a new one.
            environment.close()
        try:
            environment = lmdb.open(self._real_path, readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise InputError(f"{self.folder}: cannot be opened as an LMDB ({error})") from error
        # Reading behind the end of a file that was cut short would kill the process silently.
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if Path(self._real_path, "data.mdb").stat().st_size < needed:
            environment.close()
            raise InputError(
                f"{self.folder}: data.mdb is cut short, it should have {needed} bytes; copy it "
                "again"
            )
        _environments[self._real_path] = (os.getpid(), environment)
        return environment


def _as_image(
    value: memoryview, shape: tuple[int, int, int], raw_type: np.dtype, source: str
) -> np.ndarray:
    """Raw pixels as an image that shares their memory."""
    needed = math.prod(shape) * raw_type.itemsize
    if len(value) != needed:
        raise InputError(
            f"{source}: has {len(value)} bytes but meta_info.txt says {shape} of {raw_type}, which "
            f"makes {needed}; make the LMDB again"
        )
    return np.frombuffer(value, raw_type).reshape(shape)


def read_meta_info(folder: str | Path) -> dict[str, StoredImage]:
    """Shape and format of every image of an LMDB folder by key, from its `meta_info.txt`.

    Unlike BasicSR's reader, which cuts a key at its first dot, this takes off the extension only.

    Raises:
        InputError: the file is missing or empty, or a line is malformed or repeats a key.
    """
    path = Path(folder, "meta_info.txt")
    if not path.is_file():
        raise InputError(f"{folder}: is not an LMDB folder of BasicSR (it has no meta_info.txt)")
    images = {}
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
    ):
        match = _META_LINE.fullmatch(line.strip())
        if match is None or (match["extension"] == "raw") != (match["raw_type"] is not None):
            raise InputError(
                f"{path}: line {number} is neither '<name>.png (h,w,c) 1' nor '<name>.raw (h,w,c) "
                f"uint8': {line!r}"
            )
        if match["key"] in images:
            raise InputError(f"{path}: line {number} repeats {match['key']!r}; make the LMDB again")
        shape = (int(match["h"]), int(match["w"]), int(match["c"]))
        images[match["key"]] = StoredImage(shape, _RAW_TYPES.get(match["raw_type"]))
    if not images:
        raise InputError(f"{path}: names no image; make the LMDB again")
    return images


def write_lmdb(
    folder: str | Path, entries: Iterable[tuple[str, bytes | np.ndarray, tuple[int, int, int]]]
) -> None:
    """Make an LMDB folder, replacing one that exists; stock BasicSR reads PNG values only.

    It grows in `<folder>.partial`, so `folder` is absent, old or complete.

    Args:
        folder: its name must end in `.lmdb` for BasicSR to open it.
        entries: key, value and (h, w, c) of each image. A value of bytes is a PNG file; an image
            (uint8 or uint16) is stored as raw pixels. Keys are safe names (see `names.safe_name`).

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
                if isinstance(value, np.ndarray):
                    lines.append(f"{key}.raw ({h},{w},{c}) {value.dtype.name}\n")
                    value = value.astype(_RAW_TYPES[value.dtype.name]).tobytes()
                else:
                    lines.append(f"{key}.png ({h},{w},{c}) 1\n")
                _put(environment, key.encode("ascii"), value)
            environment.sync(True)
        Path(partial, "meta_info.txt").write_text("".join(lines), encoding="ascii")
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, lmdb.Error):
            raise InputError(f"{folder}: cannot be written ({error}); is the disk full?") from error
        raise

    # A reader of this process would go on reading the replaced file.
    opened = _environments.pop(os.path.realpath(folder), None)
    if opened is not None:
        opened[1].close()
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
