"""Flaws of real scans for training patches, which bicubic interpolation alone does not give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from basicsr_m2trans.utils.errors import InputError, Problem


@dataclass(frozen=True)
class PatchDegradation:
    """The section `degradation` of a training set: flaws drawn anew for each patch.

    The gain changes both patches. Blur, noise and JPEG compression, in this order, change the LR
    patch alone: the network is to undo them. Each strength is drawn uniformly from its range, which
    is a list of the least and the greatest; the gain on a logarithmic scale, because dim scans have
    a tenth or a hundredth of the range.

    Args:
        probability: of a patch to be changed, in [0, 1].
        gain: factor of the grey values, greater than 0.
        blur_sigma: standard deviation of a Gaussian blur in LR pixels.
        noise_sigma: standard deviation of white noise, the same in all channels, as a share of the
            full range.
        jpeg_quality: whole numbers from 1 to 100; None for no compression. A compressed patch has 8
            bits.

    Raises:
        InputError: values are out of their ranges.
    """

    probability: float = 1.0
    gain: Sequence[float] = (1.0, 1.0)
    blur_sigma: Sequence[float] = (0.0, 0.0)
    noise_sigma: Sequence[float] = (0.0, 0.0)
    jpeg_quality: Sequence[int] | None = None

    def __post_init__(self) -> None:
        problems = [
            *_range_problems("gain", self.gain, 1e-3, 1e3),
            *_range_problems("blur_sigma", self.blur_sigma, 0, 100),
            *_range_problems("noise_sigma", self.noise_sigma, 0, 1),
        ]
        if self.jpeg_quality is not None:
            problems += _range_problems("jpeg_quality", self.jpeg_quality, 1, 100, whole=True)
        if not (_is_number(self.probability) and 0 <= self.probability <= 1):
            problems.append(_problem("probability", self.probability, "a number from 0 to 1"))
        if problems:
            raise InputError(problems=problems)

    def __call__(
        self, lq: np.ndarray, gt: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Change a pair of patches (h, w, c), uint8 or uint16.

        Returns:
            Both patches as they were, or float32 in [0, 1]: rounded again, a dim patch would keep
            few of its levels and teach the network to remove what rounding adds.
        """
        if rng.random() >= self.probability:
            return lq, gt
        gain = math.exp(_draw(rng, [math.log(bound) for bound in self.gain]))
        values: np.ndarray = _from_full_scale(lq) * gain
        if blur := _draw(rng, self.blur_sigma):
            values = cv2.GaussianBlur(values, (0, 0), blur).reshape(lq.shape)
        values = values + rng.normal(0, _draw(rng, self.noise_sigma), (*lq.shape[:2], 1))
        if self.jpeg_quality is not None:
            least, greatest = self.jpeg_quality
            values = _compressed(values, int(rng.integers(least, greatest + 1)))
        lq, gt = (
            patch.clip(0, 1).astype(np.float32) for patch in (values, _from_full_scale(gt) * gain)
        )
        return lq, gt


def _draw(rng: np.random.Generator, bounds: Sequence[float]) -> float:
    least, greatest = bounds
    return rng.uniform(least, greatest)


def _from_full_scale(patch: np.ndarray) -> np.ndarray:
    return patch / np.iinfo(patch.dtype).max


def _compressed(values: np.ndarray, quality: int) -> np.ndarray:
    pixels = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert decoded is not None  # the line before has made it
    return _from_full_scale(decoded).reshape(values.shape)


def _is_number(value: Any, whole: bool = False) -> bool:
    return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)


def _range_problems(
    key: str, values: Any, least: float, greatest: float, whole: bool = False
) -> list[Problem]:
    numbers = isinstance(values, list | tuple) and all(_is_number(value, whole) for value in values)
    if numbers and len(values) == 2 and least <= values[0] <= values[1] <= greatest:
        return []
    kind = "whole numbers" if whole else "numbers"
    wanted = f"a list of two {kind} from {least:g} to {greatest:g}, the smaller one first"
    return [_problem(key, values, wanted)]


def _problem(key: str, value: Any, wanted: str) -> Problem:
    return Problem(("degradation", key), f"is {value!r}", f"write {wanted}")
