"""PSNR of a network minus that of bicubic interpolation on images unlike those it was trained on.

    python benchmarks/failure_cases.py m2trans-x2 --data datasets/ultrasound/val

Every HR image of the set is changed as a row says and shrunk again, MATLAB-style unless the row
says otherwise; the photographs come with scikit-image. The standard protocol, images of 8 bits,
colours as `m2trans upscale` treats them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from skimage import data as photographs

from basicsr_m2trans import Upscaler
from basicsr_m2trans.apps.preparation.degradation import downsample_bicubic
from basicsr_m2trans.data.images import read_image, to_tensor
from basicsr_m2trans.evaluation.protocols import standard_protocol

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def as_it_is(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """No change."""
    return image


def text_overlay(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Lines of small white text, as scanners write them, and calliper crosses."""
    image = image.copy()
    for row, text in enumerate(
        ("FR 42Hz  D 6.0cm  MI 1.1", "Dist 1  12.4 mm", "Gn 50  DR 66  TIS 0.2")
    ):
        cv2.putText(
            image,
            text,
            (12, 24 + 18 * row),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.45,
            (255, 255, 255),
            1,
            cv2.LINE_AA,
        )
    height, width = image.shape[:2]
    for x in (width // 3, width // 2):
        cv2.drawMarker(image, (x, height // 2), (255, 255, 255), cv2.MARKER_CROSS, 11, 1)
    return image


def colour_doppler(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A box of smooth red and blue flow in the middle, with the sharp mosaic edge of real ones."""
    height, width = image.shape[:2]
    box = np.s_[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4]
    size = image[box].shape[1::-1]
    flow = cv2.resize(rng.normal(size=(9, 9)), size, interpolation=cv2.INTER_CUBIC)
    colours = np.zeros_like(image[box])
    colours[..., 2], colours[..., 0] = 255 * flow.clip(0, 1), 255 * (-flow).clip(0, 1)
    image = image.copy()
    image[box] = np.where((np.abs(flow) > 0.4)[..., None], colours, image[box])
    return image


def saturated_gain(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Twice the gain: much of the tissue is white."""
    return (image.astype(np.uint16) * 2).clip(0, 255).astype(np.uint8)


def low_gain(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """A quarter of the grey values."""
    return np.rint(image * 0.25).astype(np.uint8)


def white_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise of standard deviation 10."""
    return (
        np.rint(image + rng.normal(0, 10, image.shape[:2])[..., None]).clip(0, 255).astype(np.uint8)
    )


def blur(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Out of focus: the HR image itself is blurred by 2 pixels."""
    return cv2.GaussianBlur(image, (0, 0), 2)


def jpeg(small: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """JPEG of quality 50, as exported from a scanner."""
    return cv2.imdecode(
        cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR
    )


# Row of the table: change of the HR image, change of the LR image.
CHANGES: dict[str, tuple[Change, Change]] = {
    "as it is": (as_it_is, as_it_is),
    "text and callipers": (text_overlay, as_it_is),
    "colour Doppler box": (colour_doppler, as_it_is),
    "twice the gain, saturated": (saturated_gain, as_it_is),
    "a quarter of the gain": (low_gain, as_it_is),
    "HR with white noise": (white_noise, as_it_is),
    "HR out of focus": (blur, as_it_is),
    "LR with white noise": (as_it_is, white_noise),
    "LR as JPEG of quality 50": (as_it_is, jpeg),
}
PHOTOGRAPHS = ("astronaut", "camera", "text", "page", "brick")


def area_averaged(image: np.ndarray, scale: int) -> np.ndarray:
    """LR by averaging squares of pixels instead of bicubic interpolation."""
    height, width = image.shape[:2]
    return cv2.resize(image, (width // scale, height // scale), interpolation=cv2.INTER_AREA)


def difference(upscaler: Upscaler, hr: np.ndarray, lr: np.ndarray) -> tuple[float, float]:
    """PSNR of bicubic interpolation, and what the network adds, in dB; images (h, w, 3) BGR."""
    reference = to_tensor(hr)[None]
    rgb = np.ascontiguousarray(lr[..., ::-1])
    values = [
        standard_protocol(
            to_tensor(np.ascontiguousarray(upscaled[..., ::-1]))[None], reference, upscaler.scale
        )["psnr"]
        for upscaled in (upscaler.bicubic(rgb), upscaler(rgb))
    ]
    return values[0], values[1] - values[0]


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", help="file of weights, or the name of a network that comes with this package"
    )
    parser.add_argument("--data", required=True, type=Path, help="a set that m2trans prepare wrote")
    parser.add_argument(
        "--images",
        type=int,
        default=8,
        metavar="N",
        help="so many of them, evenly chosen (default: 8)",
    )
    args = parser.parse_args()
    upscaler = Upscaler.from_checkpoint(args.model)
    scale = upscaler.scale
    files = sorted((args.data / "HR").glob("*.png"))
    files = [files[index] for index in np.linspace(0, len(files) - 1, args.images).astype(int)]
    images = [crop(read_image(file), scale) for file in files]
    print(
        "| image | bicubic (dB) | network minus bicubic (dB): mean | least |\n| --- | --- | --- | "
        "--- |"
    )
    for name, (change_hr, change_lr) in CHANGES.items():
        rng = np.random.default_rng(0)
        changed = [change_hr(image, rng) for image in images]
        print_row(
            name,
            [
                difference(upscaler, hr, change_lr(downsample_bicubic(hr, scale), rng))
                for hr in changed
            ],
        )
    print_row(
        "LR by averaging", [difference(upscaler, hr, area_averaged(hr, scale)) for hr in images]
    )
    for name in PHOTOGRAPHS:
        hr = crop(np.atleast_3d(getattr(photographs, name)())[..., ::-1], scale)
        print_row(
            f"scikit-image: {name}", [difference(upscaler, hr, downsample_bicubic(hr, scale))]
        )


def crop(image: np.ndarray, scale: int) -> np.ndarray:
    """(h, w, 1 or 3) -> (h', w', 3), cropped right and below to multiples of `scale`."""
    height, width = (side // scale * scale for side in image.shape[:2])
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3))[:height, :width])


def print_row(name: str, differences: list[tuple[float, float]]) -> None:
    """One row of the table."""
    bicubic, gains = np.array(differences).T
    print(
        f"| {name} | {bicubic.mean():.2f} | {gains.mean():+.2f} | {gains.min():+.2f} |", flush=True
    )


if __name__ == "__main__":
    main()
