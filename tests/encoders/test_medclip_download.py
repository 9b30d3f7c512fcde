import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import torch

from basicsr_m2trans.encoders import medclip_download
from basicsr_m2trans.encoders.medclip import CHECKPOINT_URL, read_medclip_checkpoint
from basicsr_m2trans.encoders.medclip_download import ARCHIVE, fetch_medclip
from basicsr_m2trans.utils.errors import InputError

KEYS = Path(__file__).parents[1] / "data/reference/medclip_vit_keys.json"


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """All 434 entries of the published file in their shapes; one stored number each, so that the
    file is small.
    """
    path = tmp_path_factory.mktemp("weights") / "pytorch_model.bin"
    shapes = json.loads(KEYS.read_text())
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, path)
    return path


@pytest.fixture(scope="module")
def archive(weights_file):
    path = weights_file.with_name("by_hand.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(weights_file, "pytorch_model.bin")
    return path


@pytest.fixture
def server(file_server, archive, monkeypatch):
    """The two addresses of MedCLIP's weights on this machine."""
    file_server.files = {
        "/weight.txt": f"{file_server.url}/a.zip\n".encode(),
        "/a.zip": archive.read_bytes(),
    }
    monkeypatch.setattr(medclip_download, "ADDRESS_FILE", f"{file_server.url}/weight.txt")
    monkeypatch.setattr(medclip_download, "CHECKPOINT_URL", f"{file_server.url}/b.zip")
    return file_server


@pytest.mark.usefixtures("server")
def test_downloads_from_the_published_address(archive, tmp_path):
    fetched = fetch_medclip(tmp_path / "new/folder")
    assert fetched == tmp_path / "new/folder" / ARCHIVE
    assert fetched.read_bytes() == archive.read_bytes()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert fetched.with_name(f"{ARCHIVE}.sha256").read_text() == f"{digest}  {ARCHIVE}\n"
    assert {file.name for file in fetched.parent.iterdir()} == {ARCHIVE, f"{ARCHIVE}.sha256"}


@pytest.mark.parametrize("published", [None, b"<html>moved</html>", b"ADDRESS/gone.zip"])
def test_falls_back_to_the_known_address(published, server, archive, tmp_path):
    server.files["/b.zip"] = server.files.pop("/a.zip")
    del server.files["/weight.txt"]
    if published:
        server.files["/weight.txt"] = published.replace(b"ADDRESS", server.url.encode())
    assert fetch_medclip(tmp_path).read_bytes() == archive.read_bytes()


def test_goes_on_where_an_earlier_call_stopped(server, archive, tmp_path):
    (tmp_path / f"{ARCHIVE}.partial").write_bytes(archive.read_bytes()[:1000])
    assert fetch_medclip(tmp_path).read_bytes() == archive.read_bytes()
    assert server.ranges[-1] == "bytes=1000-"


def test_second_call_compares_the_sum_only(server, tmp_path):
    fetch_medclip(tmp_path)
    server.files.clear()
    fetched = fetch_medclip(tmp_path)
    fetched.write_bytes(fetched.read_bytes() + b"more")
    with pytest.raises(InputError, match=r"has changed since .*\.sha256 was written"):
        fetch_medclip(tmp_path)


def test_archive_put_there_by_hand_is_checked_and_remembered(archive, tmp_path):
    place = tmp_path / ARCHIVE
    place.write_bytes(b"<html>")
    with pytest.raises(InputError, match="cannot be read"):
        fetch_medclip(tmp_path)
    place.write_bytes(archive.read_bytes())
    assert fetch_medclip(tmp_path) == place
    assert place.with_name(f"{ARCHIVE}.sha256").is_file()


def test_offline_says_what_failed_and_what_to_do_in_three_lines(tmp_path, monkeypatch):
    for name in ("ADDRESS_FILE", "CHECKPOINT_URL"):
        monkeypatch.setattr(medclip_download, name, "http://127.0.0.1:9/x")
    with pytest.raises(InputError) as error:
        fetch_medclip(tmp_path / "folder")
    failed, address, command = str(error.value).splitlines()
    assert "http://127.0.0.1:9/x: [Errno 111] Connection refused" in failed
    assert "fetch http://127.0.0.1:9/x (about 500 MB) by hand" in address
    assert command == f"and run: m2trans weights medclip --to {tmp_path / 'folder'} --from FILE"


def without_a_key(weights_file, path):
    weights = torch.load(weights_file)
    del weights["logit_scale"]
    torch.save(weights, path)


def damage(content: str, weights_file: Path, path: Path) -> None:
    """Write something that is not MedCLIP's archive."""
    with zipfile.ZipFile(path, "w") as file:
        if content == "no weights":
            file.writestr("readme.txt", "nothing")
        elif content == "a key missing":
            without_a_key(weights_file, path.with_suffix(".bin"))
            file.write(path.with_suffix(".bin"), "pytorch_model.bin")
        else:
            file.write(weights_file, "pytorch_model.bin")
    data = path.read_bytes()
    if content == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif content == "a byte changed":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


DAMAGES = [
    ("truncated", "cannot be read"),
    ("a byte changed", "the archive is damaged"),
    ("no weights", "cannot be read"),
    ("a key missing", "missing: logit_scale"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGES)
def test_wrong_content_is_deleted(content, message, server, weights_file, tmp_path):
    damage(content, weights_file, tmp_path / "wrong.zip")
    server.files["/a.zip"] = (tmp_path / "wrong.zip").read_bytes()
    folder = tmp_path / "folder"
    with pytest.raises(InputError, match=message) as error:
        fetch_medclip(folder)
    assert f"{server.url}/a.zip gives something else, which is deleted" in str(error.value)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("content", "message"), DAMAGES)
def test_wrong_file_by_hand_is_refused_and_kept(content, message, weights_file, tmp_path):
    source = tmp_path / "wrong.zip"
    damage(content, weights_file, source)
    with pytest.raises(InputError, match=message):
        fetch_medclip(tmp_path / "folder", source)
    assert source.is_file()
    assert not (tmp_path / "folder").exists()


def test_only_the_weights_are_taken(weights_file, tmp_path):
    source, folder = tmp_path / "hostile.zip", tmp_path / "folder"
    with zipfile.ZipFile(source, "w") as file:
        file.writestr("../outside.txt", "no")
        file.writestr(str(tmp_path / "absolute.txt"), "no")
        file.write(weights_file, "../../pytorch_model.bin")
    assert len(read_medclip_checkpoint(fetch_medclip(folder, source))) == 434
    assert {path.name for path in tmp_path.rglob("*")} == {
        "hostile.zip",
        "folder",
        ARCHIVE,
        f"{ARCHIVE}.sha256",
    }


def test_a_file_by_hand_replaces_what_is_there(archive, weights_file, tmp_path):
    place = fetch_medclip(tmp_path, weights_file)
    place.write_bytes(b"damaged")
    (tmp_path / f"{ARCHIVE}.partial").write_bytes(b"of a download that was given up")
    assert fetch_medclip(tmp_path, archive).read_bytes() == archive.read_bytes()
    assert fetch_medclip(tmp_path, place).read_bytes() == archive.read_bytes()  # from its own place
    assert fetch_medclip(tmp_path) == place
    assert {path.name for path in tmp_path.iterdir()} == {ARCHIVE, f"{ARCHIVE}.sha256"}


def test_bare_weights_are_packed(weights_file, tmp_path):
    fetched = fetch_medclip(tmp_path, weights_file)
    with zipfile.ZipFile(fetched) as file:
        assert file.namelist() == ["pytorch_model.bin"]
        assert file.read("pytorch_model.bin") == weights_file.read_bytes()


@pytest.mark.usefixtures("server")
def test_full_disk_names_the_folder_and_the_option(archive, tmp_path):
    for suffix in ("partial", "copy"):
        (tmp_path / f"{ARCHIVE}.{suffix}").symlink_to("/dev/full")
    for source in (None, archive):
        with pytest.raises(InputError, match=r"No space left on device; .* --to") as error:
            fetch_medclip(tmp_path, source)
        assert str(tmp_path) in str(error.value)
    assert not (tmp_path / ARCHIVE).exists()
    assert not (tmp_path / f"{ARCHIVE}.copy").is_symlink()


def test_the_known_address_is_the_one_of_the_messages():
    assert medclip_download.CHECKPOINT_URL == CHECKPOINT_URL
