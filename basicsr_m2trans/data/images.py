"""Reading and writing image files.

Everywhere in this package's data code an image is a NumPy array (h, w, c) of type uint8 or uint16
whose full range is the range of the type, with c = 1 (grey) or c = 3 in OpenCV's order blue, green,
red. `to_tensor` is the one place where this becomes the network's RGB float tensor.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from basicsr_m2trans.data.image_file import decode_image_file, read_image_file
from basicsr_m2trans.data.pillow_images import orientation_of
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import IMAGE_EXTENSIONS


def is_image_file(path: Path) -> bool:
    """Whether a file has one of `IMAGE_EXTENSIONS`, in any case."""
    return path.suffix.lower() in IMAGE_EXTENSIONS and path.is_file()


def list_images(
    folder: str | Path, recursive: bool = False, accept: Callable[[Path], bool] = is_image_file
) -> list[Path]:
    """The image files of a folder, sorted, without hidden ones and those that `accept` refuses.

    Raises:
        InputError: the folder does not exist or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: this folder does not exist")
    files = sorted(
        path
        for path in (folder.rglob("*") if recursive else folder.iterdir())
        if not path.name.startswith(".") and accept(path)
    )
    if not files:
        raise InputError(f"{folder}: this folder holds no image ({', '.join(IMAGE_EXTENSIONS)})")
    return files


def decode_image(data: bytes, source: str) -> np.ndarray:
    """Decode the bytes of an image file (its first page) as an image of this module.

    Transparency is composited over black; the errors are those of `decode_image_file`.
    """
    return as_opaque_bgr(decode_image_file(data, source).pixels)


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as `decode_image` does; the errors are those of `read_image_file`."""
    return as_opaque_bgr(read_image_file(path).pixels)


def as_opaque_bgr(pixels: np.ndarray) -> np.ndarray:
    """Pixels of an `ImageContent` as an image of this module, transparency over black."""
    if pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1:] / np.iinfo(pixels.dtype).max
        pixels = np.rint(pixels[..., :-1] * alpha).astype(pixels.dtype)
    return np.ascontiguousarray(pixels[..., ::-1])


def read_size(path: str | Path) -> tuple[int, int]:
    """Height and width in pixels, upright, from the header of an image file.

    Raises:
        InputError: the file is missing, has no header of a known image format, or claims more
            pixels than Pillow permits.
    """
    try:
        with Image.open(path) as image:
            turned = image.format != "TIFF" and orientation_of(image) >= 5  # Pillow turns TIFF
            return image.size if turned else image.size[::-1]
    except Exception as error:  # Pillow raises errors of many types on damaged headers
        raise InputError(f"{path}: cannot be read as an image ({error})") from error


def encode_png(image: np.ndarray) -> bytes:
    """Encode an image as PNG, at the compression level of BasicSR's LMDB files (1: fast)."""
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Convert an image (h, w, 1 or 3) to a float32 RGB tensor (3, h, w) in [0, 1].

    The image is uint8, uint16 or float32 in [0, 1]; grey gives three equal channels.
    """
    planes = np.stack(cv2.split(image)[::-1])  # (1 or 3, h, w)
    values = planes if image.dtype == np.float32 else planes / np.float32(np.iinfo(image.dtype).max)
    return torch.from_numpy(values).expand(3, -1, -1).contiguous()
