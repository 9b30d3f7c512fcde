"""The annotation of a folder of images by foundation models (Sec. IV, Eq. 15-19)."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from basicsr_m2trans.apps.annotation.review import Reviewed, review_sheet, thumbnail
from basicsr_m2trans.apps.annotation.stages import LanguageControls, Region, Stages, VisualControls
from basicsr_m2trans.apps.annotation.state import Description, open_state
from basicsr_m2trans.data.captions import COLUMNS
from basicsr_m2trans.data.images import decode_image, list_images, to_tensor
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.csv_file import write_csv
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import image_name

REGION_COLUMNS = ("score", "left", "top", "width", "height", "area")


@dataclass(frozen=True)
class Settings:
    """All that captions depend on besides images and stages.

    Attributes:
        visual, language: V_c and L_c of Eq. 15.
        repeats: descriptions of each region.
        seed: start of all random numbers.
        margin: difference of scores that counts as none, 0 or more; see `choose`.
        models: what the stages are, as JSON values.

    Raises:
        InputError: `repeats` or `margin` is out of range.
    """

    visual: VisualControls = field(default_factory=VisualControls)
    language: LanguageControls = field(default_factory=LanguageControls)
    repeats: int = 2
    seed: int = 0
    margin: float = 0.01
    models: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise InputError(f"repeats must be at least 1, but is {self.repeats}")
        if not self.margin >= 0:
            raise InputError(f"margin must be 0 or more, but is {self.margin}")


@dataclass(frozen=True)
class Summary:
    """What `annotate` did.

    Attributes:
        captions: number of images with a caption.
        made: how many of them were described in this run.
        problems: one sentence for each image without a caption, naming it.
        sheet: the HTML file for review.
    """

    captions: int
    made: int
    problems: list[str]
    sheet: Path


def describe(image: np.ndarray, name: str, stages: Stages, settings: Settings) -> list[Description]:
    """All descriptions of one image: (T_p, R, e) = CAT(I_hr, V_c, L_c), repeated (Eq. 15).

    Where nothing is segmented the whole image is the region. Empty descriptions are left out.

    Args:
        image: (h, w, 3), RGB, uint8.
        name: the image's name; with `settings.seed` it determines all random numbers.
        stages, settings: the models, and all else that descriptions depend on.
    """
    regions = stages.segment(image, settings.visual) or [Region(np.ones(image.shape[:2], bool))]
    texts: list[tuple[Region, str, str]] = []
    for number, region in enumerate(regions):
        for repeat in range(settings.repeats):
            raw = stages.caption(image, region, _seed(settings.seed, name, number, repeat))
            caption = stages.refine(raw, settings.language).strip() if raw else ""
            if caption:
                texts.append((region, raw, caption))
    scores = stages.score(image, [caption for _, _, caption in texts]) if texts else []
    return [
        Description(caption, raw, score, region.box, region.area)
        for (region, raw, caption), score in zip(texts, scores, strict=True)
    ]


def choose(descriptions: Sequence[Description], margin: float) -> Description:
    """The description with the highest score and the largest region (Sec. IV, after Eq. 19).

    The paper leaves open what counts more where the two disagree. Here scores within `margin` (0
    or more) of the highest count as equal, and of those the largest region wins, then the higher
    score. A margin of 0 asks for the highest score first, one of 2 for the largest region first.
    """
    best = max(found.score for found in descriptions)
    return max(
        (found for found in descriptions if found.score >= best - margin),
        key=lambda found: (found.area, found.score),
    )


def annotate(folder: str | Path, out: str | Path, stages: Stages, settings: Settings) -> Summary:
    """Describe every image of a folder and write captions and a sheet to review them.

    `out` gets the columns `image` and `caption`, which `data.captions.read_captions` reads, then
    score, box and area of the region as in `state.Description`. Beside it `OUT.html` is the sheet
    and `OUT.state` what has been done: an interrupted run goes on where it stopped, and images that
    were added or changed are described. An image that cannot be read or gives no description is
    listed and tried again in the next run.

    Args:
        folder: the images; sub-folders are not looked into.
        out: the captions file, ending in `.csv`; replaced if it is of an earlier run.
        stages: the models.
        settings: another margin costs no new descriptions.

    Raises:
        InputError: the folder or the state of an earlier run cannot be used; `out` is of something
            else; a stage gave up; or no image could be described. Finished images are kept.
    """
    out = Path(out)
    files = check_files(folder, out, resumable=True)
    made, problems = 0, []
    reviewed: list[Reviewed] = []
    rows: list[tuple[Any, ...]] = [(*COLUMNS, *REGION_COLUMNS)]
    shared = asdict(settings)  # by a run and the earlier one that it continues
    del shared["margin"]
    with open_state(state_path(out), shared) as state:
        for path in tqdm(files, desc="annotating", unit="image"):
            name = image_name(path.name)
            try:
                data = path.read_bytes()
                image = _to_rgb(decode_image(data, str(path)))
            except OSError as error:
                problems.append(f"{path}: cannot be read ({error.strerror})")
                continue
            except InputError as error:
                problems.append(str(error))
                continue
            digest = hashlib.sha256(data).hexdigest()
            descriptions = state.get(name, digest)
            if descriptions is None:
                descriptions = describe(image, name, stages, settings)
                if not descriptions:
                    problems.append(f"{path}: the models gave no description")
                    continue
                state.add(name, digest, descriptions)
                made += 1
            best = choose(descriptions, settings.margin)
            reviewed.append(Reviewed(name, thumbnail(image, best.box), best, descriptions))
            rows.append((name, best.caption, f"{best.score:.6f}", *best.box, f"{best.area:.6f}"))
        if not reviewed:
            raise InputError(f"{folder}: no image could be described; the first: {problems[0]}")
        sheet = out.with_name(f"{out.name}.html")
        write_atomic(sheet, review_sheet(reviewed, problems).encode())
        write_csv(out, rows)
    return Summary(len(reviewed), made, problems, sheet)


def check_files(folder: str | Path, out: Path, resumable: bool = False) -> list[Path]:
    """The images of a folder that are to get captions in the file `out`.

    Raises:
        InputError: the folder has no images, two of one name, or one whose name is not UTF-8; `out`
            does not end in `.csv`, its folder does not exist, or it exists already and, where a run
            is `resumable`, is not of an earlier run.
    """
    files = list_images(folder)
    names: dict[str, Path] = {}
    for path in files:
        try:
            path.name.encode()
        except UnicodeEncodeError as error:
            text = f"{folder}: the file name {path.name!a} is not UTF-8, as captions files are"
            raise InputError(f"{text}; rename the file") from error
        other = names.setdefault(image_name(path.name), path)
        if other is not path:
            raise InputError(
                f"{path}: has the name of {other.name} but for its extension; rename or remove one"
            )
    if out.suffix.lower() != ".csv":
        raise InputError(f"--out {out}: the captions file must end in .csv")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist; create it")
    if out.exists() and not (resumable and state_path(out).exists()):
        raise InputError(f"--out {out}: exists already; delete it or choose another file")
    return files


def state_path(out: Path) -> Path:
    """The file beside the captions file `out` that remembers what has been done."""
    return out.with_name(f"{out.name}.state")


def _seed(seed: int, name: str, region: int, repeat: int) -> int:
    """A seed that depends on no other image, so that interruptions change nothing."""
    digest = hashlib.sha256(f"{seed}:{region}:{repeat}:{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _to_rgb(image: np.ndarray) -> np.ndarray:
    """An image of `data.images`, (h, w, 1 or 3) of 8 or 16 bits, as (h, w, 3), RGB, uint8."""
    return (to_tensor(image) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
