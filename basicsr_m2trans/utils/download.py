"""Fetching one large file over HTTP, going on where an earlier transfer stopped."""

import re
import shutil
from pathlib import Path

from basicsr_m2trans.utils.errors import InputError

CHUNK = 1 << 20
HTML = "text/html"


class DownloadError(Exception):
    """An address gave no file; the message has one line, with the address and the reason."""


def download(url: str, path: Path, timeout: float = 60.0) -> None:
    """Fetch a file with a progress bar; what `path` already holds is not fetched again.

    A transfer that breaks off is taken up again as long as each attempt adds bytes. Servers that
    cannot send a part of a file send all of it. What has arrived stays in `path`, whatever happens.

    Args:
        path: in a folder that exists.
        timeout: seconds without a sign of the server before an attempt counts as broken off.

    Raises:
        DownloadError: the server cannot be reached, refuses, answers with a web page or another
            part of the file, or keeps breaking off.
        InputError: too little space is free for the rest of the file.
        OSError: the file cannot be written.
    """
    import requests

    while True:
        before = _size(path)
        try:
            return _transfer(url, path, timeout)
        except requests.RequestException as error:
            if _size(path) <= before:
                raise DownloadError(f"{url}: {_first_cause(error)}") from error


def _transfer(url: str, path: Path, timeout: float) -> None:
    import requests
    from tqdm import tqdm

    offset = _size(path)
    # Compressed on the way, the bytes would not be those that are counted.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            complete = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
            if complete and int(complete[1]) == offset:
                return
            path.unlink()  # the beginning of another file
            return _transfer(url, path, timeout)
        response.raise_for_status()
        if response.headers.get("Content-Type", "").startswith(HTML):
            raise DownloadError(f"{url}: a web page instead of a file")
        if response.status_code != requests.codes.partial_content:
            offset = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            raise DownloadError(f"{url}: sends another part of the file than it was asked for")
        length = int(response.headers.get("Content-Length", 0))
        free = shutil.disk_usage(path.parent).free + (_size(path) - offset)
        if length > free:
            raise InputError(
                f"{path.parent}: {length / 1e6:.0f} MB are to come and {free / 1e6:.0f} MB are "
                "free; make room there or choose another folder"
            )
        total = offset + length or None
        bar = tqdm(total=total, initial=offset, unit="B", unit_scale=True, disable=None)
        with bar, path.open("ab" if offset else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _first_cause(error: BaseException) -> str:
    """What the operating system or the server said, without the layers of libraries around it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__
