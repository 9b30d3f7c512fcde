"""Training data from a folder of images: HR, LR, LMDB, captions and meta information (Sec. V-A).

`prepare` is the command `m2trans prepare`. Its output folder is described in `datasets/README.md`.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from basicsr_m2trans.apps.preparation.manifest import Manifest, Source, fingerprint
from basicsr_m2trans.apps.preparation.prepare_image import MIN_SIDE, MULTIPLE, Job, make_images
from basicsr_m2trans.apps.preparation.prepare_lmdb import check_lmdb_format, update_lmdbs
from basicsr_m2trans.apps.preparation.prepare_sources import SourceFile, find_sources
from basicsr_m2trans.data.captions import make_caption, read_captions, write_captions
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.locking import locked
from basicsr_m2trans.utils.names import first_few
from basicsr_m2trans.utils.processes import end_with_parent

SCALES = (2, 3, 4)

_SAVE_EVERY = 5.0  # seconds


@dataclass(frozen=True)
class Summary:
    """What `prepare` did.

    Attributes:
        images: number of HR images in the output folder.
        made: how many sources were read in this run.
        removed: how many sources have gone since the last run; their images were deleted.
        skipped: one sentence for each source that gives no image, naming it.
        dicom: number of DICOM files among the sources.
        lmdbs, lmdbs_removed: names of the LMDB folders that were written, and of those that were
            deleted because they had become out of date and were not wanted.
    """

    images: int
    made: int
    removed: int
    skipped: list[str]
    dicom: int
    lmdbs: list[str]
    lmdbs_removed: list[str]


@dataclass(frozen=True)
class Preparation:
    """How `prepare` makes a training data set.

    Attributes:
        scales: which of 2, 3 and 4; those of earlier runs are kept up to date too.
        seed: seed of the captions.
        sub_image: cut each image into overlapping squares of this side in pixels, a multiple of 12;
            a direction in which an image is smaller stays whole.
        step: pixels between the starts of neighbouring sub-images; default half of `sub_image`.
        lmdb: also write LMDB folders: `png`, which stock BasicSR reads as well; `raw`, which
            `PairedImageTextDataset` reads many times faster; None for image files only.
        workers: number of processes; default one for each processor core. More than one needs a
            caller that is guarded by `if __name__ == "__main__":`.
        min_side: leave out smaller images, at least 24 pixels; training needs `gt_size`.
        frame_step: of a DICOM cine loop use every so many frames.
        whole_frames: take DICOM frames whole instead of the region of the scan (see
            `dicom.scan_region`).

    Raises:
        InputError: a value is impossible.
    """

    scales: Sequence[int] = SCALES
    seed: int = 0
    sub_image: int | None = None
    step: int | None = None
    lmdb: str | None = "png"
    workers: int | None = None
    min_side: int = MIN_SIDE
    frame_step: int = 1
    whole_frames: bool = False

    def __post_init__(self) -> None:
        if not self.scales or not set(self.scales) <= set(SCALES):
            choice = ", ".join(map(str, SCALES))
            raise InputError(f"scales: {sorted(set(self.scales))} is not a choice of {choice}")
        if self.sub_image is None:
            if self.step is not None:
                raise InputError("step: has no meaning without sub_image")
        elif self.sub_image < MIN_SIDE or self.sub_image % MULTIPLE:
            raise InputError(
                f"sub_image: {self.sub_image} is not a multiple of {MULTIPLE} of at least "
                f"{MIN_SIDE} pixels"
            )
        elif self.step is not None and not 0 < self.step <= self.sub_image:
            raise InputError(f"step: {self.step} is not between 1 and sub_image ({self.sub_image})")
        if self.min_side < MIN_SIDE:
            raise InputError(
                f"min_side: {self.min_side} is below the smallest possible, {MIN_SIDE}"
            )
        if self.lmdb is not None:
            check_lmdb_format(self.lmdb)
        for name, value in (("frame_step", self.frame_step), ("workers", self.workers)):
            if value is not None and value < 1:
                raise InputError(f"{name}: {value} is not a positive number")


def prepare(hr_folder: str | Path, out: str | Path, settings: Preparation | None = None) -> Summary:
    """Make or complete a training data set; what an earlier run finished is kept.

    HR images are made by `make_images`, LR images by `downsample_bicubic`, captions by
    `make_caption`; captions that were edited in `captions.csv` are kept. Images whose source has
    gone are deleted.

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
    step = settings.step
    if settings.sub_image is not None and step is None:
        step = settings.sub_image // 2
    own: dict[str, Any] = {
        "sub_image": settings.sub_image,
        "step": step,
        "min_side": settings.min_side,
        "frame_step": settings.frame_step,
        "whole_frames": settings.whole_frames,
    }
    parameters = {"hr_folder": str(hr_folder.resolve()), "seed": settings.seed, **own}
    manifest = Manifest(out, parameters, settings.scales)
    job = Job(hr_folder, out, tuple(manifest.scales), **own)

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
    skipped = [
        _reason(job, files[key], record.skipped)
        for key, record in sorted(manifest.sources.items())
        if record.skipped
    ]
    skipped += copies
    if not manifest.images():
        raise InputError(
            f"{hr_folder}: none of its {len(files)} images can be used: {first_few(skipped)}"
        )

    _write_lists(out, manifest, settings.seed)
    written, removed = update_lmdbs(job, manifest, settings.lmdb)
    dicom = sum(file.dicom for file in files.values())
    return Summary(len(manifest.images()), len(todo), len(gone), skipped, dicom, written, removed)


def _reason(job: Job, file: SourceFile, skipped: str) -> str:
    # The record of a DICOM file must not hold its path, but the caller wants to know it.
    return f"{job.hr_folder / file.path}: {skipped}" if file.dicom else skipped


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
    """Make the images of the sources in `todo` and record each source in the manifest."""
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
    meta_info = "".join(
        f"{name}.png ({h},{w},{c})\n" for name, (h, w, c) in images.items()
    ).encode()
    if not meta_info_file.exists() or meta_info_file.read_bytes() != meta_info:
        write_atomic(meta_info_file, meta_info)
