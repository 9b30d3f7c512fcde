"""Frames per second of a cine loop of 640x480 enlarged x2 in bfloat16, and of decoding and encoding it.

On a GPU the network is compiled with CUDA graphs (`torch.compile(mode="reduce-overhead")`).
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import Report, parse_arguments, run_script
from networks import QUICK_NETWORK

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.data.phantom import make_phantom


def enlarging(network: torch.nn.Module, frames: torch.Tensor) -> Callable[[], None]:
    """Enlarging the frames, until the result is there."""

    def run() -> None:
        with torch.no_grad(), torch.autocast(frames.device.type, torch.bfloat16):
            network(frames)
        if frames.device.type == "cuda":
            torch.cuda.synchronize()

    return run


def write_video(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Encode frames (h, w, 3), uint8, as MPEG-4."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()


def read_video(path: Path) -> int:
    """Decode all frames; returns their number."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv, repetitions=3)
    report = Report("cine", args)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    height, width = (48, 64) if args.quick else (480, 640)
    network = M2Trans(2, **(QUICK_NETWORK if args.quick else {})).eval().to(device)
    if device == "cuda":
        network = torch.compile(network, mode="reduce-overhead")
    for batch in (1, 8):
        frames = torch.rand(batch, 3, height, width, device=device)
        report.compare(
            f"x2, {width}x{height}, batch {batch}, {device}",
            {"enlarging": enlarging(network, frames)},
            batch,
            "frames/s",
        )

    phantom = cv2.resize(cv2.cvtColor(make_phantom(0), cv2.COLOR_GRAY2BGR), (2 * width, 2 * height))
    large = [np.roll(phantom, shift, axis=1) for shift in range(16)]
    small = [cv2.resize(frame, (width, height)) for frame in large]
    with tempfile.TemporaryDirectory() as folder:
        inside, outside = Path(folder, "in.mp4"), Path(folder, "out.mp4")
        write_video(inside, small)
        report.compare(f"MPEG-4, {width}x{height}", {"decoding": lambda: read_video(inside)}, len(small), "frames/s")
        encode = {"encoding": lambda: write_video(outside, large)}
        report.compare(f"MPEG-4, {2 * width}x{2 * height}", encode, len(large), "frames/s")
    return report.finish()


if __name__ == "__main__":
    run_script(main)
