"""`m2trans train-prior`: train the embedded prior on ultrasound images, or measure it on others."""

import argparse
import os
from pathlib import Path

from basicsr_m2trans.cli.arguments import add_number
from basicsr_m2trans.utils.errors import InputError

HELP = "train the embedded prior (QualityCLIPEncoder) on ultrasound images, or measure one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="images, sub-folders included, to train or to measure on",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("quality_clip.safetensors"),
        metavar="FILE",
        help="default: %(default)s",
    )
    add_number(parser, "--steps", 2400, "optimiser steps")
    add_number(parser, "--seed", 0, "of weights and batches")
    parser.add_argument(
        "--val",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="measure on it afterwards; repeatable",
    )
    parser.add_argument(
        "--data",
        metavar="TEXT",
        help="the images' source, kept in the file (default: folder names)",
    )
    parser.add_argument(
        "--licence", default="unknown", metavar="TEXT", help="the images' licence, kept in the file"
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="FILE",
        help="measure this file on the folders; no training",
    )


def run(args: argparse.Namespace) -> int:
    """Train, write the file and measure it; with --evaluate only measure."""
    from basicsr_m2trans.apps.prior.evaluation import evaluation_table
    from basicsr_m2trans.apps.prior.patches import read_grey_images
    from basicsr_m2trans.encoders.quality_clip import QualityCLIPEncoder

    if args.evaluate is not None:
        encoder, folders = QualityCLIPEncoder(args.evaluate), [*args.folders, *args.val]
        print("\n".join(f"{key}: {value}" for key, value in encoder.metadata.items()))
    else:
        folders = args.val
    held_out = {folder: read_grey_images(folder) for folder in folders}
    if args.evaluate is None:
        _train(args)
        encoder = QualityCLIPEncoder(args.out)
    for folder, images in held_out.items():
        print(f"\n{len(images)} images of {folder}\n{evaluation_table(encoder, images)}")
    return 0


def _train(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from basicsr_m2trans.apps.prior.patches import read_grey_images
    from basicsr_m2trans.apps.prior.training import code_version, train_prior
    from basicsr_m2trans.encoders.quality_clip import write_quality_clip

    if not args.out.absolute().parent.is_dir():
        raise InputError(f"--out {args.out}: its folder does not exist; make it or name another")
    if not os.access(args.out.absolute().parent, os.W_OK):
        raise InputError(f"--out {args.out}: its folder cannot be written to; name another")
    if args.out.is_dir():
        raise InputError(f"--out {args.out} is a folder; name a file in it")
    images = [image for folder in args.folders for image in read_grey_images(folder)]
    metadata = {
        "data": args.data or ", ".join(folder.resolve().name for folder in args.folders),
        "images": str(len(images)),
        "licence": args.licence,
        "commit": code_version(),
        "steps": str(args.steps),
        "seed": str(args.seed),
    }
    with tqdm(total=args.steps, unit="step") as bar:

        def report(step: int, terms: dict[str, float]) -> None:
            bar.update(step - bar.n)
            bar.set_postfix({name: f"{value:.3f}" for name, value in terms.items()}, refresh=False)

        model = train_prior(images, args.steps, args.seed, report)
    write_quality_clip(args.out, model, metadata)
    print(
        f"{args.out}: trained on {len(images)} images\n"
        f"In the option file: train: semantic_opt: encoder: {{type: QualityCLIPEncoder, "
        f"checkpoint: {args.out}}}"
    )
