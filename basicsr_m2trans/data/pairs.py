"""Which LR image belongs to which HR image, by BasicSR's three ways, and the pairs' captions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from basicsr_m2trans.data.captions import read_captions
from basicsr_m2trans.data.images import list_images, read_size
from basicsr_m2trans.data.lmdb_store import LmdbReader
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import first_few, image_name

_SHAPE = re.compile(r"\s+\(\d+, *\d+, *\d+\)(\s+\d+)?$")


@dataclass(frozen=True)
class Pair:
    """One HR image (ground truth) and its LR image (low quality)."""

    name: str  # by which its caption is found
    gt_path: str  # the file, or in an LMDB the key
    lq_path: str
    gt_size: tuple[int, int]  # height and width in pixels
    lq_size: tuple[int, int]


def pairs_from_folders(
    gt_folder: str | Path, lq_folder: str | Path, filename_tmpl: str
) -> list[Pair]:
    """Pair the images of two folders by name; their extensions may differ.

    Args:
        gt_folder, lq_folder: folders of image files; sub-folders are not entered.
        filename_tmpl: the LR name of HR image `{}`, without extension, for example `{}x2`.

    Raises:
        InputError: a folder is missing or holds no image, two files of a folder have one name, an
            image has no counterpart, or a file is no image.
    """
    gt_files, lq_files = _files_by_name(gt_folder), _files_by_name(lq_folder)
    lq_names = {name: filename_tmpl.format(name) for name in gt_files}
    lacking = [str(gt_files[name]) for name, lq_name in lq_names.items() if lq_name not in lq_files]
    if lacking:
        raise InputError(
            f"{lq_folder}: {len(lacking)} of {len(gt_files)} HR images have no LR image here under "
            f"the name {filename_tmpl!r} ({{}} is the HR name; see filename_tmpl): "
            f"{first_few(lacking)}"
        )
    extra = [str(lq_files[name]) for name in sorted(lq_files.keys() - set(lq_names.values()))]
    if extra:
        raise InputError(
            f"{gt_folder}: {len(extra)} LR images have no HR image here: {first_few(extra)}"
        )
    return _sized([(name, gt_files[name], lq_files[lq_name]) for name, lq_name in lq_names.items()])


def _files_by_name(folder: str | Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in list_images(folder):
        other = files.setdefault(image_name(path.name), path)
        if other is not path:
            raise InputError(f"{other} and {path.name} have the same name; remove or rename one")
    return files


def pairs_from_meta_info(
    gt_folder: str | Path, lq_folder: str | Path, meta_info_file: str | Path, filename_tmpl: str
) -> list[Pair]:
    """Pair the images that a meta information file lists, `<file>` or `<file> (h,w,c)` in a line.

    The LR image has the HR image's extension, and lies directly in `lq_folder`, as in BasicSR.

    Raises:
        InputError: the list or a file on it is missing, or the list is empty.
    """
    path = Path(meta_info_file)
    if not path.is_file():
        raise InputError(f"{path}: this meta_info_file does not exist")
    names = [
        _SHAPE.sub("", line.strip())
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    if not names:
        raise InputError(f"{path}: this meta_info_file names no image")
    files = [
        (
            image_name(name),
            Path(gt_folder, name),
            Path(lq_folder, filename_tmpl.format(Path(name).stem) + Path(name).suffix),
        )
        for name in names
    ]
    missing = [str(file) for _, *pair in files for file in pair if not file.is_file()]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} files that it asks for do not exist: {first_few(missing)}"
        )
    return _sized(files)


def _sized(files: Sequence[tuple[str, Path, Path]]) -> list[Pair]:
    return [Pair(name, str(gt), str(lq), read_size(gt), read_size(lq)) for name, gt, lq in files]


def pairs_from_lmdbs(gt: LmdbReader, lq: LmdbReader) -> list[Pair]:
    """Pair the images of two LMDB folders by key, in the order of the keys.

    Raises:
        InputError: a key is in one of them only.
    """
    lonely = sorted(gt.shapes.keys() ^ lq.shapes.keys())
    if lonely:
        raise InputError(
            f"{gt.folder} and {lq.folder} hold different images; {len(lonely)} keys are in only "
            f"one of them: {first_few(lonely)}"
        )
    return [
        Pair(key, key, key, gt.shapes[key][:2], lq.shapes[key][:2]) for key in sorted(gt.shapes)
    ]


def size_problem(pair: Pair, scale: int) -> str | None:
    """A sentence if the HR image is not exactly `scale` times as large as the LR image."""
    expected = (pair.lq_size[0] * scale, pair.lq_size[1] * scale)
    if pair.gt_size == expected:
        return None
    return (
        f"{pair.gt_path} is {size_text(pair.gt_size)} but x{scale} of {pair.lq_path} "
        f"({size_text(pair.lq_size)}) is {size_text(expected)}"
    )


def size_text(size: tuple[int, int]) -> str:
    """(height, width) as `width x height`, the order in which image viewers give it."""
    return f"{size[1]} x {size[0]}"


def captions_of(
    names: Sequence[str], captions_file: str | Path | None, default: str | None
) -> list[str]:
    """The caption of each image: that in the captions file if given, else `default`.

    Raises:
        InputError: the captions file cannot be used, or lacks images and there is no `default`.
    """
    captions: Mapping[str, str] = {} if captions_file is None else read_captions(captions_file)
    if default is not None:
        return [captions.get(name, default) for name in names]
    lacking = [name for name in names if name not in captions]
    if lacking:
        raise InputError(
            f"{captions_file}: has no caption for {len(lacking)} of {len(names)} images: "
            f"{first_few(lacking)}; add them to the file, or set default_caption in the options of "
            "the data set"
        )
    return [captions[name] for name in names]
