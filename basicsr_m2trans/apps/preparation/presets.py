"""The paper's published data sets (Sec. IV and V-A) as they are: `m2trans prepare --preset`.

MMUS1K has 1,023 images, which the authors' code divides into 1,000 for training and 23 for testing.
CCA-US (84 images) and the part of US-CASE that the paper uses (111) are for testing only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from basicsr_m2trans.apps.preparation.paired_folders import (
    Conversion,
    convert_paired_folders,
    without_overhang,
)
from basicsr_m2trans.data.captions import make_caption, read_captions, write_captions
from basicsr_m2trans.data.images import list_images, read_size
from basicsr_m2trans.data.lmdb_store import check_lmdb_format
from basicsr_m2trans.data.pairs import pairs_from_folders, size_problem, size_text
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import first_few, image_name, safe_name

CAPTIONS_FILE = "text_description.txt"

_MIN_SIZE = (448, 600)  # height and width in pixels of every image of MMUS1K, Sec. IV
_OWN_WAY = "to use what you have as it is, call `m2trans lmdb` on its HR and LR folders"


@dataclass(frozen=True)
class Part:
    """A part of a published data set: HR images, and a folder of LR images for each scale."""

    name: str  # `train` or `test`; the name of its output folder
    count: int  # images
    # (HR folder, parent of the LR folders X2, X3 and X4) relative to the data folder, wherever the
    # authors' page, their code or a folder that holds this part alone puts them.
    folders: tuple[tuple[str, str], ...]


def _benchmark(count: int, *names: str) -> Part:
    places = [f"{parent}{name}/" for name in names for parent in ("benchmark/", "")]
    return Part(
        "test", count, tuple((f"{place}HR", f"{place}LR_bicubic") for place in (*places, ""))
    )


# The authors' code calls MMUS1K US1K, CCA-US UI5 and US-CASE US15.
_TRAIN = tuple(
    (f"{place}{name}_train_HR", f"{place}{name}_train_LR_bicubic")
    for name in ("MMUS1K", "US1K")
    for place in (f"{name}/", "")
)
PRESETS = {
    "mmus1k": (Part("train", 1000, _TRAIN), _benchmark(23, "MMUS1K_23", "US1K_23", "MMUS1K")),
    "cca-us": (_benchmark(84, "CCA-US", "UI5"),),
    "us-case": (_benchmark(111, "US-CASE", "US15"),),
}


@dataclass(frozen=True)
class PublishedData:
    """What `prepare_published` did."""

    conversions: dict[tuple[str, int], Conversion]  # by part and scale
    notes: list[str]  # a sentence for each piece that is missing or unlike its description


def prepare_published(
    preset: str,
    folder: str | Path,
    out: str | Path,
    scales: Sequence[int] = (2, 3, 4),
    lmdb: str = "png",
) -> PublishedData:
    """Check a published data set and store its images as they are in LMDB folders, with captions.

    Each part that is there gets a folder `<out>/train` or `<out>/test`; see
    `convert_paired_folders`. Where a scale does not divide an image's sides, HR is cut to the LR
    image, as in the authors' code. Line n of `text_description.txt` becomes the caption of the n-th
    training image, and further lines those of the test images if there are as many; captions that
    were edited in `<out>` are kept.

    Args:
        preset: one of `PRESETS`.
        folder: the data folder of the authors' page, or the folder of one part.
        out: output folder; may hold the result for other scales.
        lmdb: one of `lmdb_store.FORMATS`.

    Raises:
        InputError: no part is there; or a part has another number of images than published, lacks
            LR images or has LR images that do not fit; or the captions file does not fit. All such
            problems are listed, and nothing has been written.
    """
    if preset not in PRESETS:
        raise InputError(f"preset: {preset!r} is none of {', '.join(PRESETS)}")
    check_lmdb_format(lmdb)
    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise InputError(f"{folder}: this folder does not exist")
    scales = sorted(set(scales))

    found = {part: place for part in PRESETS[preset] if (place := _place(folder, part))}
    if not found:
        looked = ", ".join(_looked_for(part) for part in PRESETS[preset])
        raise InputError(f"{folder}: holds no HR images of {preset}; looked for {looked}")
    notes = [
        f"{folder}: lacks the {part.name} part of {part.count} images; looked for "
        f"{_looked_for(part)}"
        for part in PRESETS[preset]
        if part not in found
    ]
    problems = [
        problem for part, (hr, lr) in found.items() for problem in _problems(part, hr, lr, scales)
    ]
    texts: dict[str, dict[str, str]] = {}
    if preset == "mmus1k":
        notes += _size_notes(found)
        texts = _texts(folder, found, problems, notes)
    if problems:
        listed = "\n  ".join(problems)
        raise InputError(f"{folder}: is not {preset} as published:\n  {listed}\n{_OWN_WAY}")

    conversions = {}
    for part, (hr, lr) in found.items():
        part_out = out / part.name
        if part.name in texts:
            _write_texts(part_out, texts[part.name])
        for scale in scales:
            conversions[part.name, scale] = convert_paired_folders(
                hr, lr / f"X{scale}", part_out, scale, lmdb=lmdb, crop=True
            )
    return PublishedData(conversions, notes)


def _place(folder: Path, part: Part) -> tuple[Path, Path] | None:
    places = ((folder / hr, folder / lr) for hr, lr in part.folders)
    return next(((hr, lr) for hr, lr in places if hr.is_dir()), None)


def _looked_for(part: Part) -> str:
    return ", ".join(hr for hr, _ in part.folders)


def _problems(part: Part, hr: Path, lr: Path, scales: Sequence[int]) -> list[str]:
    try:
        names = [image_name(file.name) for file in list_images(hr)]
    except InputError as error:
        return [str(error)]
    problems = []
    if len(names) != part.count:
        missing = _missing_numbers(names, part.count)
        lacks = f"; lacks {first_few(missing)}" if missing else ""
        problems.append(f"{hr}: holds {len(names)} images instead of {part.count}{lacks}")
    for scale in scales:
        try:
            whole = pairs_from_folders(hr, lr / f"X{scale}", f"{{}}x{scale}")
            pairs = [without_overhang(pair, scale) for pair in whole]
        except InputError as error:
            problems.append(str(error))
        else:
            unfit = [problem for pair in pairs if (problem := size_problem(pair, scale))]
            if unfit:
                listed = first_few(unfit)
                problems.append(f"{lr / f'X{scale}'}: {len(unfit)} images do not fit: {listed}")
    return problems


def _missing_numbers(names: Sequence[str], count: int) -> list[str]:
    """Which of 0001, 0002, ... there is no image of; none if the images are not named so."""
    if not all(name.isdecimal() for name in names):
        return []
    present = {int(name) for name in names}
    return [f"{number:04d}" for number in range(1, count + 1) if number not in present]


def _size_notes(found: Mapping[Part, tuple[Path, Path]]) -> list[str]:
    small = []
    for hr, _ in found.values():
        for file in list_images(hr):
            h, w = read_size(file)
            if h < _MIN_SIZE[0] or w < _MIN_SIZE[1]:
                small.append(f"{file} ({size_text((h, w))})")
    if not small:
        return []
    return [
        f"{len(small)} images are below {size_text(_MIN_SIZE)}, the smallest size of MMUS1K: "
        f"{first_few(small)}"
    ]


def _texts(
    folder: Path, found: Mapping[Part, tuple[Path, Path]], problems: list[str], notes: list[str]
) -> dict[str, dict[str, str]]:
    """Captions by part and image, from the captions file; adds to `problems` and `notes`."""
    places = (folder / CAPTIONS_FILE, folder.parent / CAPTIONS_FILE)
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        notes.append(
            f"{folder}: lacks {CAPTIONS_FILE}; captions were made by the paper's templates"
        )
        return {}
    train, test = PRESETS["mmus1k"]
    try:
        lines = _read_lines(file)
        if len(lines) not in (train.count, train.count + test.count):
            raise InputError(
                f"{file}: holds {len(lines)} captions instead of {train.count}, one for each "
                f"training image, or {train.count + test.count}, one for each image"
            )
    except InputError as error:
        problems.append(str(error))
        return {}
    parts = {train: lines[: train.count], test: lines[train.count :]}
    texts = {}
    for part, part_lines in parts.items():
        if part in found and part_lines:
            names = [image_name(path.name) for path in list_images(found[part][0])]
            # Another number of images has been reported as a problem of the folder.
            texts[part.name] = dict(zip(names, part_lines, strict=False))
    return texts


def _read_lines(file: Path) -> list[str]:
    data = file.read_bytes()
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        lines = [line.strip() for line in data.decode(encoding).strip().splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is neither UTF-16 with a byte order mark nor UTF-8") from error
    empty = [str(number) for number, line in enumerate(lines, start=1) if not line]
    if empty:
        raise InputError(
            f"{file}: line {first_few(empty)} holds no caption, so that images and lines do not "
            "match"
        )
    return lines


def _write_texts(out: Path, texts: Mapping[str, str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    captions_file = out / "captions.csv"
    before = read_captions(captions_file) if captions_file.exists() else {}
    edited = {key: text for key, text in before.items() if text != make_caption(key)}
    write_captions(captions_file, {safe_name(name): text for name, text in texts.items()} | edited)
