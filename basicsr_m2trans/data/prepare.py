"""Training data from a folder of images: HR, LR, LMDB, captions and meta information (Sec. V-A).

`prepare` is the command `m2trans prepare`. Its output folder is described in `datasets/README.md`.
"""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from basicsr_m2trans.atomic import write_atomic
from basicsr_m2trans.data.captions import make_caption, read_captions, write_captions
from basicsr_m2trans.data.images import list_images
from basicsr_m2trans.data.manifest import Manifest, Source, fingerprint
from basicsr_m2trans.data.names import first_few, safe_name
from basicsr_m2trans.data.prepare_image import MIN_SIDE, MULTIPLE, Job, make_images
from basicsr_m2trans.data.prepare_lmdb import check_lmdb_format, update_lmdbs
from basicsr_m2trans.errors import InputError

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
        lmdbs, lmdbs_removed: names of the LMDB folders that were written, and of those that were deleted because
            they had become out of date and were not wanted.
    """

    images: int
    made: int
    removed: int
    skipped: list[str]
    lmdbs: list[str]
    lmdbs_removed: list[str]


def prepare(
    hr_folder: str | Path,
    out: str | Path,
    scales: Sequence[int] = SCALES,
    seed: int = 0,
    sub_image: int | None = None,
    step: int | None = None,
    lmdb: str | None = "png",
    workers: int | None = None,
    min_side: int = MIN_SIDE,
) -> Summary:
    """Make or complete a training data set; what an earlier run finished is kept.

    HR images are made by `make_images`, LR images by `downsample_bicubic`, captions by `make_caption`; captions that
    were edited in `captions.csv` are kept. Images whose source has gone are deleted.

    Args:
        hr_folder: folder of images, sub-folders included; their names become part of the image names.
        out: output folder: a new or empty one, or that of an earlier run with the same parameters.
        scales: which of 2, 3 and 4; those of earlier runs are kept up to date too.
        seed: seed of the captions.
        sub_image: cut each image into overlapping squares of this side in pixels, a multiple of 12; a direction in
            which an image is smaller stays whole.
        step: distance in pixels between the starts of neighbouring sub-images; default half of `sub_image`.
        lmdb: also write LMDB folders: `png`, which stock BasicSR reads as well; `raw`, which `PairedImageTextDataset`
            reads many times faster; None for image files only.
        workers: number of processes; default one for each processor core. More than one needs a caller that is
            guarded by `if __name__ == "__main__":`.
        min_side: leave out images of fewer pixels in height or width, at least 24; training needs `gt_size`.

    Raises:
        InputError: a folder is missing, empty or inside the other; a parameter is impossible or differs from that of
            the earlier run; two sources have the same name; or no source at all can be used.
    """
    hr_folder, out = Path(hr_folder), Path(out)
    scales = tuple(sorted(set(scales)))
    if sub_image is not None and step is None:
        step = sub_image // 2
    _check_arguments(hr_folder, out, scales, sub_image, step, lmdb, workers, min_side)
    names = _names(hr_folder)
    parameters = {
        "hr_folder": str(hr_folder.resolve()),
        "seed": seed,
        "sub_image": sub_image,
        "step": step,
        "min_side": min_side,
    }
    with _alone_in(out):
        return _prepare(hr_folder, out, names, parameters, scales, lmdb, workers or os.cpu_count() or 1)


def _prepare(
    hr_folder: Path,
    out: Path,
    names: dict[str, str],
    parameters: dict,
    scales: Sequence[int],
    lmdb: str | None,
    workers: int,
) -> Summary:
    manifest = Manifest(out, parameters, scales)
    job = Job(
        hr_folder, out, tuple(manifest.scales), parameters["sub_image"], parameters["step"], parameters["min_side"]
    )

    gone = [path for path in manifest.sources if path not in names]
    for path in gone:
        _delete(job, manifest.sources.pop(path).images)
    todo = {path: name for path, name in names.items() if not _is_current(job, path, manifest.sources.get(path))}
    if todo or gone:
        _make(job, todo, manifest, workers)
    skipped = [source.skipped for _, source in sorted(manifest.sources.items()) if source.skipped]
    if not manifest.images():
        raise InputError(f"{hr_folder}: none of its {len(skipped)} images can be used: {first_few(skipped)}")

    _write_lists(out, manifest, parameters["seed"])
    written, removed = update_lmdbs(job, manifest, lmdb)
    return Summary(len(manifest.images()), len(todo), len(gone), skipped, written, removed)


@contextlib.contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Hold a lock on the output folder, whose temporary files another run would take for its own."""
    out.mkdir(parents=True, exist_ok=True)
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"{out}: another run is writing here; wait for its end or choose another folder") from error
    else:
        yield
    finally:
        os.close(folder)


