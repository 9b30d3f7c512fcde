"""Synthetic B-mode images for demonstrations and tests, free of any licence.

The linear model of pulse-echo imaging (T. L. Szabo, "Diagnostic Ultrasound Imaging: Inside Out"):
random scatterers weighted by echogenicity and coherent echoes of interfaces, attenuation along the
beam, a point-spread function that widens away from the focus, receiver noise, envelope detection,
log compression and, for a curved array, scan conversion. Lengths are in units of the imaged depth;
`x` is lateral, `z` axial.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from basicsr_m2trans.data.images import encode_png
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.errors import InputError

GEOMETRIES = ("linear", "sector")
MIN_SIZE = 32
LOOKS = 3  # frames averaged, as in spatial compounding
AXIAL_SIGMA = 1.0  # samples, of the pulse's envelope
Point = tuple[float, float]  # (x, z)

# Focal findings: level in dB, roughness and flatness of the outline, relative size, loss in dB from
# front to back beyond that of tissue (fluid loses less, which brightens what lies behind it), echo
# of the wall in dB.
FINDINGS = {
    "cyst": (-60, 0.05, 0.7, 1.0, -6, 6),
    "hypoechoic": (-12, 0.25, 0.7, 1.0, 4, None),
    "hyperechoic": (6, 0.2, 0.8, 0.8, 0, None),
    "calcified": (6, 0.3, 0.3, 0.35, 45, 14),
    "vessel": (-32, 0.04, 0.9, 0.6, -4, 9),
}


def make_phantom(
    seed: int, height: int = 384, width: int = 512, geometry: str | None = None
) -> np.ndarray:
    """Simulate one B-mode image.

    Args:
        seed: non-negative; fixes the anatomy, the scanner's settings and, for one size, every byte.
        height, width: size of the image in pixels, 32 or more.
        geometry: `linear` (near the skin), `sector` (abdomen, a fan), or None to draw one.

    Returns:
        Grey uint8 image (height, width), log-compressed at a dynamic range of 50 to 65 dB.

    Raises:
        InputError: height or width below 32, a negative seed, or an unknown geometry.
    """
    if min(height, width) < MIN_SIZE:
        raise InputError(
            f"a phantom of {height}x{width} pixels is too small: use at least {MIN_SIZE}x{MIN_SIZE}"
        )
    if seed < 0:
        raise InputError(f"seed is {seed}: use 0 or a positive integer")
    if geometry not in (None, *GEOMETRIES):
        raise InputError(
            f"geometry {geometry!r} is unknown: use one of {', '.join(GEOMETRIES)}, or None"
        )
    rng = default_rng([seed])
    drawn = rng.choice(GEOMETRIES)
    build = _superficial_tissue if (geometry or drawn) == "linear" else _abdominal_tissue
    tissue = build(height, width, rng)
    return np.rint(tissue.grid.to_display(_scan(tissue))).astype(np.uint8)


def write_phantoms(
    folder: str | Path, count: int, seed: int = 0, height: int = 384, width: int = 512
) -> list[Path]:
    """Write `phantom_0001.png`, `phantom_0002.png`, ... into a folder, which is created if needed.

    Image k depends on `seed`, k and the size (see `make_phantom`) alone; two seeds share none.

    Returns:
        The paths written, in order.

    Raises:
        InputError: count below 1, a negative seed, images too small, or `folder` is a file.
    """
    folder = Path(folder)
    if count < 1 or seed < 0:
        raise InputError(
            f"count is {count} and seed {seed}: count must be at least 1 and seed at least 0"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder to write the phantoms to")
    paths = []
    for number in range(1, count + 1):
        image_seed = int(SeedSequence([seed, number]).generate_state(1, np.uint64)[0])
        data = encode_png(make_phantom(image_seed, height, width))
        folder.mkdir(parents=True, exist_ok=True)
        paths.append(folder / f"phantom_{number:04d}.png")
        write_atomic(paths[-1], data)
    return paths


class _Grid(NamedTuple):
    """Positions of the samples, each array broadcasting to (rows, scan lines)."""

    x: np.ndarray
    z: np.ndarray
    depth: np.ndarray  # along the beam, in [0, 1]
    focal_sigma: float  # lateral width of the beam at its focus, in scan lines
    to_display: Callable[[np.ndarray], np.ndarray]


def _linear_grid(height: int, width: int) -> _Grid:
    """Scan lines are the columns of the image."""
    depth = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / height)[None]
    return _Grid(x, depth, depth, 1.6, lambda image: image)


def _sector_grid(height: int, width: int, rng: Generator) -> _Grid:
    """The largest fan that fits; scan lines meet at its centre, at most two pixels apart."""
    half_angle, ratio = rng.uniform(0.56, 0.66), rng.uniform(0.2, 0.32)
    outer = min(
        (height - 4) / (1 - ratio * np.cos(half_angle)), (width - 4) / (2 * np.sin(half_angle))
    )
    inner, rows = ratio * outer, round(outer - ratio * outer)
    lines = round(half_angle * outer)
    depth = ((np.arange(rows, dtype=np.float32) + 0.5) / rows)[:, None]
    angle = np.linspace(-half_angle, half_angle, lines, dtype=np.float32)[None]
    radius = depth + np.float32(inner / rows)
    row, column = np.indices((height, width), dtype=np.float32)
    down, across = row - 2 + np.float32(inner * np.cos(half_angle)), column + 0.5 - width / 2
    sample = np.hypot(across, down) - np.float32(inner) - 0.5
    line = (np.arctan2(across, down) / np.float32(half_angle) + 1) / 2 * (lines - 1)
    x, z = radius * np.sin(angle), radius * np.cos(angle) - np.float32(inner / rows)
    return _Grid(x, z, depth, 1.0, lambda image: cv2.remap(image, line, sample, cv2.INTER_LINEAR))


class _Tissue:
    """What the beam meets at every sample; distances are negative inside a structure."""

    def __init__(self, grid: _Grid, rng: Generator) -> None:
        self.grid, self.rng = grid, rng
        self.half_width = float(grid.x.max())
        shape = np.broadcast_shapes(grid.x.shape, grid.z.shape)
        # Echogenicity in dB; loss in dB per depth beyond the gain; amplitude of coherent echoes.
        self.level, self.loss, self.interface = np.zeros((3, *shape), np.float32)

    def rotate(self, centre: Point, tilt: float) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates along and across the direction `tilt` (radians) from `centre`."""
        x, z = self.grid.x - np.float32(centre[0]), self.grid.z - np.float32(centre[1])
        cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        return x * cos + z * sin, z * cos - x * sin

    def noise(self, scale_x: float, scale_z: float, tilt: float = 0.0) -> np.ndarray:
        """Smooth Gaussian random field of unit variance with the given correlation lengths."""
        along, across = self.rotate((0, 0), tilt)
        total = np.zeros_like(self.level)
        # The phase has a standard deviation of 9 radians, which wraps to a uniform distribution.
        waves = self.rng.normal(0, (1 / scale_x, 1 / scale_z, 9), (24, 3))
        for wave_x, wave_z, phase in waves.astype(np.float32):
            total += np.cos(along * wave_x + across * wave_z + phase)
        return total / np.float32(np.sqrt(24 / 2))

    def ellipse(
        self, centre: Point, radii: Point, rough: float, tilt: float = 0.0, bend: float = 0.0
    ) -> np.ndarray:
        """Approximate signed distance to an ellipse, bent along its axis, uneven by `rough`."""
        along, across = self.rotate(centre, tilt)
        u, v = along / radii[0], (across - bend * along**2) / radii[1]
        angle, outline = np.arctan2(v, u), np.ones_like(u)
        for order in (2, 3, 5, 8):
            phase = np.float32(self.rng.uniform(0, 2 * np.pi))
            outline += rough / order * np.cos(order * angle + phase)
        return (np.hypot(u, v) - outline) * min(radii)

    def fill(
        self, distance: np.ndarray, level: float | np.ndarray, loss: float = 0.0, edge: float = 0.0
    ) -> None:
        """Replace the inside by scatterers of `level` dB that lose dB per depth; blur `edge`."""
        inside = np.clip(0.5 - distance / max(edge, 1 / len(self.level)), 0, 1)
        self.level += inside * (level - self.level)
        self.loss += inside * (loss - self.loss)
        self.interface *= 1 - inside

    def reflect(
        self, distance: np.ndarray, strength: float, where: float | np.number | np.ndarray = 1.0
    ) -> None:
        """Add the uneven echo of a surface, which fades where the beam meets it at a slant."""
        slope = np.abs(np.gradient(distance, axis=0)) * len(self.level)
        samples = distance * len(self.level) / np.maximum(slope, 1e-3)
        echo = 10 ** ((strength + 4 * self.noise(0.12, 0.2)) / 20) * np.exp(-(samples**2))
        self.interface += where * np.minimum(slope, 1) ** 6 * echo

    def sheets(self, inside: np.ndarray | bool, scale: Point, tilt: float, strength: float) -> None:
        """Thin patchy interfaces (septa, muscle fibres): zeros of a stretched random field."""
        patches = np.clip(0.3 + 0.7 * self.noise(0.5 * scale[0], 2 * scale[1], tilt), 0, 1.5)
        self.reflect(self.noise(*scale, tilt) * scale[1], strength, inside * patches)

    def finding(self, centre: Point, size: float) -> None:
        """A focal finding of a random kind, at most `size` in radius."""
        level, rough, flat, share, loss, wall = FINDINGS[self.rng.choice(list(FINDINGS))]
        radii = (size * share, size * share * flat)
        outline = self.ellipse(centre, radii, rough, self.rng.uniform(-0.3, 0.3))
        uneven = level + 1.5 * self.noise(0.03, 0.02)
        self.fill(outline, uneven, loss / (2 * radii[1]), edge=0.025 * (wall is None))
        if wall is not None:
            self.reflect(outline, wall)
            self.reflect(outline - 0.01, wall + 3)


