"""The feature similarity index FSIM, and FSIMc for colours (Zhang et al., 2011, ref. [48]).

Its values are those of the library piq, which the authors used, to 1e-6. It is computed here
because it takes most of the time of validation's metrics, and piq makes the log-Gabor filters and
their statistics anew for each image.
"""

import functools
import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from scipy import fft  # NumPy's before 2.0 computes in double precision, which takes longer

# Log-Gabor filters: wavelength of the smallest scale in pixels, factor between scales, ratio of
# bandwidth to centre frequency, of the angle between orientations to their standard deviation.
NUM_SCALES, NUM_ORIENTATIONS = 4, 4
MIN_WAVELENGTH, SCALE_FACTOR = 6, 2
BANDWIDTH, ANGLE_RATIO = 0.55, 1.2
# Low-pass filter against the corners of the frequency plane, where orientation has no meaning.
CUTOFF, ORDER = 0.45, 15
# Energy below mean + 2 standard deviations of the noise, by Kovesi an overestimate, does not count.
NOISE_DEVIATIONS, NOISE_OVERESTIMATE = 2, 1.7
# Constants T1 to T4 and the exponent lambda of FSIM.
CONGRUENCY_CONSTANT, GRADIENT_CONSTANT, I_CONSTANT, Q_CONSTANT = 0.85, 160, 200, 200
CHROMA_EXPONENT = 0.03

# FSIM looks at images whose shorter side is about this many pixels.
WORKING_SIZE = 256
YIQ_OF_BGR = np.array(
    [(0.114, 0.587, 0.299), (-0.3213, -0.2746, 0.5959), (0.3112, -0.5227, 0.2115)]
)
EPS = np.finfo(np.float32).eps

Image = np.ndarray  # float32
FilterBank = tuple[Image, Image, tuple[float, ...]]


def feature_similarity(img: Image, img2: Image) -> float:
    """FSIMc of colour images, FSIM of grey ones.

    Args:
        img: float32 image with values in [0, 255], (H, W, 3) in the order blue, green, red, or (H,
            W, 1).
        img2: reference image, of the same shape.

    Returns:
        1 for equal images; lower is worse.
    """
    (luma, *chroma), (luma2, *chroma2) = (_working_planes(image) for image in (img, img2))
    filters = filter_bank(*luma.shape)
    with ThreadPoolExecutor(2) as pool:  # NumPy and SciPy let other threads run while they compute
        congruency, congruency2 = pool.map(
            functools.partial(phase_congruency, filters=filters), (luma, luma2)
        )
    weight = np.maximum(congruency, congruency2)
    similarity = _similarity(congruency, congruency2, CONGRUENCY_CONSTANT)
    similarity *= _similarity(_gradient(luma), _gradient(luma2), GRADIENT_CONSTANT)
    if chroma:
        pairs = zip(chroma, chroma2, (I_CONSTANT, Q_CONSTANT), strict=True)
        similarity *= np.abs(math.prod(_similarity(*pair) for pair in pairs)) ** CHROMA_EXPONENT
    return float((similarity * weight).sum(dtype=np.float64) / weight.sum(dtype=np.float64))


def phase_congruency(luma: Image, filters: FilterBank) -> Image:
    """Kovesi's phase congruency PC_2: how much the phases of all scales agree.

    Summed over orientations, for (H, W) in [0, 255] and `filter_bank(H, W)`; (H, W) in [0, 1].
    """
    radial, angular, noise_gains = filters
    spectrum = fft.fft2(luma)
    energy, amplitude = np.full((2, *luma.shape), EPS)
    median = (luma.size - 1) // 2
    for orientation, noise_gain in zip(angular, noise_gains, strict=True):
        # (scales, H, W): responses of even filters are real, those of odd ones imaginary.
        responses = fft.ifft2(spectrum * orientation * radial, overwrite_x=True)
        amplitudes = np.abs(responses)
        mean_response = responses.sum(axis=0)
        strength = np.abs(mean_response)
        deviation = np.abs((responses * mean_response.conj()).imag).sum(axis=0) / (strength + EPS)
        # Rayleigh parameter of Gaussian noise, from the median of the smallest scale: mostly noise.
        rayleigh = np.partition(amplitudes[0], median, axis=None)[median] * noise_gain
        deviations = math.sqrt(math.pi / 2) + NOISE_DEVIATIONS * math.sqrt(2 - math.pi / 2)
        threshold = rayleigh * deviations
        energy += np.maximum(strength - deviation - threshold / NOISE_OVERESTIMATE, 0)
        amplitude += amplitudes.sum(axis=0)
    return energy / amplitude


