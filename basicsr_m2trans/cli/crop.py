"""`m2trans crop`: crops of raw scans by LabelImg's annotations."""

import argparse

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
    parser.add_argument(
        "--min-width", type=int, default=600, metavar="N", help="least width (default: 600 pixels)"
    )
    parser.add_argument(
        "--min-height",
        type=int,
        default=448,
        metavar="N",
        help="least height (default: 448 pixels)",
    )
    parser.add_argument(
        "--max-distance",
        type=int,
        default=40,
        metavar="BITS",
        help="leave out a crop whose perceptual hash of 256 bits differs in so many bits or fewer "
        "from that of an earlier one (default: 40)",
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
