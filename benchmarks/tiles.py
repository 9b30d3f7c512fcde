"""How far the result of tiles is from that of the whole image, for margins of 16 to 128 pixels.

Every attention stage reaches a window and its halo further, about 100 pixels a module, and a tile's
windows begin at its own corner, so that no margin is exact; how much is lost depends on the trained
weights. The HR images of a set are upscaled, because LR images are hardly larger than a tile with
its margin. Differences are of values in [0, 255], their spread is over the images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from arguments import parse_arguments, run_script
from reporting import Report
from samples import evenly_chosen

from basicsr_m2trans.checkpoints.networks import find_model, load_network
from basicsr_m2trans.inference import tiling_difference

MARGINS = (16, 32, 64, 96, 128)
TILE = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv, add_arguments=add_arguments, any_device=False)
    report = Report("tiles", args)
    trained = load_network(find_model(args.model))
    side = 48 if args.quick else 512
    images = [image for _, image in evenly_chosen(args.data, trained.scale, args.images, side)]
    if args.quick:  # images of a set are larger than phantoms
        images = [image[..., :side, :side] for image in images]
    tile = 16 if args.quick else TILE
    case = (
        f"{args.model} x{trained.scale}, tiles of {tile} pixels, {len(images)} images of "
        f"{args.data or 'phantoms'}"
    )
    for margin in MARGINS[:1] if args.quick else MARGINS:
        found = [
            tiling_difference(trained.network, image, trained.scale, tile, margin)
            for image in images
        ]
        report.add(
            case, f"margin {margin}: mean difference", "of 255", [255 * each.mean for each in found]
        )
        report.add(
            case,
            f"margin {margin}: largest difference",
            "of 255",
            [255 * each.largest for each in found],
        )
    return report.finish()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is upscaled, and by what."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="what m2trans prepare wrote (default: phantoms)"
    )
    parser.add_argument(
        "--model", default="m2trans-x4", metavar="FILE|NAME", help="default: m2trans-x4"
    )
    parser.add_argument(
        "--images", type=int, default=4, metavar="N", help="how many at most (default: 4)"
    )


if __name__ == "__main__":
    run_script(main)
