"""`m2trans prepare`: training data from a folder of images."""

import argparse

HELP = "make HR and LR images, LMDB, captions and meta information from a folder of images"

# `m2trans lmdb` has the option too.
LMDB_OPTION = {
    "choices": ("png", "raw"),
    "default": "png",
    "help": "LMDB folders of PNG files, which stock BasicSR reads too (default), or of raw pixels, which take more "
    "disk and are read many times faster",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("hr_folder", help="folder of images (png, jpg, bmp, tif, webp), sub-folders included")
    parser.add_argument("out", help="output folder; a run that was interrupted goes on where it stopped")
    parser.add_argument("--scales", type=int, nargs="+", choices=(2, 3, 4), default=[2, 3, 4], help="default: 2 3 4")
    parser.add_argument("--seed", type=int, default=0, help="seed of the captions (default: 0)")
    parser.add_argument("--sub-image", type=int, metavar="SIZE", help="cut images into overlapping squares, e.g. 480")
    parser.add_argument("--step", type=int, help="distance between sub-images (default: half of SIZE)")
    parser.add_argument("--min-side", type=int, default=24, metavar="N", help="leave out smaller images (default: 24)")
    lmdb = parser.add_mutually_exclusive_group()
    lmdb.add_argument("--lmdb", **LMDB_OPTION)
    lmdb.add_argument("--no-lmdb", action="store_const", dest="lmdb", const=None, help="write image files only")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each processor core)")


def run(args: argparse.Namespace) -> int:
    """Prepare the data and print what was done and the options that use it."""
    from basicsr_m2trans.data.prepare import prepare

    summary = prepare(
        args.hr_folder,
        args.out,
        args.scales,
        args.seed,
        args.sub_image,
        args.step,
        args.lmdb,
        args.workers,
        args.min_side,
    )
    if summary.made or summary.removed or summary.lmdbs or summary.lmdbs_removed:
        print(f"{args.out}: {summary.images} HR images; {summary.made} sources read in this run")
    else:
        print(f"{args.out}: nothing to do, its {summary.images} HR images are up to date")
    if summary.removed:
        print(f"removed the images of {summary.removed} sources that no longer exist")
    if summary.lmdbs:
        print(f"wrote {', '.join(summary.lmdbs)}")
    if summary.lmdbs_removed:
        print(f"removed {', '.join(summary.lmdbs_removed)}, which had become out of date")
    if summary.skipped:
        print(f"skipped {len(summary.skipped)} sources:")
        print("\n".join(f"  {reason}" for reason in summary.skipped))
    out = args.out.rstrip("/")
    for scale in sorted(set(args.scales)):
        print(f"options of the data set for scale {scale}:")
        print("\n".join(f"  {line}" for line in option_lines(out, scale, args.lmdb)))
    return 0


def option_lines(out: str, scale: int, lmdb: str | None) -> list[str]:
    """What an option file needs to use the output folder and its LMDB folders, or its image files if `lmdb` is None."""
    from basicsr_m2trans.data.prepare_lmdb import lmdb_name

    if lmdb is None:
        gt, lq = "HR", f"LR_bicubic/X{scale}"
        backend = [f"filename_tmpl: '{{}}x{scale}'", "io_backend: {type: disk}"]
    else:
        gt, lq = lmdb_name(1, lmdb), lmdb_name(scale, lmdb)
        backend = ["io_backend: {type: lmdb}"]
    return [f"dataroot_gt: {out}/{gt}", f"dataroot_lq: {out}/{lq}", f"captions: {out}/captions.csv", *backend]