def _superficial_tissue(height: int, width: int, rng: Generator) -> _Tissue:
    """Skin, fat with septa, muscle, a deep layer; an artery along the image or focal findings."""
    grid = _linear_grid(height, width)
    tissue = _Tissue(grid, rng)
    skin, fascia, thickness = rng.uniform((0.025, 0.14, 0.3), (0.04, 0.34, 0.5))
    to_skin = grid.z - skin - 0.002 * tissue.noise(0.3, 9)
    to_muscle = grid.z - fascia - 0.02 * tissue.noise(0.35, 9)
    to_deep = grid.z - fascia - thickness - 0.03 * tissue.noise(0.4, 9)

    tissue.level += (
        rng.uniform(-10, 0) + 3 * tissue.noise(0.12, 0.05) + 2 * tissue.noise(0.04, 0.012)
    )
    tissue.sheets(to_deep > 0, (0.2, 0.03), rng.uniform(-0.2, 0.2), 0)
    tissue.fill(
        to_deep, rng.uniform(-16, -6) + 3 * tissue.noise(0.25, 0.03) + 2 * tissue.noise(0.06, 0.012)
    )
    tissue.sheets(to_deep < 0, (0.2, 0.012), rng.uniform(-0.25, 0.25), rng.uniform(-2, 6))
    tissue.reflect(to_deep, 6)
    tissue.fill(to_muscle, rng.uniform(-16, -8) + 2 * tissue.noise(0.15, 0.05))
    tissue.sheets(to_muscle < 0, (0.15, 0.03), rng.uniform(-0.1, 0.1), 6)
    tissue.reflect(to_muscle, 8)
    tissue.reflect(to_muscle - 0.014, 11)
    tissue.fill(to_skin, 0)
    tissue.reflect(to_skin, 6)
    if rng.random() < 0.3:
        bone = tissue.ellipse((rng.uniform(-0.6, 0.6), 1.2), (0.5, rng.uniform(0.25, 0.4)), 0.12)
        tissue.fill(bone, -10, 300)
        tissue.reflect(bone, 14)
    if rng.random() < 0.35:
        radii, (tilt, bend) = (9.0, rng.uniform(0.05, 0.09)), rng.uniform(-0.15, 0.15, 2)
        lumen = tissue.ellipse((0, fascia + thickness / 2), radii, 0, tilt, bend)
        tissue.fill(lumen, -32, -25)
        tissue.reflect(lumen, 4)
        tissue.reflect(lumen - 0.016, 11)
    else:
        count = rng.integers(1, 4)
        for place in range(count):
            size = min(rng.uniform(0.07, 0.18), 0.8 * tissue.half_width / count)
            x = tissue.half_width * (2 * (place + rng.uniform(0.4, 0.6)) / count - 1)
            tissue.finding((x, rng.uniform(fascia + size, 0.75)), size)
    return tissue


