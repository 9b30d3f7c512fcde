"""Peak memory and time of M2Trans x4 in strips (`inference.enlarge`), against the forward of the whole image.

Peak memory is what one run in a fresh process adds to the network and its input; the result, in float32, counts. Times
are measured in turn in one process; that of the largest image, where the whole does not fit everywhere, once.
"""

import sys
import time
from collections.abc import Callable, Sequence

import torch
from measuring import Report, parse_arguments, peak_memory
from networks import networks

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.inference import enlarge

UPSCALE = 4
# Width and height of the LR image, and the memory allowed in MiB.
COMPARED = (1024, 768, 1024)
STRIPS_ONLY = (2048, 1536, 2560)
QUICK_COMPARED = (96, 64, 1024)
QUICK_STRIPS_ONLY = (128, 96, 2560)

Run = Callable[[], torch.Tensor]


def whole(quick: bool, width: int, height: int, _max_memory: int) -> Run:
    """The forward of the whole image."""
    net, images = _network(quick), _images(width, height)

    def run() -> torch.Tensor:
        with torch.no_grad():
            return net(images)

    return run


def strips(quick: bool, width: int, height: int, max_memory: int) -> Run:
    """The same in strips."""
    net, images = _network(quick), _images(width, height)
    return lambda: enlarge(net, images, max_memory)


def _network(quick: bool) -> M2Trans:
    torch.manual_seed(0)
    return networks(UPSCALE, quick)[1]


def _images(width: int, height: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv, repetitions=1)
    report = Report("memory", args)
    compared, strips_only = (QUICK_COMPARED, QUICK_STRIPS_ONLY) if args.quick else (COMPARED, STRIPS_ONLY)

    case = _name(compared)
    peaks = [peak_memory(make_run, args.quick, *compared) for make_run in (whole, strips)]
    report.add(case, "peak, whole image", "MiB", peaks[:1])
    report.add(case, "peak, strips", "MiB", peaks[1:], [peaks[0] / peaks[1]])
    results: dict[str, torch.Tensor] = {}
    report.compare(
        case,
        {
            "time, whole image": _kept(results, "whole", whole(args.quick, *compared)),
            "time, strips": _kept(results, "strips", strips(args.quick, *compared)),
        },
    )
    difference = (results["strips"] - results["whole"]).abs().max().item()
    report.add(case, "largest difference", "", [difference])
    results.clear()

    case = _name(strips_only)
    report.add(case, "peak, strips", "MiB", [peak_memory(strips, args.quick, *strips_only)])
    run = strips(args.quick, *strips_only)
    start = time.perf_counter()
    run()
    report.add(case, "time, strips", "s", [time.perf_counter() - start])
    return report.finish()


def _name(case: tuple[int, int, int]) -> str:
    width, height, max_memory = case
    return f"x{UPSCALE}, LR {width}x{height}, max_memory {max_memory} MiB"


def _kept(results: dict[str, torch.Tensor], name: str, run: Run) -> Callable[[], None]:
    """The run, which leaves its result in `results`."""

    def keep() -> None:
        results[name] = run()

    return keep


if __name__ == "__main__":
    sys.exit(main())
