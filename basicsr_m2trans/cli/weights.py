"""`m2trans weights`: the published weights of image-text encoders."""

import argparse
from pathlib import Path

HELP = "download the weights of the semantic loss's encoder, or take them from a file"
# Where the option files look for them.
DEFAULT_FOLDER = Path("experiments/pretrained_models")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Encoder, folder and, without a download, the file."""
    parser.add_argument("encoder", choices=("medclip",), help="medclip: MedCLIP-ViT, about 500 MB")
    parser.add_argument(
        "--to",
        type=Path,
        default=DEFAULT_FOLDER,
        metavar="FOLDER",
        help=f"folder to keep them in ({DEFAULT_FOLDER})",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="archive, or pytorch_model.bin in it, fetched by hand",
    )


def run(args: argparse.Namespace) -> int:
    """Make the folder hold the weights and print where."""
    from basicsr_m2trans.encoders.medclip_download import checksum_file, fetch_medclip

    archive = fetch_medclip(args.to, args.source)
    print(f"{archive}: MedCLIP-ViT, complete; SHA-256 in {checksum_file(archive).name}")
    if args.to != DEFAULT_FOLDER:
        print(f"In the option file: train: semantic_opt: encoder: checkpoint: {archive}")
    return 0
