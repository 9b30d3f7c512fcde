"""`m2trans crop`: crops of raw scans by LabelImg's annotations."""

import argparse

from basicsr_m2trans.cli.arguments import add_number

HELP = "crop raw scans to boxes drawn with LabelImg; leave out small and near-duplicate crops"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "images", help="folder of images (png, jpg, bmp, tif, webp), sub-folders included"
    )
    parser.add_argument(
        "out", help="output folder, new or empty: images/0001.png, ... and manifest.csv"
    )
    parser.add_argument(
        "--annotations",
        required=True,
        metavar="FOLDER",
        help="LabelImg's Pascal VOC (xml) or YOLO (txt) files, named like the images",
    )
    add_number(parser, "--min-width", 600, "least width in pixels")
    add_number(parser, "--min-height", 448, "least height in pixels")
    add_number(
        parser,
        "--max-distance",
        40,
        "leave out a crop whose perceptual hash of 256 bits differs in so many bits or fewer "
        "from that of an earlier one",
        "BITS",
    )


def run(args: argparse.Namespace) -> int:
    """Crop the images and print what was left out and why."""
    from basicsr_m2trans.apps.preparation.crop import crop_images

    crops = crop_images(
        args.images, args.out, args.annotations, args.min_width, args.min_height, args.max_distance
    )
    out = args.out.rstrip("/")
    kept = sum(bool(crop.image) for crop in crops)
    print(f"{out}/images: {kept} crops; where they come from: {out}/manifest.csv")
    left_out = [crop for crop in crops if crop.reason]
    if left_out:
        print(f"left out {len(left_out)}:")
        print("\n".join(f"  {crop.source}: {crop.reason}" for crop in left_out))
    return 0
