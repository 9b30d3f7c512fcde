"""The decoder of image files: every part of the package that reads one comes here."""

import io
import math
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, EXTRASAMPLES, PLANAR_CONFIGURATION, TiffImageFile

from basicsr_m2trans.data.pillow_images import orientation_of, to_array, upright
from basicsr_m2trans.utils.errors import InputError

_SEPARATE_PLANES = 2
# Values of the tag ExtraSamples: alpha that colours are multiplied by, and straight alpha.
_ASSOCIATED, _STRAIGHT = (1,), (2,)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BARE_KINDS = (b"\x08\x00", b"\x08\x02", b"\x08\x06")  # 8 bits; grey, RGB, RGBA


class ImageContent(NamedTuple):
    """An image file's pixels, and what goes with them.

    `pixels` are (h, w, c), upright, in the order RGB, c = 1 (grey), 2 (grey and alpha), 3 or 4;
    uint8 or uint16; maybe a view of other memory. `pages` is the number of pages or frames, of
    which they are the first; of JPEG it is 1, since cameras append previews (format MPO).
    """

    pixels: np.ndarray
    profile: bytes | None = None  # ICC colour profile
    orientation: int = 1  # value of the file's tag, which has been applied; 1 is upright
    pages: int = 1


def read_image_file(path: str | Path) -> ImageContent:
    """Read an image file as `decode_image_file` does, with the same errors if it is missing."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return decode_image_file(data, str(path))


def decode_image_file(data: bytes, source: str) -> ImageContent:
    """Decode the bytes of an image file, whose content decides its format.

    All levels are kept, palettes are expanded and an orientation tag is applied.

    Raises:
        InputError: the data are damaged or of an unknown format, or the pixels have no defined
            meaning (CMYK, floating-point, colours of 16 bits multiplied by their alpha...). The
            message begins with `source`.
    """
    try:
        if _is_bare_png(data):
            return ImageContent(_by_opencv(data))
        with warnings.catch_warnings():
            # Pillow warns of damaged tags, which are not used.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
                # Both before the pixels are decoded: Pillow turns TIFF and forgets the tag.
                profile, orientation = image.info.get("icc_profile"), orientation_of(image)
                pixels = _pixels(image, data, source, orientation)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"{source}: cannot be read as an image; the file is damaged or of an unknown format"
        ) from error
    except Exception as error:  # the decoders raise errors of many types on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{source}: cannot be read as an image ({reason})") from error
    return ImageContent(pixels, profile, orientation, pages)


def _is_bare_png(data: bytes) -> bool:
    """Whether a file is PNG of 8 bits and its pixels follow at once, as LMDB folders hold them.

    Pillow, which would cost as much as decoding 64 x 64 pixels, has nothing to say about it, unless
    that it is too large.
    """
    if data[24:26] not in _BARE_KINDS or data[37:41] != b"IDAT" or data[:8] != _PNG_SIGNATURE:
        return False
    width, height = struct.unpack(">II", data[16:24])
    return width * height <= (Image.MAX_IMAGE_PIXELS or math.inf)


def _pixels(image: Image.Image, data: bytes, source: str, orientation: int) -> np.ndarray:
    """The upright pixels by the decoder that reads this kind right, and fast if it is plain PNG."""
    colour = image.mode in ("RGB", "RGBA")
    if isinstance(image, TiffImageFile) and colour:
        if image.tag_v2.get(BITSPERSAMPLE, (1,))[0] == 16:
            return _tiff_colours_of_16_bits(image, data, source, orientation)
    elif image.format == "PNG":
        plain = (colour or image.mode == "L") and "transparency" not in image.info
        # Pillow reduces colours of 16 bits to 8; byte 24 is the bit depth.
        if plain or (data[24] == 16 and image.mode != "I;16"):
            return upright(_by_opencv(data), orientation)
    return to_array(image, source)


def _by_opencv(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("the file is damaged")
    if pixels.ndim == 2:
        return pixels[..., None]
    # Three channels are turned round as a view, so that turning them back costs nothing.
    return pixels[..., ::-1] if pixels.shape[2] == 3 else cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)


def _tiff_colours_of_16_bits(
    image: TiffImageFile, data: bytes, source: str, orientation: int
) -> np.ndarray:
    """Pillow reduces them to 8 bits, OpenCV scrambles planes, tifffile alone lacks LZW."""
    tags = image.tag_v2
    extra = tags.get(EXTRASAMPLES)
    if extra == _ASSOCIATED:
        raise InputError(
            f"{source}: has 16-bit colours with an alpha that they are multiplied by already; save "
            "them with plain (straight) alpha"
        )
    if tags.get(PLANAR_CONFIGURATION) == _SEPARATE_PLANES:
        from tifffile import TiffFile

        with TiffFile(io.BytesIO(data)) as file:
            pixels = upright(np.moveaxis(file.pages[0].asarray(), 0, 2), orientation)
    else:
        pixels = _by_opencv(data)  # upright
    return pixels if extra == _STRAIGHT else pixels[..., :3]
