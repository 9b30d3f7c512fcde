"""Frames per second of a cine loop of 640x480 upscaled x2, and of decoding and encoding it.

One by one and in batches of 8, the literal path and the fast one, in each precision on a GPU and in
bfloat16 on a CPU. Goals are for `Upscaler` with `compile` on a GPU of the class of an H100; on a
CPU it is a rival. Rivals are, in bfloat16, the fast path with all numbers of that type, `Upscaler`
as `m2trans upscale` uses it, and those of `m2trans bench forward`, of which the published networks
would take minutes a frame on a CPU and are left out there.
"""

import copy
import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from arguments import parse_arguments, run_script
from floors import measure_rates, precisions
from networks import NetworkRun, forward, forward_in_bfloat16, named, networks
from operators import add_operators
from reporting import Report
from rivals import rivals

from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference.upscaler import Upscaler

# Frames per second in bfloat16, by batch.
GOALS = {1: 60, 8: 100}
FASTEST = "Upscaler, compile"


def upscaling(network: M2Trans, frames: torch.Tensor, compile: bool = False) -> NetworkRun:
    """Upscaling frames by `Upscaler` in bfloat16; floors are those of the network alone."""
    upscaler = Upscaler(
        copy.deepcopy(network), 2, device=str(frames.device), precision="bfloat16", compile=compile
    )
    counted = forward(network, frames, "bfloat16")
    # Compiled networks run as CUDA graphs.
    return NetworkRun(lambda: upscaler(frames), "bfloat16", counted, peak=not compile)


def measure(report: Report, batch: int, height: int, width: int, quick: bool) -> Callable[[], None]:
    """Figures of one batch; where the goal is missed, with the operators of the fast path.

    Returns:
        What measures the rivals.
    """
    device = report.device
    literal, fast = networks(2, quick, device)
    frames = torch.rand(batch, 3, height, width, device=device)
    shown = precisions(device) if device.type == "cuda" else ("bfloat16",)
    runs = {named("literal", precision): forward(literal, frames, precision) for precision in shown}
    runs |= {named("fast", precision): forward(fast, frames, precision) for precision in shown}
    others = {
        "fast, all in bfloat16": functools.partial(forward_in_bfloat16, fast, frames),
        "Upscaler": functools.partial(upscaling, fast, frames),
    }
    published = quick or device.type == "cuda"
    others |= rivals(functools.partial(forward, x=frames), literal, 2, quick, device, published)
    case = f"x2, {width}x{height}, batch {batch}, {device}"
    report.compare(case, runs, batch, "frames/s")
    fastest = {FASTEST: functools.partial(upscaling, fast, frames, compile=True)}
    reference = next(iter(runs.values()))
    if device.type == "cuda":
        report.compare_made(case, fastest, reference, batch, "frames/s")
        if report.missed(case, FASTEST, GOALS[batch], "frames/s"):
            add_operators(report, f"{case}, operators", "fast, bfloat16", runs["fast, bfloat16"])
    else:
        others |= fastest
    return functools.partial(report.compare_rivals, case, others, reference, batch, "frames/s")


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
    report = Report("cine", args, measure_rates(args.device, args.quick))
    height, width = (48, 64) if args.quick else (480, 640)
    rivals_of_batches = [measure(report, batch, height, width, args.quick) for batch in GOALS]

    phantom = cv2.resize(cv2.cvtColor(make_phantom(0), cv2.COLOR_GRAY2BGR), (2 * width, 2 * height))
    large = [np.roll(phantom, shift, axis=1) for shift in range(16)]
    small = [cv2.resize(frame, (width, height)) for frame in large]
    with tempfile.TemporaryDirectory() as folder:
        inside, outside = Path(folder, "in.mp4"), Path(folder, "out.mp4")
        write_video(inside, small)
        report.compare(
            f"MPEG-4, {width}x{height}",
            {"decoding": lambda: read_video(inside)},
            len(small),
            "frames/s",
        )
        encode = {"encoding": lambda: write_video(outside, large)}
        report.compare(f"MPEG-4, {2 * width}x{2 * height}", encode, len(large), "frames/s")
    # They take long, and may be cut off.
    for measure_rivals in rivals_of_batches:
        measure_rivals()
    return report.finish()


if __name__ == "__main__":
    run_script(main)
