"""Where `m2trans prepare` has put the images of a comparison, and the options that read them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from basicsr_m2trans.utils.errors import InputError


def prepared_dataset(folder: Path, scale: int) -> dict[str, Any]:
    """Options of a data set that reads a prepared folder: raw LMDB, LMDB, or else files.

    Raises:
        InputError: the folder does not exist or lacks images of this scale.
    """
    if not is_prepared(folder, scale):
        raise InputError(no_images(folder, [scale]))
    return set_options(folder, scale)


def is_prepared(folder: Path, scale: int) -> bool:
    """Whether a folder holds images of a scale."""
    return any(all(map(Path.is_dir, roots)) for _, *roots in _image_folders(folder, scale))


def set_options(folder: Path, scale: int) -> dict[str, Any]:
    """Options of a prepared set; one that is not there yet will be LMDB."""
    raw, png, files = _image_folders(folder, scale)
    backend, gt, lq = next(
        (kind for kind in (raw, png, files) if all(map(Path.is_dir, kind[1:]))), png
    )
    names = {"filename_tmpl": f"{{}}x{scale}"} if backend == "disk" else {}
    return {
        "type": "PairedImageTextDataset",
        "dataroot_gt": str(gt.resolve()),
        "dataroot_lq": str(lq.resolve()),
        "io_backend": {"type": backend},
    } | names


def no_images(folder: Path, scales: Iterable[int]) -> str:
    """The message that a folder lacks images, and how to make them."""
    named = ", ".join(map(str, scales))
    return (
        f"{folder} has no HR and LR images of scale {named}; make them with m2trans prepare "
        f"YOUR_IMAGES {folder}"
    )


def _image_folders(folder: Path, scale: int) -> list[tuple[str, Path, Path]]:
    """`io_backend`, HR and LR images of each kind that a prepared set may have, fastest first."""
    return [
        ("lmdb", folder / "HR.raw_lmdb", folder / f"LR_bicubic_X{scale}.raw_lmdb"),
        ("lmdb", folder / "HR.lmdb", folder / f"LR_bicubic_X{scale}.lmdb"),
        ("disk", folder / "HR", folder / "LR_bicubic" / f"X{scale}"),
    ]