def _check_arguments(
    hr_folder: Path,
    out: Path,
    scales: tuple[int, ...],
    sub_image: int | None,
    step: int | None,
    lmdb: str | None,
    workers: int | None,
    min_side: int,
) -> None:
    if not scales or not set(scales) <= set(SCALES):
        raise InputError(f"scales: {list(scales)} is not a choice of {', '.join(map(str, SCALES))}")
    if sub_image is None and step is not None:
        raise InputError("step: has no meaning without sub_image")
    if sub_image is not None and (sub_image < MIN_SIDE or sub_image % MULTIPLE):
        raise InputError(f"sub_image: {sub_image} is not a multiple of {MULTIPLE} of at least {MIN_SIDE} pixels")
    if step is not None and not 0 < step <= sub_image:
        raise InputError(f"step: {step} is not between 1 and sub_image ({sub_image})")
    if min_side < MIN_SIDE:
        raise InputError(f"min_side: {min_side} is below the smallest possible, {MIN_SIDE}")
    if lmdb is not None:
        check_lmdb_format(lmdb)
    if workers is not None and workers < 1:
        raise InputError(f"workers: {workers} is not a positive number")
    source, target = hr_folder.resolve(), out.resolve()
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise InputError(f"{out}: the output folder and the HR folder {hr_folder} may not contain each other")


def _names(hr_folder: Path) -> dict[str, str]:
    """Image name of each source, by its path relative to the HR folder."""
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    for file in list_images(hr_folder, recursive=True):
        relative = file.relative_to(hr_folder)
        path, name = relative.as_posix(), safe_name("_".join(relative.with_suffix("").parts))
        if name in owners:
            raise InputError(f"{hr_folder}: {owners[name]} and {path} would both be called {name}; rename one of them")
        owners[name] = path
        names[path] = name
    return names


def _is_current(job: Job, path: str, source: Source | None) -> bool:
    if source is None or (source.size, source.mtime_ns) != fingerprint(job.hr_folder / path):
        return False
    return all(file.is_file() for name in source.images for file in job.files(name))


def _delete(job: Job, names: Iterable[str]) -> None:
    for name in names:
        for file in job.files(name):
            file.unlink(missing_ok=True)


def _make(job: Job, todo: dict[str, str], manifest: Manifest, workers: int) -> None:
    """Make the images of the sources in `todo` and record each source in the manifest."""
    for file in job.files("any"):
        file.parent.mkdir(parents=True, exist_ok=True)
    saved = time.monotonic()
    try:
        for path, source in tqdm(_records(job, todo, workers), "images", len(todo), unit="image", disable=not todo):
            before = manifest.sources.get(path, source)
            _delete(job, before.images.keys() - source.images.keys())
            manifest.sources[path] = source
            if time.monotonic() > saved + _SAVE_EVERY:
                manifest.save()
                saved = time.monotonic()
    finally:
        manifest.save()


def _records(job: Job, todo: dict[str, str], workers: int) -> Iterator[tuple[str, Source]]:
    workers = min(workers, len(todo))
    if workers <= 1:
        for path, name in todo.items():
            yield path, make_images(job, path, name)
        return
    # Not 'fork': it copies the locks of PyTorch's and OpenCV's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        futures = {pool.submit(make_images, job, path, name): path for path, name in todo.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C reaches all processes; the main process alone decides what becomes of the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    # A pool's processes outlive a main process that is killed, and would write into the next run's files.
    multiprocessing.parent_process().join()
    os._exit(1)


def _write_lists(out: Path, manifest: Manifest, seed: int) -> None:
    images = manifest.images()
    captions_file, meta_info_file = out / "captions.csv", out / "meta_info.txt"
    before = read_captions(captions_file) if captions_file.exists() else {}
    # Captions of images that have gone stay: a user may have written them, and the image may come back.
    captions = before | {name: make_caption(name, seed) for name in images if name not in before}
    if captions != before:
        write_captions(captions_file, captions)
    meta_info = "".join(f"{name}.png ({h},{w},{c})\n" for name, (h, w, c) in images.items()).encode()
    if not meta_info_file.exists() or meta_info_file.read_bytes() != meta_info:
        write_atomic(meta_info_file, meta_info)
