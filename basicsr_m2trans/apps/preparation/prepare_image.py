"""The HR and LR images of one source file of a training set (Sec. V-A)."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from basicsr_m2trans.apps.preparation.degradation import downsample_bicubic
from basicsr_m2trans.apps.preparation.manifest import Source, fingerprint
from basicsr_m2trans.data.dicom import (
    frame_count,
    is_dicom_file,
    read_frames,
    read_header,
    scan_region,
)
from basicsr_m2trans.data.images import encode_png, read_image
from basicsr_m2trans.data.lmdb_store import check_lmdb_format
from basicsr_m2trans.data.pairs import size_text
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError

SCALES = (2, 3, 4)
MULTIPLE = 12  # the smallest number that the scales divide
MIN_SIDE = 24  # pixels


@dataclass(frozen=True)
class Preparation:
    """How `prepare` makes a training data set.

    Attributes:
        scales: which of 2, 3 and 4; those of earlier runs are kept up to date too.
        seed: seed of the captions.
        sub_image: cut each image into overlapping squares of this side in pixels, a multiple of 12;
            a direction in which an image is smaller stays whole.
        step: pixels between the starts of neighbouring sub-images; default half of `sub_image`.
        lmdb: also write LMDB folders, in one of `lmdb_store.FORMATS`; None for image files only.
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

    @property
    def stride(self) -> int | None:
        """`step` with its default in place; None for whole images."""
        return self.step or (self.sub_image and self.sub_image // 2)


@dataclass(frozen=True)
class Job:
    """What is made of every source; sent to the worker processes.

    Attributes:
        hr_folder, out: folder of the sources, output folder.
        scales: scales of the LR images, those of earlier runs included.
        settings: how images are made.
    """

    hr_folder: Path
    out: Path
    scales: Sequence[int]
    settings: Preparation

    def hr_file(self, name: str) -> Path:
        """Where HR image `name` lies."""
        return self.out / "HR" / f"{name}.png"

    def lr_file(self, name: str, scale: int) -> Path:
        """Where the LR image of HR image `name` lies."""
        return self.out / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png"

    def files(self, name: str) -> list[Path]:
        """The HR image `name` and its LR images."""
        return [self.hr_file(name), *(self.lr_file(name, scale) for scale in self.scales)]


def make_images(job: Job, path: str, name: str) -> Source:
    """Write the HR and LR images of one source file.

    Images are converted to 8 bits, stored with one channel if their channels are equal, and cropped
    right and bottom to multiples of 12 before sub-images are cut.

    Args:
        job: what to make.
        path: the file, relative to the HR folder.
        name: its image name; frames of a cine loop are called `<name>_f0001` and so on, by their
            number in the loop, and sub-images `<name>_s001` and so on, row by row.

    Returns:
        The source's record, with the reason if it cannot be used. For a DICOM file the reason does
        not hold its path.
    """
    file = job.hr_folder / path
    record = Source(*fingerprint(file))
    source = name if is_dicom_file(file) else str(file)
    try:
        for frame, image in _frames(job, file, source):
            image = _cropped(_one_channel_if_grey(_to_8_bits(image)), job.settings.min_side, source)
            for part, hr in _sub_images(image, job.settings):
                image_name = name + frame + part
                write_atomic(job.hr_file(image_name), encode_png(hr))
                for scale in job.scales:
                    lr = encode_png(downsample_bicubic(hr, scale))
                    write_atomic(job.lr_file(image_name, scale), lr)
                record.images[image_name] = hr.shape
    except InputError as error:
        for made in (made for image_name in record.images for made in job.files(image_name)):
            made.unlink()
        record.images, record.skipped = {}, str(error)
    return record


def _frames(job: Job, file: Path, source: str) -> Iterator[tuple[str, np.ndarray]]:
    if not is_dicom_file(file):
        yield "", read_image(file)
        return
    header = read_header(file, source)
    window = None if job.settings.whole_frames else scan_region(header, source)
    for number, image in read_frames(file, header, source, job.settings.frame_step):
        yield (
            f"_f{number:04d}" if frame_count(header) > 1 else "",
            image if window is None else image[window],
        )


def _cropped(image: np.ndarray, min_side: int, source: str) -> np.ndarray:
    h, w = (length // MULTIPLE * MULTIPLE for length in image.shape[:2])
    if min(h, w) < min_side:
        raise InputError(
            f"{source}: too small: {size_text((h, w))} after cropping to multiples of {MULTIPLE}, "
            f"and {size_text((min_side, min_side))} is needed"
        )
    return image[:h, :w]


def _to_8_bits(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else np.rint(image / 257).astype(np.uint8)


def _one_channel_if_grey(image: np.ndarray) -> np.ndarray:
    first = image[..., :1]
    return first if (image == first).all() else image


def _sub_images(image: np.ndarray, settings: Preparation) -> Iterator[tuple[str, np.ndarray]]:
    side, step = settings.sub_image, settings.stride
    if side is None or step is None:
        yield "", image
        return
    corners = itertools.product(*(_starts(length, side, step) for length in image.shape[:2]))
    for number, (top, left) in enumerate(corners, start=1):
        yield f"_s{number:03d}", image[top : top + side, left : left + side]


def _starts(length: int, size: int, step: int) -> list[int]:
    """Where sub-images start along one direction; the last one ends at the border."""
    last = max(length - size, 0)
    return [*range(0, last, step), last]
