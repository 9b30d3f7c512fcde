"""The HR and LR images of one source file of a training set (Sec. V-A)."""

from collections.abc import Iterator
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
from basicsr_m2trans.data.pairs import size_text
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError

MULTIPLE = 12  # the smallest number that the scales 2, 3 and 4 divide
MIN_SIDE = 24  # pixels


@dataclass(frozen=True)
class Job:
    """What is made of every source; sent to the worker processes.

    Attributes:
        hr_folder, out: folder of the sources, output folder.
        scales: scales of the LR images.
        sub_image, step: side of the sub-images and distance between their starts in pixels; None
            for whole images.
        min_side: smaller sources are left out, in pixels after cropping.
        frame_step: of a DICOM cine loop every so many frames are used.
        whole_frames: take DICOM frames whole instead of the region of the scan.
    """

    hr_folder: Path
    out: Path
    scales: tuple[int, ...]
    sub_image: int | None
    step: int | None
    min_side: int = MIN_SIDE
    frame_step: int = 1
    whole_frames: bool = False

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
        path: the source, relative to the HR folder.
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
            image = _cropped(_one_channel_if_grey(_to_8_bits(image)), job.min_side, source)
            for part, hr in _sub_images(image, job):
                _write(job, name + frame + part, hr)
                record.images[name + frame + part] = hr.shape
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
    window = None if job.whole_frames else scan_region(header, source)
    for number, image in read_frames(file, header, source, job.frame_step):
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


def _write(job: Job, name: str, hr: np.ndarray) -> None:
    write_atomic(job.hr_file(name), encode_png(hr))
    for scale in job.scales:
        write_atomic(job.lr_file(name, scale), encode_png(downsample_bicubic(hr, scale)))


def _to_8_bits(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else np.rint(image / 257).astype(np.uint8)


def _one_channel_if_grey(image: np.ndarray) -> np.ndarray:
    first = image[..., :1]
    return first if (image == first).all() else image


def _sub_images(image: np.ndarray, job: Job) -> Iterator[tuple[str, np.ndarray]]:
    if job.sub_image is None or job.step is None:
        yield "", image
        return
    tops, lefts = (_starts(length, job.sub_image, job.step) for length in image.shape[:2])
    corners = ((top, left) for top in tops for left in lefts)
    for number, (top, left) in enumerate(corners, start=1):
        yield f"_s{number:03d}", image[top : top + job.sub_image, left : left + job.sub_image]


def _starts(length: int, size: int, step: int) -> list[int]:
    """Where sub-images start along one direction; the last one ends at the border."""
    last = max(length - size, 0)
    return [*range(0, last, step), last]
