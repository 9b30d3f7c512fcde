"""Training data from a folder of images: HR, LR, LMDB, captions and meta information (Sec. V-A).

`prepare` is the command `m2trans prepare`. Its output folder is described in `datasets/README.md`.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from basicsr_m2trans.apps.preparation.manifest import Manifest, Source, fingerprint
from basicsr_m2trans.apps.preparation.prepare_image import Job, Preparation, make_images
from basicsr_m2trans.apps.preparation.prepare_lmdb import update_lmdbs
from basicsr_m2trans.apps.preparation.prepare_sources import SourceFile, find_sources
from basicsr_m2trans.data.captions import make_caption, read_captions, write_captions
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.locking import locked
from basicsr_m2trans.utils.names import first_few
from basicsr_m2trans.utils.processes import end_with_parent

_SAVE_EVERY = 5.0  # seconds


@dataclass(frozen=True)
class Summary:
    """What `prepare` did."""

    images: int  # HR images in the output folder
    made: int  # sources read in this run
    removed: int  # sources that have gone since the last run; their images were deleted
    skipped: list[str]  # a sentence for each source that gives no image, naming it
    dicom: int  # DICOM files among the sources
    lmdbs: list[str]  # folders that were written
    lmdbs_removed: list[str]  # folders that were deleted, out of date and not wanted


def prepare(hr_folder: str | Path, out: str | Path, settings: Preparation | None = None) -> Summary:
    """Make or complete a training data set; what an earlier run finished is kept.

    Images are made by `make_images`, captions by `make_caption`; captions that were edited in
    `captions.csv` are kept. Images whose source has gone are deleted.

    Args:
        hr_folder: folder of images and ultrasound DICOM files, sub-folders included. Names of
            sub-folders and files become the image names; DICOM files are named after their content
            instead (see `dicom.anonymous_name`).
        out: output folder: a new or empty one, or that of an earlier run with the same settings.
        settings: what to make; default `Preparation()`.

    Raises:
        InputError: a folder is missing, empty or inside the other; a setting differs from that of
            the earlier run; two sources have the same name; or no source at all can be used.
    """
    hr_folder, out, settings = Path(hr_folder), Path(out), settings or Preparation()
    source, target = hr_folder.resolve(), out.resolve()
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise InputError(
            f"{out}: the output folder and the HR folder {hr_folder} may not contain each other"
        )
    files, copies = find_sources(hr_folder)
    with _alone_in(out):
        return _prepare(hr_folder, out, settings, files, copies)


def _prepare(
    hr_folder: Path,
    out: Path,
    settings: Preparation,
    files: dict[str, SourceFile],
    copies: list[str],
) -> Summary:
    parameters = {
        "hr_folder": str(hr_folder.resolve()),
        "seed": settings.seed,
        "sub_image": settings.sub_image,
        "step": settings.stride,
        "min_side": settings.min_side,
        "frame_step": settings.frame_step,
        "whole_frames": settings.whole_frames,
    }
    manifest = Manifest(out, parameters, settings.scales)
    job = Job(hr_folder, out, manifest.scales, settings)

    gone = [key for key in manifest.sources if key not in files]
    for key in gone:
        _delete(job, manifest.sources.pop(key).images)
    todo = {
        key: file
        for key, file in files.items()
        if not _is_current(job, file, manifest.sources.get(key))
    }
    if todo or gone:
        _make(job, todo, manifest, settings.workers or os.cpu_count() or 1)
    skipped = []
    for key, record in sorted(manifest.sources.items()):
        if record.skipped:
            # The record of a DICOM file must not hold its path, but the caller wants to know it.
            path = f"{hr_folder / files[key].path}: " if files[key].dicom else ""
            skipped.append(path + record.skipped)
    skipped += copies
    if not manifest.images():
        raise InputError(
            f"{hr_folder}: none of its {len(files)} images can be used: {first_few(skipped)}"
        )

    _write_lists(out, manifest, settings.seed)
    written, removed = update_lmdbs(job, manifest, settings.lmdb)
    dicom = sum(file.dicom for file in files.values())
    return Summary(len(manifest.images()), len(todo), len(gone), skipped, dicom, written, removed)


def _alone_in(out: Path) -> AbstractContextManager[int]:
    """Hold the output folder, whose temporary files another run would take for its own."""
    out.mkdir(parents=True, exist_ok=True)
    refusal = "another run is writing here; wait for its end or choose another folder"
    return locked(out, f"{out}: {refusal}", patience=0)


def _is_current(job: Job, file: SourceFile, record: Source | None) -> bool:
    if record is None or (record.size, record.mtime_ns) != fingerprint(job.hr_folder / file.path):
        return False
    if file.dicom and record.skipped:
        # pydicom or a decoder may have been installed since.
        return False
    return all(made.is_file() for name in record.images for made in job.files(name))


def _delete(job: Job, names: Iterable[str]) -> None:
    for name in names:
        for file in job.files(name):
            file.unlink(missing_ok=True)


def _make(job: Job, todo: dict[str, SourceFile], manifest: Manifest, workers: int) -> None:
    for file in job.files("any"):
        file.parent.mkdir(parents=True, exist_ok=True)
    saved = time.monotonic()
    try:
        for key, source in tqdm(
            _records(job, todo, workers), "images", len(todo), unit="file", disable=not todo
        ):
            before = manifest.sources.get(key, source)
            _delete(job, before.images.keys() - source.images.keys())
            manifest.sources[key] = source
            if time.monotonic() > saved + _SAVE_EVERY:
                manifest.save()
                saved = time.monotonic()
    finally:
        manifest.save()


def _records(job: Job, todo: dict[str, SourceFile], workers: int) -> Iterator[tuple[str, Source]]:
    workers = min(workers, len(todo))
    if workers <= 1:
        for key, file in todo.items():
            yield key, make_images(job, file.path, file.name)
        return
    # Not 'fork': it copies the locks of PyTorch's and OpenCV's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        futures = {
            pool.submit(make_images, job, file.path, file.name): key for key, file in todo.items()
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C reaches all processes; the main process alone decides what becomes of the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A pool's processes outlive a main process that is killed, and would write into the next run's
    # files.
    end_with_parent()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _write_lists(out: Path, manifest: Manifest, seed: int) -> None:
    images = manifest.images()
    captions_file, meta_info_file = out / "captions.csv", out / "meta_info.txt"
    before = read_captions(captions_file) if captions_file.exists() else {}
    # Captions of images that have gone stay: users may have written them, images may come back.
    captions = before | {name: make_caption(name, seed) for name in images if name not in before}
    if captions != before:
        write_captions(captions_file, captions)
    lines = [f"{name}.png ({h},{w},{c})\n" for name, (h, w, c) in images.items()]
    meta_info = "".join(lines).encode()
    if not meta_info_file.exists() or meta_info_file.read_bytes() != meta_info:
        write_atomic(meta_info_file, meta_info)
