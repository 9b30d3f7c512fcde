"""Upscaling image files: depth, grey, alpha and colour profile survive."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from basicsr_m2trans.apps.files.media import Frame, MediaFile
from basicsr_m2trans.data.image_file import ImageContent, read_image_file
from basicsr_m2trans.data.pairs import size_text
from basicsr_m2trans.data.pillow_images import from_array
from basicsr_m2trans.utils.atomic import replacing
from basicsr_m2trans.utils.errors import InputError

# Pillow's name of each format and how it is written: as much of the result as the format can hold.
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
}
_WITH_16_BITS = (".png", ".tif", ".tiff")
_WITH_ALPHA = (*_WITH_16_BITS, ".webp")


class ImageFile(MediaFile):
    """An image file; the format of `target` is that of its extension.

    Other tags of the file (EXIF, resolution) are left out. Refused are files of several pages or
    frames, and 16 bits or alpha where the format of `target` cannot hold them.
    """

    def read(self) -> Iterator[Frame]:
        """The image, with its colour profile."""
        content = read_image_file(self.source)
        if content.pages > 1:
            raise InputError(
                f"{self.source}: has {content.pages} pages or frames; save each as a file of its "
                "own"
            )
        _check_format(content.pixels, self.source, self.target)
        self.total = 1
        yield Frame(np.ascontiguousarray(content.pixels), content.profile)

    def write(self, frames: Iterator[Frame]) -> None:
        """Write the image in the format of `target`."""
        # This waits for the end of the frames: after Ctrl-C an image is either reported as done or
        # not there.
        (frame,) = frames
        content = ImageContent(frame.pixels, frame.context)
        with replacing(self.target) as partial:
            write_image(content, partial, self.target.suffix.lower())


def _check_format(pixels: np.ndarray, source: Path, target: Path) -> None:
    suffix = target.suffix.lower()
    if pixels.dtype == np.uint16 and suffix not in _WITH_16_BITS:
        raise InputError(
            f"{source}: has 16 bits, which {suffix} cannot hold; name an output of .png or .tif"
        )
    if pixels.shape[2] in (2, 4) and suffix not in _WITH_ALPHA:
        raise InputError(
            f"{source}: has transparency, which {suffix} cannot hold; name an output of .png or "
            ".tif"
        )


def write_image(content: ImageContent, path: Path, suffix: str) -> None:
    """Write a file of any name in the format of `suffix`, which can hold `content`.

    Raises:
        InputError: the image is too large for the format.
    """
    pixels, profile = content.pixels, content.profile
    try:
        if pixels.dtype == np.uint8 or pixels.shape[2] == 1:
            name, settings = _FORMATS[suffix]
            from_array(pixels).save(path, name, icc_profile=profile, **settings)
        elif suffix == ".png":
            path.write_bytes(_encode_png(pixels, profile))
        else:
            from tifffile import imwrite

            alpha = ["unassalpha"] if pixels.shape[2] == 4 else []
            settings = {"photometric": "rgb", "extrasamples": alpha, "compression": "zlib"}
            imwrite(path, pixels, iccprofile=profile, **settings)
    except (ValueError, OverflowError, cv2.error) as error:
        size = size_text(pixels.shape[:2])
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{size} pixels cannot be written as {suffix} ({reason})") from error


def _encode_png(pixels: np.ndarray, profile: bytes | None) -> bytes:
    """16-bit colours (h, w, 3 or 4), which Pillow cannot write."""
    image = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    if profile is None:
        return cv2.imencode(".png", image)[1].tobytes()
    metadata = [np.frombuffer(profile, np.uint8)[None]]
    return cv2.imencodeWithMetadata(".png", image, [cv2.IMAGE_METADATA_ICCP], metadata)[1].tobytes()
