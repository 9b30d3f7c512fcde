"""`m2trans prepare`: training data from images and DICOM files, or from a published data set."""

import argparse
from dataclasses import fields
from typing import Any

from basicsr_m2trans.cli.arguments import add_number
from basicsr_m2trans.utils.errors import InputError

HELP = "make HR and LR images, LMDB and captions from a folder of images or ultrasound DICOM"

# `m2trans lmdb` has the option too.
LMDB_OPTION: dict[str, Any] = {
    "choices": ("png", "raw"),
    "default": "png",
    "help": "LMDB folders of PNG files, which stock BasicSR reads too (default), or of raw "
    "pixels, which take more disk and are read many times faster",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "hr_folder",
        help="folder of images (png, jpg, bmp, tif, webp) and ultrasound DICOM files, "
        "sub-folders included",
    )
    parser.add_argument(
        "out", help="output folder; a run that was interrupted goes on where it stopped"
    )
    parser.add_argument(
        "--preset",
        choices=("mmus1k", "cca-us", "us-case"),
        help="the folder is this published data set with its own LR images: check it and store "
        "it as it is",
    )
    parser.add_argument(
        "--scales", type=int, nargs="+", choices=(2, 3, 4), default=[2, 3, 4], help="default: 2 3 4"
    )
    add_number(parser, "--seed", 0, "seed of the captions")
    parser.add_argument(
        "--sub-image",
        type=int,
        metavar="SIZE",
        help="cut images into overlapping squares, e.g. 480",
    )
    parser.add_argument(
        "--step", type=int, help="distance between sub-images (default: half of SIZE)"
    )
    add_number(parser, "--min-side", 24, "leave out smaller images")
    add_number(parser, "--frame-step", 1, "use every N-th frame of a DICOM cine loop")
    parser.add_argument(
        "--whole-frames",
        action="store_true",
        help="take DICOM frames whole, not the region of the scan they state",
    )
    lmdb = parser.add_mutually_exclusive_group()
    lmdb.add_argument("--lmdb", **LMDB_OPTION)
    lmdb.add_argument(
        "--no-lmdb", action="store_const", dest="lmdb", const=None, help="write image files only"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each processor core)"
    )


def run(args: argparse.Namespace) -> int:
    """Prepare the data and print what was done and the options that use it."""
    if args.preset:
        return _run_preset(args)
    from basicsr_m2trans.apps.preparation.prepare import prepare
    from basicsr_m2trans.apps.preparation.prepare_image import Preparation

    settings = {field.name: getattr(args, field.name) for field in fields(Preparation)}
    summary = prepare(args.hr_folder, args.out, Preparation(**settings))
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
    if summary.dicom:
        print(
            f"{summary.dicom} sources are DICOM: look over their images, names may be burnt into "
            "the picture"
        )
    out = args.out.rstrip("/")
    for scale in sorted(set(args.scales)):
        print_options(f" for scale {scale}", option_lines(out, scale, args.lmdb))
    return 0


def _run_preset(args: argparse.Namespace) -> int:
    from basicsr_m2trans.apps.preparation.prepare_image import Preparation
    from basicsr_m2trans.apps.preparation.presets import prepare_published

    # Published images are taken as they are.
    unused = [
        field.name
        for field in fields(Preparation)
        if field.name not in ("scales", "lmdb") and getattr(args, field.name) != field.default
    ]
    unused += ["no_lmdb"] if args.lmdb is None else []
    if unused:
        options = ", ".join(f"--{option.replace('_', '-')}" for option in unused)
        raise InputError(
            f"{options}: has no meaning with --preset, which stores the published images as they "
            "are"
        )
    done = prepare_published(args.preset, args.hr_folder, args.out, args.scales, args.lmdb)
    print("\n".join(done.notes), end="\n" if done.notes else "")
    for (part, scale), conversion in done.conversions.items():
        out = f"{args.out.rstrip('/')}/{part}"
        print(
            f"{out}: {conversion.images} pairs of scale {scale}; wrote "
            f"{', '.join(conversion.written) or 'nothing'}"
        )
        lines = option_lines(out, scale, args.lmdb, conversion.hr)
        print_options(f" for {part}, scale {scale}", lines)
    return 0


def print_options(purpose: str, lines: list[str]) -> None:
    """Print lines of an option file under a heading."""
    print(f"options of the data set{purpose}:")
    print("\n".join(f"  {line}" for line in lines))


def option_lines(out: str, scale: int, lmdb: str | None, hr: str | None = None) -> list[str]:
    """What an option file needs to use an output folder.

    Args:
        out: the folder.
        scale: 2, 3 or 4.
        lmdb: format of the LMDB folders, or None to use the image files.
        hr: name of the HR images' LMDB folder, if it is not `HR.lmdb` or `HR.raw_lmdb`.
    """
    from basicsr_m2trans.apps.preparation.prepare_lmdb import lmdb_name

    if lmdb is None:
        gt, lq = "HR", f"LR_bicubic/X{scale}"
        backend = [f"filename_tmpl: '{{}}x{scale}'", "io_backend: {type: disk}"]
    else:
        gt, lq = hr or lmdb_name(1, lmdb), lmdb_name(scale, lmdb)
        backend = ["io_backend: {type: lmdb}"]
    return [
        f"dataroot_gt: {out}/{gt}",
        f"dataroot_lq: {out}/{lq}",
        f"captions: {out}/captions.csv",
        *backend,
    ]