def _abdominal_tissue(height: int, width: int, rng: Generator) -> _Tissue:
    """Wall, a liver-like organ with vessels, a kidney or focal findings, and the diaphragm."""
    grid = _sector_grid(height, width, rng)
    tissue = _Tissue(grid, rng)
    tissue.level += 1.5 * tissue.noise(0.06, 0.05) + tissue.noise(0.02, 0.012)
    tissue.sheets(True, (0.06, 0.03), rng.uniform(-0.5, 0.5), -8)
    for _ in range(rng.integers(3, 7)):
        centre = (rng.uniform(-0.6, 0.6) * tissue.half_width, rng.uniform(0.3, 0.8))
        length, width = rng.uniform((0.08, 0.01), (0.25, 0.02))
        tilt, bend = rng.uniform(-0.9, 0.9, 2)
        vessel = tissue.ellipse(centre, (length, width), 0.05, tilt, bend)
        tissue.fill(vessel, -30, -20)
        # Portal veins have bright walls, hepatic veins have none.
        tissue.reflect(vessel - 0.006, 6, rng.integers(2))
    lung = -tissue.ellipse((rng.uniform(-0.2, 0.2), 0.3), (0.9, rng.uniform(0.5, 0.62)), 0.04)
    tissue.fill(lung, -10, 15)
    tissue.reflect(lung, 14)
    side = rng.choice([-1, 1]) * tissue.half_width
    tissue.finding((-0.3 * side, rng.uniform(0.35, 0.65)), rng.uniform(0.06, 0.15))
    if rng.random() < 0.5:
        kidney, tilt = (0.35 * side, rng.uniform(0.45, 0.6)), rng.uniform(-0.4, 0.4)
        cortex = tissue.ellipse(kidney, (0.24, 0.12), 0.06, tilt)
        tissue.fill(cortex, -6 + tissue.noise(0.04, 0.03))
        tissue.reflect(cortex, 8)
        tissue.fill(
            tissue.ellipse(kidney, (0.15, 0.045), 0.3, tilt), 6 + 4 * tissue.noise(0.03, 0.015)
        )
    to_organ = grid.depth - rng.uniform(0.1, 0.18) - 0.008 * tissue.noise(0.2, 9)
    tissue.fill(to_organ, rng.uniform(-8, -3) + 2 * tissue.noise(0.2, 0.015), edge=0.01)
    tissue.sheets(to_organ < 0, (0.3, 0.02), 0, 4)
    tissue.reflect(to_organ, 6)
    return tissue


