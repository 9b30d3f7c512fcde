"""What the page does with an image, without the page: read, upscale, measure, write."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from basicsr_m2trans.archs import Bicubic
from basicsr_m2trans.checkpoints.networks import shipped_models
from basicsr_m2trans.data.dicom import frame_count, is_dicom_file, read_frames, read_header
from basicsr_m2trans.data.images import encode_png, read_image, read_size, to_tensor
from basicsr_m2trans.evaluation.protocols import standard_protocol
from basicsr_m2trans.inference.upscaler import DISCLAIMER, Upscaler
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError

SCALES = (2, 3, 4)
# 45 s at x4 on two cores; `m2trans upscale` takes larger images.
MAX_PIXELS = 2_000_000


class UpscaledPicture(NamedTuple):
    """What the page shows of one image.

    Attributes:
        before: PNG, upscaled by bicubic interpolation.
        after: PNG of the same size, upscaled by the network; 8 or 16 bits as the input.
        report: Markdown: sizes, time, and the metrics where there is a reference image.
    """

    before: Path
    after: Path
    report: str


def available_upscalers(models: Sequence[str | Path], **arguments: Any) -> dict[str, Upscaler]:
    """The networks to choose from, bicubic interpolation included, by the names they are shown by.

    Args:
        models: files of weights, or names of networks that come with this package; if there are
            none, all of those.
        arguments: of `Upscaler.from_checkpoint`, the same for all files.

    Raises:
        InputError: one of them cannot be loaded, or two have one name.
    """
    models = models or shipped_models()
    upscalers = [Upscaler.from_checkpoint(model, **arguments) for model in models]
    upscalers += [
        Upscaler(Bicubic(scale), scale, name=f"Bicubic x{scale}", device="cpu") for scale in SCALES
    ]
    by_name = {upscaler.name: upscaler for upscaler in upscalers}
    if len(by_name) < len(upscalers):
        raise InputError("--model: two files have one name and one architecture; rename one")
    return by_name


def upscale_picture(
    upscaler: Upscaler, source: Path, folder: Path, reference: Path | None = None, frame: int = 1
) -> UpscaledPicture:
    """Upscale one image and write what the page shows.

    Args:
        upscaler: the network.
        source: an image file, or DICOM.
        folder: where the PNG files go; it must exist.
        reference: the true image, `upscaler.scale` times as large.
        frame: which one of a DICOM file, from 1.

    Raises:
        InputError: a file cannot be read or is too large, there is no such frame, or the reference
            has another size.
        OSError: the files cannot be written.
    """
    image = read_picture(source, MAX_PIXELS, frame)
    truth = None if reference is None else read_picture(reference, MAX_PIXELS * upscaler.scale**2)
    height, width = (upscaler.scale * side for side in image.shape[:2])
    if truth is not None and truth.shape[:2] != (height, width):
        raise InputError(
            f"The reference has {_size(truth)} pixels. It must be {upscaler.scale} times as large "
            f"as the image: {width} x {height}."
        )
    start = time.perf_counter()
    upscaled = _reverse_channels(upscaler(_reverse_channels(image)))
    seconds = time.perf_counter() - start
    interpolated = _reverse_channels(upscaler.bicubic(_reverse_channels(image)))
    before = folder / f"{source.stem}_bicubic_x{upscaler.scale}.png"
    after = folder / f"{source.stem}_x{upscaler.scale}.png"
    write_atomic(before, encode_png(interpolated))
    write_atomic(after, encode_png(upscaled))
    report = (
        f"{_size(image)} → {_size(upscaled)} pixels, {upscaler.name}, {seconds:.1f} s. "
        f"{DISCLAIMER.capitalize()}."
    )
    if truth is not None:
        results = {"Bicubic": interpolated, upscaler.name: upscaled}
        report += "\n\n" + _metrics_table(results, truth, upscaler.scale)
    return UpscaledPicture(before, after, report)


def read_picture(path: Path, max_pixels: int, frame: int = 1) -> np.ndarray:
    """Read an image file, or one frame of a DICOM file, as in `data/images.py`, size checked first.

    Raises:
        InputError: it cannot be read or is too large, or there is no such frame. The message has no
            folder.
    """
    name = path.name
    if is_dicom_file(path):
        header = read_header(path, name)
        _check_size(name, header.Rows, header.Columns, max_pixels)
        if not 1 <= frame <= frame_count(header):
            count = frame_count(header)
            raise InputError(f"{name} has the frames 1 to {count}; there is no frame {frame}.")
        return next(image for number, image in read_frames(path, header, name) if number == frame)
    try:
        _check_size(name, *read_size(path), max_pixels)
        return read_image(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error


def _check_size(name: str, height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise InputError(
            f"{name} has {width} x {height} pixels; this page takes up to {max_pixels:,} pixels. "
            "Crop it, or use the command m2trans upscale."
        )


def _reverse_channels(image: np.ndarray) -> np.ndarray:
    """BGR, as image files are read and written here, to RGB, as the network takes it, and back."""
    return np.ascontiguousarray(image[..., ::-1])


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def _metrics_table(results: dict[str, np.ndarray], truth: np.ndarray, scale: int) -> str:
    """Markdown table of the standard protocol's metrics of each result against the true image."""
    lines = ["| | PSNR (dB) | SSIM | FSIM | GMSD |", "|---|---|---|---|---|"]
    for name, image in results.items():
        values = standard_protocol(to_tensor(image)[None], to_tensor(truth)[None], scale)
        line = "| {} | {psnr:.2f} | {ssim:.4f} | {fsim:.4f} | {gmsd:.4f} |"
        lines.append(line.format(name, **values))
    return "\n".join(lines)
