"""`m2trans lmdb`: LMDB folders from existing HR and LR folders."""

import argparse

from basicsr_m2trans.cli.prepare import LMDB_OPTION

HELP = "store existing folders of HR and LR images in LMDB folders"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--gt", required=True, metavar="FOLDER", help="HR images, e.g. MMUS1K_train_HR"
    )
    parser.add_argument(
        "--lq",
        required=True,
        metavar="FOLDER",
        help="LR images of one scale: 0001.png or 0001x2.png",
    )
    parser.add_argument(
        "--scale", type=int, choices=(2, 3, 4), help="default: found from names and sizes"
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="output folder, the same for all scales"
    )
    parser.add_argument(
        "--captions", metavar="CSV", help="captions by HR name (default: made from quality words)"
    )
    parser.add_argument("--lmdb", **LMDB_OPTION)


def run(args: argparse.Namespace) -> int:
    """Convert the folders and print what was done and the options that use the result."""
    from basicsr_m2trans.apps.preparation.paired_folders import convert_paired_folders
    from basicsr_m2trans.cli.prepare import option_lines, print_options

    done = convert_paired_folders(args.gt, args.lq, args.out, args.scale, args.captions, args.lmdb)
    print(f"{args.out}: {done.images} pairs of scale {done.scale}")
    if done.written:
        print(f"wrote {', '.join(done.written)}")
    if done.kept:
        print(f"kept {', '.join(done.kept)}, which held the same images already")
    if done.renamed:
        reason = "whose names do not suit BasicSR"
        print(f"renamed {done.renamed} images {reason}; see {args.out}/names.csv")
    print_options("", option_lines(args.out.rstrip("/"), done.scale, args.lmdb))
    return 0