# Images of a validation set often have one size.
@functools.lru_cache(maxsize=8)
def filter_bank(height: int, width: int) -> FilterBank:
    """The log-Gabor filters of phase congruency, which depend on the image's size alone.

    Returns:
        Radial parts (scales, H, W) and angular parts (orientations, H, W) of the filters in the
        frequency plane, zero frequency first; and for each orientation the Rayleigh parameter of
        noise whose median amplitude is 1.
    """
    rows, columns = (_frequencies(length) for length in (height, width))
    radius = np.hypot(rows[:, None], columns)
    radius[0, 0] = 1  # its logarithm is finite, and the filters are 0 there
    wavelengths = MIN_WAVELENGTH * SCALE_FACTOR ** np.arange(NUM_SCALES)
    radial = np.exp(
        -(np.log(radius * wavelengths[:, None, None]) ** 2) / (2 * math.log(BANDWIDTH) ** 2)
    )
    radial /= 1 + (radius / CUTOFF) ** (2 * ORDER)
    radial[:, 0, 0] = 0

    angle = np.arctan2(-columns, rows[:, None])
    directions = np.arange(NUM_ORIENTATIONS) * math.pi / NUM_ORIENTATIONS
    distance = np.abs((angle - directions[:, None, None] + math.pi) % (2 * math.pi) - math.pi)
    angular = np.exp(-(distance**2) * (NUM_ORIENTATIONS * ANGLE_RATIO / math.pi) ** 2 / 2)

    # Noise in the sum over scales, by Parseval's theorem from the even filters; noise in the
    # smallest scale is known by its median, whose square is log(2) times the mean square.
    even = fft.ifft2(angular * radial.sum(axis=0)).real
    gains = (
        height * width * (even**2).sum(axis=(1, 2)) / ((angular * radial[0]) ** 2).sum(axis=(1, 2))
    )
    noise_gains = tuple(np.sqrt(gains / math.log(2)).tolist())
    return radial.astype(np.float32), angular.astype(np.float32), noise_gains


def _frequencies(length: int) -> np.ndarray:
    """Cycles per pixel along one side; odd lengths end at 1/2 too, as in Kovesi's definition."""
    return fft.fftfreq(length, (length - 1) / length if length % 2 else 1)


def _working_planes(image: Image) -> list[Image]:
    """Y, I and Q, or grey alone, averaged over squares of pixels down to about the working size."""
    height, width = image.shape[:2]
    factor = max(1, round(min(height, width) / WORKING_SIZE))
    size = width // factor, height // factor
    image = image[: size[1] * factor, : size[0] * factor]
    pooled = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return [pooled] if image.shape[2] == 1 else list(cv2.split(cv2.transform(pooled, YIQ_OF_BGR)))


def _gradient(luma: Image) -> Image:
    """Magnitude of the Scharr gradient, with zeros around the image."""
    along_x, along_y = (
        cv2.Scharr(luma, cv2.CV_32F, dx, dy, scale=1 / 16, borderType=cv2.BORDER_CONSTANT)
        for dx, dy in ((1, 0), (0, 1))
    )
    return np.hypot(along_x, along_y)


def _similarity(a: Image, b: Image, constant: float) -> Image:
    return (2 * a * b + constant) / (a**2 + b**2 + constant)
