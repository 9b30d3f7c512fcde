"""Ultrasound images degraded on purpose: ten flaws, each with a severity.

Every function takes a grey float32 image (h, w) in [0, 1], a severity in (0, 1] and a random
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


def raise_gain(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:  # noqa: ARG001
    """Gain too high by up to 0.5 of the dynamic range."""
    return _shift(image, 0.5 * severity)


def lower_gain(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:  # noqa: ARG001
    """Gain too low by up to 0.5 of the dynamic range."""
    return _shift(image, -0.5 * severity)


def _shift(image: np.ndarray, amount: float) -> np.ndarray:
    # Gain adds decibels, and so grey levels, where there is an echo, not outside the scan.
    return image + amount * np.minimum(image / 0.05, 1)


def flatten_curve(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:  # noqa: ARG001
    """Compression curve too flat: exponent 1 down to 1/3."""
    return image ** np.float32(3**-severity)


def steepen_curve(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:  # noqa: ARG001
    """Compression curve too steep: exponent 1 up to 3."""
    return image ** np.float32(3**severity)


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
    "high gain": raise_gain,
    "low gain": lower_gain,
    "flat curve": flatten_curve,
    "steep curve": steepen_curve,
    "banding": add_bands,
}
