import errno
import shutil
from collections import namedtuple

import numpy as np
import pytest

from basicsr_m2trans.utils.download import DownloadError, download
from basicsr_m2trans.utils.errors import InputError

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def server(file_server):
    file_server.files["/weights.zip"] = CONTENT
    file_server.url += "/weights.zip"
    return file_server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.zip.partial"


def test_complete(server, path):
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None]


def test_goes_on_from_what_is_there(server, path):
    path.write_bytes(CONTENT[:1_234_567])
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234567-"]


def test_what_is_complete_is_not_fetched_again(server, path):
    path.write_bytes(CONTENT)
    download(server.url, path)
    assert path.read_bytes() == CONTENT


def test_longer_than_the_file_starts_again(server, path):
    path.write_bytes(CONTENT + b"of another file")
    download(server.url, path)
    assert path.read_bytes() == CONTENT


def test_broken_off_is_taken_up_again(server, path):
    server.mode = "breaks-off"
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert len(server.ranges) > 1
    assert int(server.ranges[1][6:-1]) > 0


def test_broken_off_without_ranges_keeps_what_arrived(server, path):
    server.mode = "breaks-off no-range"
    with pytest.raises(DownloadError, match=r"weights\.zip: IncompleteRead"):
        download(server.url, path)
    assert CONTENT.startswith(path.read_bytes())
    server.mode = "no-range"
    download(server.url, path)
    assert path.read_bytes() == CONTENT


def test_silent_server(server, path):
    server.mode = "silent"
    with pytest.raises(DownloadError, match="timed out"):
        download(server.url, path, timeout=0.1)


def test_slow_server_may_take_longer_than_the_time_out_in_all(server, path):
    server.mode = "slow"
    download(server.url, path, timeout=0.6)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize(
    ("mode", "address", "message"),
    [("page", "", "a web page"), ("", "x", "404"), ("another part", "", "sends another part")],
)
def test_answers_without_a_file_leave_what_arrived_before(mode, address, message, server, path):
    path.write_bytes(CONTENT[:1000])
    server.mode = mode
    with pytest.raises(DownloadError, match=message):
        download(server.url + address, path)
    assert path.read_bytes() == CONTENT[:1000]


def test_unreachable(path):
    with pytest.raises(DownloadError, match="refused"):
        download("http://127.0.0.1:9/weights.zip", path)


def test_too_little_space_is_said_before(server, path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1_000_000))
    with pytest.raises(InputError, match="3 MB are to come and 1 MB are free"):
        download(server.url, path)
    path.write_bytes(CONTENT[:2_500_000])
    download(server.url, path)  # only the rest has to fit
    assert path.read_bytes() == CONTENT


def test_full_disk(server, path):
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space") as error:
        download(server.url, path)
    assert error.value.errno == errno.ENOSPC
