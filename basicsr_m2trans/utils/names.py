"""Image names: how files, LMDB keys and captions find each other."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_MAX_LENGTH = 200


def image_name(file: str) -> str:
    """The name of an image: its file name without folder and image extension.

    Only the extensions of `IMAGE_EXTENSIONS` are taken off, in any case, so that `1.2.840.png` and
    `1.2.840` are the same image.
    """
    path = PurePath(file)
    return path.stem if path.suffix.lower() in IMAGE_EXTENSIONS else path.name


def safe_name(name: str) -> str:
    """A name that every part of BasicSR carries unharmed: ASCII letters, digits, `_` and `-` only.

    BasicSR cuts an LMDB key at its first dot and encodes it as ASCII, and cuts a line of a meta
    information file at its first blank. In names that are not safe each unsafe character becomes
    `_`, and `-` with eight hexadecimal digits of the SHA-256 of the name (in Unicode form NFC) is
    appended, so that names that differ only in unsafe characters stay apart. Names of more than 200
    characters are shortened in the same way, for file systems and LMDB.
    """
    plain = re.sub("[^A-Za-z0-9_-]", "_", name)
    if plain == name and len(name) <= _MAX_LENGTH:
        return name
    digest = hashlib.sha256(os.fsencode(unicodedata.normalize("NFC", name))).hexdigest()[:8]
    return f"{plain[:_MAX_LENGTH]}-{digest}"


def first_few(items: Sequence[str], count: int = 5) -> str:
    """The first `count` of `items` joined by commas, and how many more there are."""
    rest = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(items[:count]) + rest