def _scan(tissue: _Tissue) -> np.ndarray:
    """Grey levels in [0, 255] of every sample, float32."""
    rng, depth = tissue.rng, tissue.grid.depth
    focus = rng.uniform(0.35, 0.65)
    beam = tissue.grid.focal_sigma * np.sqrt(1 + ((depth - focus) / 0.35) ** 2)
    # The gain compensates for average tissue but for a drift, a brighter focus, uneven contact.
    gain = rng.uniform(-8, 1) * depth + rng.uniform(0, 3) * np.exp(-(((depth - focus) / 0.2) ** 2))
    # Shadows have soft sides because the aperture looks around a small obstacle.
    loss = np.cumsum(tissue.loss, axis=0) / len(tissue.loss)
    shadows = cv2.GaussianBlur(loss, (0, 0), sigmaX=0.008 * loss.shape[1], sigmaY=0.5)
    amplification = 10 ** ((gain + 1.5 * tissue.noise(0.15, 9) - shadows) / 20)
    scatterers = 10 ** (tissue.level / 20)
    # Gain that grows with depth lifts the receiver's constant noise.
    noise = 10 ** ((rng.uniform(-50, -42) + 22 * depth) / 20)
    power = np.zeros_like(tissue.level)
    for _ in range(LOOKS):
        # Circular complex Gaussian scatterers give fully developed speckle.
        parts = rng.standard_normal((4, *power.shape), dtype=np.float32) * np.float32(np.sqrt(0.5))
        echoes = amplification * (scatterers * (parts[0] + 1j * parts[1]) + tissue.interface)
        echoes = _blur(echoes, 1, beam, 0.1) + noise * (parts[2] + 1j * parts[3])
        power += np.abs(_blur(echoes, 0, AXIAL_SIGMA, 0.0)) ** 2 / LOOKS
    brightest, dynamic_range = rng.uniform(26, 32), rng.uniform(50, 65)
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    return np.clip((decibels - brightest) / dynamic_range + 1, 0, 1).astype(np.float32) * 255


def _blur(echoes: np.ndarray, axis: int, sigma: float | np.ndarray, pedestal: float) -> np.ndarray:
    """Gaussian blur along one axis that keeps white noise's power; `pedestal` weighs side lobes."""
    margin = min(echoes.shape[axis], 32) - 1
    margins = [(margin, margin) if axis == along else (0, 0) for along in (0, 1)]
    padded = np.pad(echoes, margins, mode="reflect")
    frequency = np.expand_dims(np.fft.fftfreq(padded.shape[axis]), 1 - axis)
    exponent = -2 * (np.pi * sigma * frequency) ** 2
    response = np.exp(exponent) + pedestal * np.exp(36 * exponent)
    response /= np.sqrt(np.mean(response**2, axis=axis, keepdims=True))
    spectrum = np.fft.fft(padded, axis=axis) * response.astype(np.float32)
    blurred = np.fft.ifft(spectrum, axis=axis)
    return np.take(blurred, range(margin, margin + echoes.shape[axis]), axis=axis)
