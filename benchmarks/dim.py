"""PSNR of networks minus bicubic's on dim images: contrast times c, the result divided by c.

Arithmetic is that of floating-point numbers throughout, so that nothing but the network depends on
c: bicubic interpolation has the same PSNR for every c. PSNR is that of the protocol 'paper', of the
luma without a border of `scale` pixels; each figure's spread is over the images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from arguments import parse_arguments, run_script
from reporting import Report
from samples import evenly_chosen

from basicsr_m2trans.archs import Bicubic
from basicsr_m2trans.checkpoints.networks import find_model, load_network
from basicsr_m2trans.evaluation.protocols import paper_psnr
from basicsr_m2trans.utils.errors import InputError

CONTRASTS = (1, 0.5, 0.3, 0.25, 0.1, 0.0625, 0.03)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv, add_arguments=add_arguments, any_device=False)
    report = Report("dim", args)
    for model in args.model:
        trained = load_network(find_model(model))
        if trained.channels != 3:
            raise InputError(f"--model {model}: takes grey images; name networks for RGB images")
        pairs = list(
            evenly_chosen(args.data, trained.scale, args.images, 48 if args.quick else 256)
        )
        images = f"{len(pairs)} images of {args.data}" if args.data else f"{len(pairs)} phantoms"
        bicubic = [paper_psnr(Bicubic(trained.scale)(lr), hr, trained.scale) for lr, hr in pairs]
        case = f"{model} x{trained.scale} minus bicubic interpolation, {images}"
        for contrast in CONTRASTS:
            with torch.no_grad():
                results = [trained.network(lr * contrast) / contrast for lr, _ in pairs]
            values = [
                paper_psnr(sr, hr, trained.scale)
                for sr, (_, hr) in zip(results, pairs, strict=True)
            ]
            gains = [value - reference for value, reference in zip(values, bicubic, strict=True)]
            report.add(case, f"c = {contrast}, mean", "dB", [sum(gains) / len(gains)])
            report.add(case, f"c = {contrast}", "dB", gains)
    return report.finish()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is upscaled, and by what."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="what m2trans prepare wrote (default: phantoms)"
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=["m2trans-x4"],
        metavar="FILE|NAME",
        help="networks (default: m2trans-x4)",
    )
    parser.add_argument(
        "--images", type=int, default=17, metavar="N", help="how many at most (default: 17)"
    )


if __name__ == "__main__":
    run_script(main)
