"""Ultrasound images degraded on purpose: ten flaws, each with a severity.

Each of `FLAWS` takes a grey float32 image (h, w) in [0, 1], a severity in (0, 1] and a random
generator, and returns an image of the same size, which may leave [0, 1]. What the severity means in
physical units stands beside each.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image

Degradation = Callable[[np.ndarray, float, Generator], np.ndarray]


def degrade(image: np.ndarray, flaw: str, severity: float, rng: Generator) -> np.ndarray:
    """Apply one of `FLAWS`.

    Args:
        image: grey float32 (h, w) in [0, 1].
        flaw: a key of `FLAWS`.
        severity: in [0, 1]; 0 leaves the image as it is.
        rng: of the noise and the bands.

    Returns:
        Grey float32 (h, w) in [0, 1], of 256 levels whatever the severity: the number of levels
        gives nothing away.
    """
    degraded = FLAWS[flaw](image, severity, rng) if severity > 0 else image
    return (np.rint(degraded.clip(0, 1) * 255) / 255).astype(np.float32)


def blur(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:  # noqa: ARG001
    """Gaussian blur of up to 4 pixels (standard deviation)."""
    return cv2.GaussianBlur(image, (0, 0), 4 * severity)


def lose_resolution(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:  # noqa: ARG001
    """Antialiased bicubic reduction by up to 6 and back; x2, x3, x4 are severity 0.2, 0.4, 0.6."""
    factor = 1 + 5 * severity
    size = image.shape[1], image.shape[0]
    small = Image.fromarray(image).resize(
        tuple(max(1, round(side / factor)) for side in size), Image.Resampling.BICUBIC
    )
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC))


def add_noise(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """White Gaussian noise of the receiver, up to 0.2 of full scale (standard deviation)."""
    return image + rng.normal(0, 0.2 * severity, image.shape).astype(np.float32)


def add_speckle(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Grains of about 3 pixels that multiply the image; standard deviation up to 0.6."""
    grains = cv2.GaussianBlur(rng.normal(size=image.shape).astype(np.float32), (0, 0), 1.0)
    return image * (1 + 0.6 * severity * grains / grains.std())


def compress(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:  # noqa: ARG001
    """JPEG of quality 60 down to 3, by equal ratios."""
    quality = round(60 * (3 / 60) ** severity)
    levels = np.rint(image * 255).astype(np.uint8)
    data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert decoded is not None  # the line before has made it
    return decoded.astype(np.float32) / 255


def shift_gain(image: np.ndarray, amount: float) -> np.ndarray:
    """Gain wrong by an amount of the dynamic range."""
    # Gain adds decibels, and so grey levels, where there is an echo, not outside the scan.
    return image + amount * np.minimum(image / 0.05, 1)


def add_bands(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Bands across the depth, as of wrong time-gain compensation: up to 0.6 of a row's value."""
    rows = np.arange(len(image), dtype=np.float32)[:, None]
    wave = np.cos(2 * np.pi * (rows / rng.uniform(12, 40) + rng.uniform()))
    return image * (1 + 0.6 * severity * wave)


FLAWS: dict[str, Degradation] = {
    "blur": blur,
    "resolution": lose_resolution,
    "noise": add_noise,
    "speckle": add_speckle,
    "compression": compress,
    # By up to half of the dynamic range.
    "high gain": lambda image, severity, _: shift_gain(image, 0.5 * severity),
    "low gain": lambda image, severity, _: shift_gain(image, -0.5 * severity),
    # Exponents of the compression curve: from 1 down to 1/3, and up to 3.
    "flat curve": lambda image, severity, _: image ** np.float32(3**-severity),
    "steep curve": lambda image, severity, _: image ** np.float32(3**severity),
    "banding": add_bands,
}
