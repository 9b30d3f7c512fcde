"""Upscaling many files: while one is computed, the next is read and the one before is written."""

import contextlib
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from basicsr_m2trans.apps.files.dicom_identity import Deidentifier
from basicsr_m2trans.apps.files.dicom_output import DicomFile
from basicsr_m2trans.apps.files.image_files import ImageContent, ImageFile, write_image
from basicsr_m2trans.apps.files.jobs import Job
from basicsr_m2trans.apps.files.media import Frame, MediaFile, Report
from basicsr_m2trans.apps.files.pipeline import pipeline
from basicsr_m2trans.apps.files.video import VIDEO_EXTENSIONS, GifFile, VideoFile
from basicsr_m2trans.data.images import is_image_file
from basicsr_m2trans.inference.upscaler import Upscaler
from basicsr_m2trans.utils.atomic import replacing
from basicsr_m2trans.utils.errors import InputError

# Frames that a GPU computes at once by default.
GPU_BATCH = 8


@dataclass(frozen=True)
class Result:
    """What became of one file."""

    source: str
    target: str
    status: str  # 'done', 'skipped' because the target exists, or 'failed'
    message: str = ""  # why it was skipped or has failed, or what the user should know
    size: tuple[int, int] | None = None  # (width, height) in pixels of a file that is done
    upscaled_size: tuple[int, int] | None = None
    frames: int = 0
    seconds: float = 0.0  # from the beginning of reading to the end of writing, waiting included


def run_jobs(
    upscaler: Upscaler,
    jobs: Iterable[Job],
    *,
    force: bool = False,
    compare: bool = False,
    deidentifier: Deidentifier | None = None,
    batch: int | None = None,
    report: Callable[[Job], Report] = lambda _: lambda *_: None,
) -> Generator[Result, None, None]:
    """Upscale files; one that fails does not stop the others.

    At most twice `batch` frames wait to be computed, and as many to be written. Python's warnings
    are ignored meanwhile; what the user should know is in the results.

    Args:
        jobs: as `plan_jobs` returns them; iterated by another thread.
        force: replace results that exist.
        compare: save a picture of bicubic interpolation and network side by side beside each
            result, of the first frame.
        deidentifier: if given, only what describes the pixels is kept of DICOM files.
        batch: most frames of one size, of one or several files, that the network gets at once; by
            default 1 on the CPU, which gains nothing by more, and 8 on a GPU.
        report: makes for each file the function that is called after each of its frames is
            computed.

    Yields:
        What became of each file, in the order of `jobs`; after Ctrl-C, first what was finished.
    """
    batch = batch or (1 if upscaler.device.type == "cpu" else GPU_BATCH)
    run = _Run(upscaler, force, compare, deidentifier, batch, report)
    note = upscaler.note
    with warnings.catch_warnings():
        # Those of decoders quote fields of DICOM files. Their threads cannot ignore them safely:
        # `catch_warnings` in two threads at a time lets some through and restores the filters in
        # the wrong order.
        warnings.simplefilter("ignore")
        try:
            yield from pipeline(run.read(jobs), run.compute, run.write, limit=2 * batch)
        finally:
            upscaler.note = note


class _Task:
    """One file on its way through the three stages; any of them may find that it fails."""

    def __init__(self, job: Job, report: Report) -> None:
        self.job, self.report = job, report
        self.start = time.perf_counter()
        self.file: MediaFile | None = None
        self.skipped = ""
        self.error: Exception | None = None
        self.sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
        self.comparison: np.ndarray | None = None
        self.frames = 0
        self.notes: list[str] = []

    def fail(self, error: Exception) -> None:
        """The first error is reported; the others follow from it."""
        self.error = self.error or error

    def result(self) -> Result:
        names = str(self.job.source), str(self.job.target)
        if self.skipped:
            return Result(*names, "skipped", self.skipped)
        if self.error is not None:  # whatever a decoder or PyTorch raises concerns this file alone
            text = str(self.error)
            if not isinstance(self.error, (InputError, OSError)):
                text = f"{type(self.error).__name__}: {' '.join(text.split())}"
            elif names[0] in text:
                return Result(*names, "failed", text)
            return Result(*names, "failed", f"{names[0]}: {text}")
        assert self.file is not None  # a file that was not opened is skipped or has failed
        assert self.sizes is not None  # every file has a frame
        notes = (*self.file.notes, *self.notes)
        message = f"{names[0]}: {'; '.join(notes)}" if notes else ""
        seconds = time.perf_counter() - self.start
        return Result(*names, "done", message, *self.sizes, self.frames, seconds)


