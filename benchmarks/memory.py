"""Peak memory and time of M2Trans x4 in strips (`inference.upscale_image`) and on the whole image.

Both take turns; on a CPU each run has a process of its own, whose libraries are loaded but which is
not warm; on a GPU it is warm. Peak memory is what the run adds to the network and its input; the
result, in float32, counts. Of the largest image only the strips are measured.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from arguments import parse_arguments, run_script
from measuring import peak_memory, seconds_of, warm_up
from networks import forward, networks
from reporting import Report

from basicsr_m2trans.inference import upscale_image
from basicsr_m2trans.models.precision import float32_products

UPSCALE = 4
# Width and height of the LR image, and the memory allowed in MiB.
COMPARED = (1024, 768, 1024)
STRIPS_ONLY = (2048, 1536, 2560)
QUICK_COMPARED = (96, 64, 1024)
QUICK_STRIPS_ONLY = (128, 96, 2560)


def make_run(
    device: torch.device,
    path: str,
    quick: bool,
    width: int,
    height: int,
    max_memory: int,
    folder: Path,
) -> Callable[[], None]:
    """One run, on weights and an image that are always the same.

    Args:
        device: that computes it.
        path: 'whole image' or 'strips'.
        quick: a tiny network.
        width, height: of the LR image.
        max_memory: for strips, in MiB.
        folder: where the run leaves its seconds and its result.
    """
    torch.manual_seed(0)
    _, net = networks(UPSCALE, quick, device)
    images = torch.rand(1, 3, height, width).to(device)

    def compute() -> torch.Tensor:
        with torch.no_grad(), float32_products(False):
            return net(images) if path == "whole image" else upscale_image(net, images, max_memory)

    # The first pass of a process loads libraries.
    forward(net, images[..., :32, :32])()
    if device.type == "cuda":
        warm_up(compute, device)

    def run() -> None:
        results: list[torch.Tensor] = []
        seconds = seconds_of(lambda: results.append(compute()), device)
        torch.save((seconds, results[0]), folder / path)

    return run


def measure(report: Report, paths: Sequence[str], quick: bool, case: tuple[int, int, int]) -> None:
    """Peak memory and time of each path against the first, and the difference of results."""
    peaks: dict[str, list[float]] = {path: [] for path in paths}
    times: dict[str, list[float]] = {path: [] for path in paths}
    width, height, max_memory = case
    title = f"x{UPSCALE}, LR {width}x{height}, max_memory {max_memory} MiB"
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(report.repetitions):
            results = []
            for path in paths:
                arguments = (report.device, path, quick, *case, Path(folder))
                peaks[path].append(peak_memory(report.device, make_run, *arguments))
                seconds, result = torch.load(Path(folder, path))
                times[path].append(seconds)
                results.append(result)
    for quantity, unit, values in (("peak", "MiB", peaks), ("time", "s", times)):
        for path in paths:
            ratios = [a / b for a, b in zip(values[paths[0]], values[path], strict=True)]
            report.add(
                title,
                f"{quantity}, {path}",
                unit,
                values[path],
                ratios if path != paths[0] else None,
            )
    if len(results) > 1:
        report.add(title, "largest difference", "", [(results[0] - results[1]).abs().max().item()])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    # On a CPU a repetition takes minutes.
    args = parse_arguments(__doc__, argv, repetitions=3 if torch.cuda.is_available() else 1)
    report = Report("memory", args)
    compared, strips_only = (
        (QUICK_COMPARED, QUICK_STRIPS_ONLY) if args.quick else (COMPARED, STRIPS_ONLY)
    )
    measure(report, ("whole image", "strips"), args.quick, compared)
    measure(report, ("strips",), args.quick, strips_only)
    return report.finish()


if __name__ == "__main__":
    run_script(main)
