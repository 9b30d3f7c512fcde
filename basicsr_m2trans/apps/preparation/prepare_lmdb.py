"""The LMDB folders of `m2trans prepare` and `m2trans lmdb`: names, formats and contents."""

import shutil
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from basicsr_m2trans.apps.preparation.manifest import Manifest
from basicsr_m2trans.apps.preparation.prepare_image import Job
from basicsr_m2trans.data.images import read_image
from basicsr_m2trans.data.lmdb_store import FORMATS, write_lmdb


def lmdb_name(scale: int, lmdb: str, hr_scale: int | None = None) -> str:
    """Name of the LMDB folder of one scale (1 is HR) in one of `lmdb_store.FORMATS`.

    HR images that were cropped to fit the LR images of one scale only are told apart by `hr_scale`.

    Folders of raw pixels do not end in `.lmdb`: stock BasicSR, which would take their values for
    PNG files, then refuses them by name before it reads any.
    """
    images = f"LR_bicubic_X{scale}" if scale > 1 else f"HR_X{hr_scale}" if hr_scale else "HR"
    return f"{images}.lmdb" if lmdb == "png" else f"{images}.raw_lmdb"


def update_lmdbs(job: Job, manifest: Manifest, wanted: str | None) -> tuple[list[str], list[str]]:
    """Write the wanted LMDB folders that are out of date, and delete the others that are.

    `wanted` is one of `lmdb_store.FORMATS`, or None for no LMDB at all. The manifest is saved after
    each folder.

    Returns:
        Names of the folders written, and of those deleted.
    """
    digest, written, removed = manifest.digest(), [], []
    for lmdb in FORMATS:
        for scale in (1, *job.scales):
            folder = job.out / lmdb_name(scale, lmdb)
            if manifest.lmdbs.get(folder.name) == digest and folder.is_dir():
                continue
            if lmdb == wanted:
                entries = _entries(job, manifest, scale, lmdb)
                write_lmdb(folder, tqdm(entries, folder.name, len(manifest.images()), unit="image"))
                manifest.lmdbs[folder.name] = digest
                manifest.save()
                written.append(folder.name)
            elif folder.is_dir():
                shutil.rmtree(folder)
                removed.append(folder.name)
    return written, removed


def _entries(
    job: Job, manifest: Manifest, scale: int, lmdb: str
) -> Iterator[tuple[str, bytes | np.ndarray, tuple[int, int, int]]]:
    for name, (h, w, c) in manifest.images().items():
        file = job.hr_file(name) if scale == 1 else job.lr_file(name, scale)
        value = file.read_bytes() if lmdb == "png" else read_image(file)
        yield name, value, (h // scale, w // scale, c)
