"""LMDB folders from existing folders of HR and LR images: the command `m2trans lmdb`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from basicsr_m2trans.apps.preparation.prepare_image import SCALES
from basicsr_m2trans.apps.preparation.prepare_lmdb import lmdb_name
from basicsr_m2trans.data.captions import make_caption, read_captions, write_captions
from basicsr_m2trans.data.images import encode_png, list_images, read_image
from basicsr_m2trans.data.lmdb_store import LmdbReader, check_lmdb_format, write_lmdb
from basicsr_m2trans.data.pairs import Pair, captions_of, pairs_from_folders, size_problem
from basicsr_m2trans.utils.csv_file import write_csv
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import image_name, safe_name

_Sized = tuple[str, tuple[int, int]]  # an image file, and the height and width that are kept of it


@dataclass(frozen=True)
class Conversion:
    """What `convert_paired_folders` did."""

    images: int  # pairs
    scale: int
    hr: str  # name of the HR images' LMDB folder
    written: list[str]  # names of the LMDB folders that were written
    kept: list[str]  # names of those that held the same images already
    renamed: int  # images whose key differs from their file name


def convert_paired_folders(
    gt_folder: str | Path,
    lq_folder: str | Path,
    out: str | Path,
    scale: int | None = None,
    captions: str | Path | None = None,
    lmdb: str = "png",
    crop: bool = False,
) -> Conversion:
    """Store the images of two folders in LMDB folders.

    Writes the two folders (see `lmdb_name`), `captions.csv` and `names.csv` (key and HR file of
    each image) in `out`. Keys are the HR names without extension, made safe by `safe_name`. Images
    keep their pixels and their 8 or 16 bits; transparency is composited over black.

    Args:
        gt_folder: the HR images.
        lq_folder: the LR images of one scale, named like the HR images or with `x<scale>` appended.
        out: output folder; may hold the result for another scale of the same HR images.
        scale: 2, 3 or 4; found from names and sizes by default.
        captions: captions file by HR name; by default existing captions in `out` are kept and the
            others made by `make_caption`.
        lmdb: one of `lmdb_store.FORMATS`.
        crop: cut HR images as by `without_overhang`. If there are any, the HR folder is called
            after the scale (see `lmdb_name`).

    Raises:
        InputError: images do not pair up, an HR image is not `scale` times as large as its LR image
            (all such pairs are listed), captions are missing, or `out` holds other images. Nothing
            has been written then.
    """
    check_lmdb_format(lmdb)
    out = Path(out)
    template, suffix_scale = _template(gt_folder, lq_folder)
    pairs = pairs_from_folders(gt_folder, lq_folder, template)
    scale = scale or suffix_scale or round(pairs[0].gt_size[0] / pairs[0].lq_size[0])
    if scale not in SCALES:
        raise InputError(
            f"scale: {scale} is none of {', '.join(map(str, SCALES))}; check the two folders"
        )
    hr_scale = None
    if crop:
        whole, pairs = pairs, [without_overhang(pair, scale) for pair in pairs]
        hr_scale = scale if pairs != whole else None
    problems = [problem for pair in pairs if (problem := size_problem(pair, scale))]
    if problems:
        listed = "\n  ".join(problems)
        raise InputError(
            f"{lq_folder}: {len(problems)} of {len(pairs)} LR images do not fit scale {scale}:\n  "
            f"{listed}\nmake fitting LR images with `m2trans prepare`"
        )
    keyed = {safe_name(pair.name): pair for pair in pairs}
    texts = _captions(keyed, captions, out / "captions.csv")
    hr = lmdb_name(1, lmdb, hr_scale)
    files = {
        hr: {key: (pair.gt_path, pair.gt_size) for key, pair in keyed.items()},
        lmdb_name(scale, lmdb): {key: (pair.lq_path, pair.lq_size) for key, pair in keyed.items()},
    }
    kept = [name for name in files if _is_kept(out / name, files[name])]

    out.mkdir(parents=True, exist_ok=True)
    write_captions(out / "captions.csv", texts)
    sources = [(key, pair.gt_path) for key, pair in keyed.items()]
    write_csv(out / "names.csv", [("image", "source"), *sources])
    written = [name for name in files if name not in kept]
    for name in written:
        write_lmdb(out / name, tqdm(_entries(files[name], lmdb), name, len(pairs), unit="image"))
    renamed = sum(key != pair.name for key, pair in keyed.items())
    return Conversion(len(pairs), scale, hr, written, kept, renamed)


def without_overhang(pair: Pair, scale: int) -> Pair:
    """The pair with its HR size cut to `scale` times its LR size if less than `scale` hangs over.

    The authors' code cuts images whose sides `scale` does not divide right and bottom too.
    """
    fitting = (pair.lq_size[0] * scale, pair.lq_size[1] * scale)
    overhang = [hr - fit for hr, fit in zip(pair.gt_size, fitting, strict=True)]
    small = all(0 <= pixels < scale for pixels in overhang)
    return replace(pair, gt_size=fitting) if small else pair


def _template(gt_folder: str | Path, lq_folder: str | Path) -> tuple[str, int | None]:
    """How the LR images are named after the HR images, and the scale in their names."""
    gt_names, lq_names = (
        {image_name(file.name) for file in list_images(f)} for f in (gt_folder, lq_folder)
    )
    scales: dict[str, int | None] = {"{}": None} | {f"{{}}x{scale}": scale for scale in SCALES}
    best = max(scales, key=lambda form: len(lq_names & {form.format(name) for name in gt_names}))
    return best, scales[best]


def _captions(
    keyed: Mapping[str, Pair], given: str | Path | None, existing: Path
) -> dict[str, str]:
    if given is not None:
        names = [pair.name for pair in keyed.values()]
        return dict(zip(keyed, captions_of(names, given, default=None), strict=True))
    before = read_captions(existing) if existing.exists() else {}
    return before | {key: make_caption(key) for key in keyed if key not in before}


def _is_kept(folder: Path, files: Mapping[str, _Sized]) -> bool:
    """Whether the LMDB folder exists; it must hold exactly these images then."""
    if not folder.exists():
        return False
    reader = LmdbReader(folder)
    same = reader.shapes.keys() == files.keys() and all(
        np.array_equal(reader.image(key), _read(file))
        for key, file in tqdm(files.items(), f"compare {folder.name}", unit="image")
    )
    if not same:
        raise InputError(
            f"{folder}: exists and holds other images; choose another output folder, or delete it"
        )
    return True


def _entries(
    files: Mapping[str, _Sized], lmdb: str
) -> Iterator[tuple[str, bytes | np.ndarray, tuple[int, int, int]]]:
    for key, file in files.items():
        image = _read(file)
        yield key, encode_png(image) if lmdb == "png" else image, image.shape


def _read(file: _Sized) -> np.ndarray:
    path, (h, w) = file
    return read_image(path)[:h, :w]
