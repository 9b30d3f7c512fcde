"""MedCLIP's published weights on the user's disk: fetched, checked and remembered."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import torch

from basicsr_m2trans.encoders.medclip import (
    CHECKPOINT_URL,
    WEIGHTS_NAME,
    MedCLIPModel,
    packed_weights,
    read_medclip_checkpoint,
)
from basicsr_m2trans.utils.atomic import partial_path, write_atomic
from basicsr_m2trans.utils.download import CHUNK, DownloadError, download
from basicsr_m2trans.utils.errors import InputError

# The text file from which MedCLIP's own code takes the address of the weights.
ADDRESS_FILE = "https://github.com/RyanWangZf/MedCLIP/raw/main/medclip/medclip_vit_weight.txt"
ARCHIVE = "medclip-vit-pretrained.zip"


def fetch_medclip(folder: Path, source: Path | None = None) -> Path:
    """Make `folder` hold MedCLIP's archive, with all weights of the right names and shapes.

    Its SHA-256 is written beside it, as `sha256sum` does; where archive and sum exist and no
    `source` is given, they are only compared.

    Args:
        folder: made where it does not exist.
        source: the archive, or the `pytorch_model.bin` inside it, fetched by hand, which takes the
            place of an archive that is there; without it, download.

    Returns:
        Path of the archive.

    Raises:
        InputError: the weights cannot be had, or are not MedCLIP's; only a broken download is left
            in the folder, for the next call to go on with.
    """
    archive = folder / ARCHIVE
    if source is None and archive.is_file():
        _check_again(archive)
        return archive
    if source is not None:
        check_medclip(source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        arrived = _download(archive) if source is None else _copy(source, archive)
        os.replace(arrived, archive)
        partial_path(archive).unlink(missing_ok=True)
        _remember(archive)
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror or error}; correct that or choose another folder with "
            "--to, and repeat"
        ) from error
    return archive


def check_medclip(path: Path) -> None:
    """Compare names and shapes of all weights in the archive or the file in it with the model's.

    Raises:
        InputError: the file is missing, damaged or holds other weights.
    """
    with torch.device("meta"):  # shapes alone
        model = MedCLIPModel()
    model.fitting_weights(read_medclip_checkpoint(path), source=str(path))


def checksum_file(archive: Path) -> Path:
    """Where the SHA-256 of an archive is kept."""
    return archive.with_name(f"{archive.name}.sha256")


def _download(archive: Path) -> Path:
    """Fetch the archive beside its place from the first address that gives one, and check it."""
    partial = partial_path(archive)
    by_hand = (
        f"Repeat the command to go on where it stopped, or fetch {CHECKPOINT_URL} (about 500 MB) "
        f"by hand\nand run: m2trans weights medclip --to {archive.parent} --from FILE"
    )
    failures = []
    for address in dict.fromkeys((_published_address(), CHECKPOINT_URL)):
        try:
            download(address, partial)
            break
        except DownloadError as error:
            failures.append(str(error))
    else:
        raise InputError(
            f"MedCLIP's weights cannot be downloaded ({'; '.join(failures)}).\n{by_hand}"
        )
    try:
        check_medclip(partial)
    except InputError as error:
        partial.unlink()
        raise InputError(
            f"{address} gives something else, which is deleted: {error}\n{by_hand}"
        ) from error
    return partial


def _published_address() -> str:
    """The address in MedCLIP's repository, or the one known here where that cannot be had."""
    import requests

    try:
        response = requests.get(ADDRESS_FILE, timeout=20)
        response.raise_for_status()
    except requests.RequestException:
        return CHECKPOINT_URL
    address = response.text.strip()
    return address if address.startswith(("https://", "http://")) else CHECKPOINT_URL


def _copy(source: Path, archive: Path) -> Path:
    """Bring a file fetched by hand beside its place, packed if it is not."""
    copy = archive.with_name(f"{archive.name}.copy")
    try:
        if packed_weights(source):
            shutil.copyfile(source, copy)
        else:
            with zipfile.ZipFile(copy, "w") as file:
                file.write(source, WEIGHTS_NAME)
    except OSError:
        copy.unlink(missing_ok=True)
        raise
    return copy


def _remember(archive: Path) -> None:
    """Write the archive's SHA-256 beside it."""
    write_atomic(checksum_file(archive), f"{_sha256(archive)}  {archive.name}\n".encode())


def _check_again(archive: Path) -> None:
    """Compare an archive with its SHA-256, or with MedCLIP's names and shapes if it has none."""
    checksum = checksum_file(archive)
    if not checksum.is_file():
        check_medclip(archive)
        _remember(archive)
    elif checksum.read_text().split()[:1] != [_sha256(archive)]:
        raise InputError(
            f"{archive} has changed since {checksum.name} was written: delete both and repeat the "
            f"command, or only {checksum.name} if you changed the archive yourself"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
