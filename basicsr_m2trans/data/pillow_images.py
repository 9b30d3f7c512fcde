"""Pillow images as arrays, and back."""

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION

from basicsr_m2trans.utils.errors import InputError

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_REFUSED = {
    "CMYK": (
        "has the colours of a printing press (CMYK), which cannot be upscaled as RGB without their "
        "colour profile"
    ),
    "I": "has 32-bit numbers, which have no defined white",
    "F": "has floating-point numbers, which have no defined white",
}


def orientation_of(image: Image.Image) -> int:
    """Value of the orientation tag (EXIF, TIFF or XMP), 1 to 8; 1 without one or if it is damaged.

    Of PNG, a tag behind the pixels is not looked for.
    """
    try:
        # Not `image.getexif()`, by which PNG would be decoded.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises errors of many types on damaged tags
        return 1
    return value if value in range(1, 9) else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (h, w, c), turned as the orientation tag says; a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def to_array(image: Image.Image, source: str = "the image") -> np.ndarray:
    """The pixels of a Pillow image, upright; palettes are expanded, with their transparency.

    Returns:
        (h, w, c) in the order RGB: c = 1 (grey), 2 (grey and alpha), 3 or 4 (with alpha); uint8, or
        uint16 for mode I;16.

    Raises:
        InputError: the mode is CMYK, 32 bits or another that cannot be upscaled, or one level of 16
            bits means transparent.
        OSError: the image is read from a file, which is damaged.
    """
    # Of TIFF files whose 0 is white Pillow inverts those of 8 bits only.
    inverted = getattr(image, "tag_v2", {}).get(PHOTOMETRIC_INTERPRETATION) == 0
    image.load()  # turns TIFF, and takes its tag off
    orientation = orientation_of(image)
    if image.mode.startswith("I;16"):
        if image.info.get("transparency") is not None:
            raise InputError(
                f"{source}: has 16-bit grey with one transparent level; save it with an alpha "
                "channel"
            )
        pixels = upright(np.asarray(image).astype(np.uint16)[..., None], orientation)
        return 65535 - pixels if inverted else pixels
    if image.mode in ("1", "P", "PA") or image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA")
        image = image.convert(_MODES[(1 if grey else 3) + image.has_transparency_data])
    if image.mode not in _MODES.values():
        reason = _REFUSED.get(
            image.mode, f"has pixels of the kind {image.mode}, which cannot be upscaled"
        )
        raise InputError(f"{source}: {reason}; convert it to grey or RGB of 8 or 16 bits")
    pixels = np.asarray(image)
    return upright(pixels[..., None] if pixels.ndim == 2 else pixels, orientation)


def from_array(pixels: np.ndarray) -> Image.Image:
    """The inverse of `to_array` for uint8 (h, w, 1 to 4), and for uint16 (h, w, 1)."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
