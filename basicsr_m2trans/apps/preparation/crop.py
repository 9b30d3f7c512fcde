"""Cleaning raw scans as in Sec. IV (`m2trans crop`): crop to LabelImg's boxes, drop duplicates.

The output folder is described in `datasets/README.md`.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from basicsr_m2trans.apps.preparation.annotations import (
    ANNOTATION_EXTENSIONS,
    CLASSES_FILE,
    Box,
    read_boxes,
)
from basicsr_m2trans.data.image_file import read_image_file
from basicsr_m2trans.data.images import as_opaque_bgr, encode_png, list_images
from basicsr_m2trans.data.pairs import size_text
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.csv_file import write_csv
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import first_few

MIN_WIDTH, MIN_HEIGHT = 600, 448  # pixels, Sec. IV
MAX_DISTANCE = 40  # bits of 256
COLUMNS = ("image", "source", "left", "top", "right", "bottom", "reason")

_HASH_SIDE = 16


class Crop(NamedTuple):
    """A box, or a file that gave none."""

    image: str  # the crop's file name in the output folder; empty if it was left out
    source: str  # the image, or else the annotation, relative to its folder
    box: Box | None  # where it lies in the image
    reason: str  # why it was left out; empty if it was not


def crop_images(
    images: str | Path,
    out: str | Path,
    annotations: str | Path,
    min_width: int = MIN_WIDTH,
    min_height: int = MIN_HEIGHT,
    max_distance: int = MAX_DISTANCE,
) -> list[Crop]:
    """Crop images to their annotated boxes; write those large enough and unlike all before.

    Crops are decoded and stored anew as `<out>/images/0001.png`, 0002.png, ..., so neither metadata
    nor file names of the sources are carried over. `<out>/manifest.csv` has a line for each box,
    and for each file without one, and says which crop comes from where or why it was left out.

    Near-duplicates are found by a perceptual hash of 256 bits (the signs of the lowest 16 x 16
    frequencies of a DCT).

    Args:
        images: folder of images, sub-folders included.
        out: output folder, which must not exist or be empty; it appears when everything is done.
        annotations: folder of LabelImg's Pascal VOC or YOLO files, in the same sub-folders and with
            the same names as the images but for the extension; may be `images` itself.
        min_width, min_height: smaller crops are left out, in pixels.
        max_distance: crops whose hash differs in so many of its 256 bits or fewer from that of an
            earlier one are left out.

    Returns:
        The lines of the manifest, those of annotations without image last.

    Raises:
        InputError: a folder or imagehash is missing, the output folder is in use, a number is
            impossible, or no crop is left. Nothing has been written then.
    """
    images, out, annotations = Path(images), Path(out), Path(annotations)
    files = list_images(images, recursive=True)
    if not annotations.is_dir():
        raise InputError(f"{annotations}: this folder of annotations does not exist")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out}: exists and is not empty; choose another output folder, or delete it"
        )
    if out.resolve().is_relative_to(images.resolve()):
        raise InputError(
            f"{out}: lies in the folder of images, where a later run would find the crops; choose "
            "another"
        )
    if min(min_width, min_height) < 1 or max_distance < 0:
        raise InputError(
            "min_width, min_height: must be 1 or more; max_distance: must be 0 or more"
        )
    missing = [library for library in ("imagehash", "defusedxml") if find_spec(library) is None]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} is missing; install it with `pip install {' '.join(missing)}`"
        )

    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "images").mkdir(parents=True)
        min_size = (min_height, min_width)
        crops = [*_crops(images, files, annotations, partial / "images", min_size, max_distance)]
        crops += _annotations_without_image(images, files, annotations)
        if not any(crop.image for crop in crops):
            reasons = [f"{crop.source}: {crop.reason}" for crop in crops]
            raise InputError(
                f"{images}: no crop is left of {len(files)} images: {first_few(reasons)}"
            )
        rows = [(crop.image, crop.source, *(crop.box or [""] * 4), crop.reason) for crop in crops]
        write_csv(partial / "manifest.csv", [COLUMNS, *rows])
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    os.replace(partial, out)
    return crops


def _crops(
    images: Path,
    files: Sequence[Path],
    annotations: Path,
    out: Path,
    min_size: tuple[int, int],
    max_distance: int,
) -> Iterator[Crop]:
    stems = Counter(_stem(file, images) for file in files)
    names: list[str] = []
    hashes = np.empty((0, _HASH_SIDE**2), bool)
    for file in tqdm(files, "images", unit="image"):
        source = file.relative_to(images).as_posix()
        try:
            if stems[_stem(file, images)] > 1:
                raise InputError(
                    "another image has the same name but for the extension; rename one of them"
                )
            content = read_image_file(file)
            if content.orientation != 1:
                raise InputError(
                    "its EXIF orientation turns it in viewers, LabelImg among them, so that it is "
                    "unknown how its boxes lie; save it upright without that tag and draw them "
                    "again"
                )
            image = as_opaque_bgr(content.pixels)
            boxes = read_boxes(_annotation(annotations, _stem(file, images)), image.shape[:2])
        except InputError as error:
            yield Crop("", source, None, str(error))
            continue
        for box in boxes:
            reason = _box_problem(box, image.shape[:2], min_size)
            if not reason:
                crop = image[box.top : box.bottom, box.left : box.right]
                distances = np.count_nonzero(hashes != (hash_ := _perceptual_hash(crop)), axis=1)
                if len(names) and distances.min() <= max_distance:
                    nearest = int(distances.argmin())
                    reason = (
                        f"near-duplicate of {names[nearest]} ({distances[nearest]} of "
                        f"{_HASH_SIDE**2} bits differ)"
                    )
            if reason:
                yield Crop("", source, box, reason)
                continue
            names.append(f"{len(names) + 1:04d}.png")
            hashes = np.concatenate([hashes, hash_[None]])
            write_atomic(out / names[-1], encode_png(crop))
            yield Crop(names[-1], source, box, "")


def _stem(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _annotation(annotations: Path, stem: str) -> Path:
    paths = [annotations / f"{stem}{extension}" for extension in ANNOTATION_EXTENSIONS]
    candidates = [path for path in paths if path.is_file()]
    if len(candidates) != 1:
        found = "two annotations" if candidates else "no annotation"
        raise InputError(f"{annotations}: holds {found} for it; {stem}.xml or {stem}.txt is needed")
    return candidates[0]


def _box_problem(box: Box, size: tuple[int, int], min_size: tuple[int, int]) -> str:
    if not (0 <= box.left < box.right <= size[1] and 0 <= box.top < box.bottom <= size[0]):
        return f"the box is empty or reaches out of the image of {size_text(size)}"
    if box.size[0] < min_size[0] or box.size[1] < min_size[1]:
        return f"too small: {size_text(box.size)}, and {size_text(min_size)} is needed"
    return ""


def _perceptual_hash(image: np.ndarray) -> np.ndarray:
    import imagehash

    grey = np.rint(image.mean(axis=2) * (255 / np.iinfo(image.dtype).max)).astype(np.uint8)
    return imagehash.phash(Image.fromarray(grey), hash_size=_HASH_SIDE).hash.ravel()


def _annotations_without_image(
    images: Path, files: Sequence[Path], annotations: Path
) -> Iterator[Crop]:
    stems = {_stem(file, images) for file in files}
    for path in sorted(annotations.rglob("*")):
        is_annotation = path.suffix.lower() in ANNOTATION_EXTENSIONS and path.name != CLASSES_FILE
        if is_annotation and path.is_file() and _stem(path, annotations) not in stems:
            source = path.relative_to(annotations).as_posix()
            yield Crop("", source, None, f"{images}: holds no image of this name")
