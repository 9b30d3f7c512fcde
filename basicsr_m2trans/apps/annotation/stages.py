"""The stages of the annotation (Sec. IV, Eq. 15-19) as interfaces, and the user's controls.

Any callable with the signature of a stage can take its place. An image is a NumPy array (h, w, 3),
RGB, uint8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from basicsr_m2trans.utils.errors import InputError


@dataclass(frozen=True)
class VisualControls:
    """V_c of Eq. 16: where regions are looked for and which are kept.

    Attributes:
        points: the segmentation model is asked at a grid of points x points positions.
        min_quality: least quality (predicted intersection over union, 0 to 1) of a region.
        min_area: least area of a region, as a fraction of the image.
        regions: how many regions to keep at most, largest first.

    Raises:
        InputError: a value is out of range.
    """

    points: int = 16
    min_quality: float = 0.88
    min_area: float = 0.01
    regions: int = 3

    def __post_init__(self) -> None:
        _require_at_least_one("points", self.points)
        _require_at_least_one("regions", self.regions)
        for name in ("min_quality", "min_area"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be between 0 and 1, but is {getattr(self, name)}")


@dataclass(frozen=True)
class LanguageControls:
    """L_c of Eq. 18: what the language model is told about the final description.

    Attributes:
        length: greatest number of words.
        language: its English name; MedCLIP and most image-text encoders know English alone.
        imagination: the description may add impressions and comparisons.
        factuality: it may name nothing (organ, finding, diagnosis) that the raw one does not name.

    Raises:
        InputError: `length` is below 1 or `language` is empty.
    """

    length: int = 30
    language: str = "English"
    imagination: bool = False
    factuality: bool = True

    def __post_init__(self) -> None:
        _require_at_least_one("length", self.length)
        if not self.language.strip():
            raise InputError("language is empty; name one, such as English")


def _require_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name} must be at least 1, but is {value}")


@dataclass(frozen=True, eq=False)
class Region:
    """A segmented region R.

    Attributes:
        mask: (h, w) bool, True inside; at least one pixel is.
    """

    mask: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in pixels of the smallest box around the region."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1

    @property
    def area(self) -> float:
        """Area as a fraction of the image, above 0 and up to 1."""
        return float(self.mask.mean())


class Segmenter(Protocol):
    """R = SAM(I_hr, V_c), Eq. 16."""

    def __call__(self, image: np.ndarray, controls: VisualControls) -> list[Region]:
        """The regions of an image, largest first; none if nothing meets the controls."""


class Captioner(Protocol):
    """T_c = ICT(I_hr, R), Eq. 17."""

    def __call__(self, image: np.ndarray, region: Region, seed: int) -> str:
        """A raw description of a region, a function of the arguments alone; may be empty."""


class Refiner(Protocol):
    """T_p = TRE(T_c, L_c), Eq. 18."""

    def __call__(self, description: str, controls: LanguageControls) -> str:
        """The description rewritten on one line; empty if there was no usable answer."""


class Scorer(Protocol):
    """e = cos(I_hr, T_p), Eq. 19."""

    def __call__(self, image: np.ndarray, captions: Sequence[str]) -> list[float]:
        """Cosine similarity, -1 to 1, of the whole image with each caption."""


@dataclass(frozen=True)
class Stages:
    """The four stages that together are CAT of Eq. 15."""

    segment: Segmenter
    caption: Captioner
    refine: Refiner
    score: Scorer