# A frame of a file on its way; None marks the file's end.
_Item = tuple[_Task, Frame | None]


@dataclass(frozen=True)
class _Run:
    """The stages of `run_jobs`, which has the same arguments."""

    upscaler: Upscaler
    force: bool
    compare: bool
    deidentifier: Deidentifier | None
    batch: int
    report: Callable[[Job], Report]

    def read(self, jobs: Iterable[Job]) -> Iterator[_Item]:
        """Frames of all files, each file's followed by its end."""
        for job in jobs:
            task = _Task(job, self.report(job))
            targets = (job.target, job.comparison) if self.compare else (job.target,)
            existing = [path for path in targets if path.exists()]
            if existing and not self.force:
                task.skipped = f"{existing[0]} exists; --force replaces it"
            else:
                try:
                    task.file = self._open(job)
                    for frame in task.file.read():
                        yield task, frame
                        if task.error:  # of another stage
                            break
                except Exception as error:
                    task.fail(error)
            yield task, None

    def _open(self, job: Job) -> MediaFile:
        paths = job.source, job.target
        suffix = job.source.suffix.lower()
        if is_image_file(job.source):
            return ImageFile(*paths)
        if suffix in VIDEO_EXTENSIONS:
            return GifFile(*paths) if suffix == ".gif" else VideoFile(*paths)
        return DicomFile(*paths, self.upscaler.scale, self.upscaler.name, self.deidentifier)

    def compute(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """Upscale frames of one size together."""
        for group in _groups(items, self.batch):
            group = [(task, frame) for task, frame in group if frame is None or not task.error]
            frames = [(task, frame) for task, frame in group if frame is not None]
            upscaled = iter(self._upscale(frames))
            for task, frame in group:
                if frame is None:
                    yield task, None
                elif (after := next(upscaled)) is not None:
                    yield task, self._finished(task, frame, after)

    def _upscale(self, frames: list[tuple[_Task, Frame]]) -> list[np.ndarray | None]:
        """The frames' results or None; frames that fail together are tried one by one."""
        if not frames:
            return []

        def note(text: str) -> None:
            for task in dict.fromkeys(task for task, _ in frames):
                task.notes.append(text)

        self.upscaler.note = note
        try:
            return list(self.upscaler.upscale_many([frame.pixels for _, frame in frames]))
        except Exception as error:
            if len(frames) == 1:
                frames[0][0].fail(error)
                return [None]
        return [result for frame in frames for result in self._upscale([frame])]

    def _finished(self, task: _Task, frame: Frame, after: np.ndarray) -> Frame:
        if task.frames == 0:
            task.sizes = frame.pixels.shape[1::-1], after.shape[1::-1]
            if self.compare:
                try:
                    before = self.upscaler.bicubic(frame.pixels)
                    task.comparison = np.concatenate([before, after], axis=1)
                except Exception as error:
                    task.fail(error)
        task.frames += 1
        assert task.file is not None  # the frame was read from it
        task.report(task.frames, task.file.total)
        return Frame(after, frame.context)

    def write(self, items: Iterator[_Item]) -> Iterator[Result]:
        for task, first in items:
            frames = _until_the_end(task, first, items)
            if task.file is not None:
                try:
                    task.file.write(frames)
                    if task.comparison is not None:
                        with replacing(task.job.comparison) as partial:
                            write_image(ImageContent(task.comparison, None), partial, ".png")
                except Exception as error:
                    task.fail(error)
            # What is on its way of a file that has failed; after its end nothing reads it any more.
            with contextlib.suppress(Exception):
                deque(frames, maxlen=0)
            if task.file is not None:
                task.file.close()
            yield task.result()


def _groups(items: Iterator[_Item], size: int) -> Iterator[list[_Item]]:
    """Up to `size` frames of one shape and type, and ends of files; an end alone does not wait."""
    group: list[_Item] = []
    count, kind = 0, None
    for task, frame in items:
        if frame is not None:
            previous, kind = kind, (frame.pixels.shape, frame.pixels.dtype)
            if count and kind != previous:
                yield group
                group, count = [], 0
            count += 1
        group.append((task, frame))
        if count in (0, size):
            yield group
            group, count = [], 0
    if group:
        yield group


def _until_the_end(task: _Task, frame: Frame | None, items: Iterator[_Item]) -> Iterator[Frame]:
    """`frame` and the others of one file; the error of an earlier stage is raised after them."""
    while frame is not None:
        yield frame
        _, frame = next(items)
    if task.error:
        raise task.error
