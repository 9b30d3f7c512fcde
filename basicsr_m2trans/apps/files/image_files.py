"""Enlarging image files: depth, grey, alpha and colour profile survive."""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from basicsr_m2trans.apps.files.media import EnlargedFrame, Frame, MediaFile
from basicsr_m2trans.data.pillow_images import from_array, to_array
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
_ORIENTATION, _EXTRA_SAMPLES = 0x0112, 0x0152


class ImageContent(NamedTuple):
    """What is read from an image file and written to another.

    Attributes:
        pixels: (h, w, c) in the order RGB, c = 1 (grey), 2 (grey and alpha), 3 or 4; uint8 or
            uint16.
        profile: ICC colour profile, if the file has one.
    """

    pixels: np.ndarray
    profile: bytes | None


class ImageFile(MediaFile):
    """An image file; the format of `target` is that of its extension.

    Other tags of the file (EXIF, resolution) are left out. Refused is what the format of `target`
    cannot hold: 16 bits or alpha; and what `read_image` refuses.
    """

    def read(self) -> Iterator[Frame]:
        """The image, with its colour profile."""
        content = read_image(self.source)
        _check_format(content.pixels, self.source, self.target)
        self.total = 1
        yield Frame(content.pixels, content.profile)

    def write(self, frames: Iterator[EnlargedFrame]) -> None:
        """Write the image in the format of `target`."""
        # This waits for the end of the frames: after Ctrl-C an image is either reported as done or
        # not there.
        (frame,) = frames
        with replacing(self.target) as partial:
            write_image(
                ImageContent(frame.after, frame.context), partial, self.target.suffix.lower()
            )


def read_image(path: Path) -> ImageContent:
    """Read an image file with all its levels, its alpha and its colour profile.

    Raises:
        InputError: the file cannot be decoded, has several pages or frames, or pixels that cannot
            be enlarged.
    """
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged tags, which are not used.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                # Cameras append previews to JPEG (format MPO); the first picture is the photograph.
                frames = getattr(image, "n_frames", 1)
                if frames > 1 and image.format != "MPO":
                    raise InputError(
                        f"{path}: has {frames} pages or frames; save each as a file of its own"
                    )
                profile, obstacle = image.info.get("icc_profile"), _obstacle_to_16_bits(image)
                pixels = to_array(image, str(path))
                if pixels.dtype == np.uint8 and image.format in ("PNG", "TIFF"):
                    pixels = _with_16_bits(data, pixels, obstacle, path)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: cannot be read as an image; the file is damaged or of an unknown format"
        ) from error
    except Exception as error:  # Pillow and its plugins raise errors of many types on damaged files
        raise InputError(f"{path}: cannot be read as an image ({_one_line(error)})") from error
    return ImageContent(pixels, profile)


def _obstacle_to_16_bits(image: Image.Image) -> str | None:
    """What OpenCV would read wrongly if the image has colours of 16 bits; before
    Pillow turns it.
    """
    if image.getexif().get(_ORIENTATION, 1) != 1:
        return "an orientation tag; turn the pixels and remove the tag"
    if isinstance(image, TiffImageFile) and image.tag_v2.get(_EXTRA_SAMPLES) == (1,):
        return "an alpha that they are multiplied by already; save them with plain (straight) alpha"
    return None


def _with_16_bits(data: bytes, pixels: np.ndarray, obstacle: str | None, path: Path) -> np.ndarray:
    """The pixels of a PNG or TIFF file with 16 bits where it has them, which Pillow reduces to 8 in
    colours.
    """
    try:
        deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return pixels
    if deep is None or deep.dtype != np.uint16 or deep.ndim != 3:
        return pixels
    if obstacle:
        raise InputError(f"{path}: has 16-bit colours with {obstacle}")
    return cv2.cvtColor(deep, cv2.COLOR_BGRA2RGBA if deep.shape[2] == 4 else cv2.COLOR_BGR2RGB)


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
    """Write an image file.

    Args:
        content: what to write.
        path: the file, of any name.
        suffix: the format's extension, one of `IMAGE_EXTENSIONS`; it can hold `content`.

    Raises:
        InputError: the image is too large for the format.
    """
    pixels, profile = content
    try:
        if pixels.dtype == np.uint8 or pixels.shape[2] == 1:
            name, settings = _FORMATS[suffix]
            from_array(pixels).save(path, name, icc_profile=profile, **settings)
        elif suffix == ".png":
            path.write_bytes(_encode_png(pixels, profile))
        else:
            from tifffile import imwrite

            alpha = ["unassalpha"] if pixels.shape[2] == 4 else []
            imwrite(
                path,
                pixels,
                photometric="rgb",
                extrasamples=alpha,
                iccprofile=profile,
                compression="zlib",
            )
    except (ValueError, OverflowError, cv2.error) as error:
        height, width = pixels.shape[:2]
        raise InputError(
            f"{width} x {height} pixels cannot be written as {suffix} ({_one_line(error)})"
        ) from error


def _encode_png(pixels: np.ndarray, profile: bytes | None) -> bytes:
    """16-bit colours (h, w, 3 or 4), which Pillow cannot write."""
    image = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    if profile is None:
        return cv2.imencode(".png", image)[1].tobytes()
    metadata = [np.frombuffer(profile, np.uint8)[None]]
    return cv2.imencodeWithMetadata(".png", image, [cv2.IMAGE_METADATA_ICCP], metadata)[1].tobytes()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
