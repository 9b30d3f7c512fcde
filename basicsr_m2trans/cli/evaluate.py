"""`m2trans evaluate`: measure checkpoints on a prepared set of images."""

import argparse
from pathlib import Path

from basicsr_m2trans.utils.errors import InputError

HELP = "measure networks (PSNR, SSIM, FSIM, GMSD) on a prepared set under both protocols"


def add_network_arguments(parser: argparse.ArgumentParser, checkpoints: str) -> None:
    """Declare the arguments that name networks and images; `checkpoints` is a help text."""
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help=checkpoints)
    parser.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="what m2trans prepare wrote"
    )
    parser.add_argument(
        "--opt",
        type=Path,
        metavar="FILE",
        help="the networks' option file (default: the settings in the checkpoint)",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_network_arguments(
        parser,
        "e.g. experiments/NAME/models/net_g_latest.pth, or a network that comes with this "
        "package: m2trans-x2",
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="upscale in tiles of N input pixels, for networks like ESRT (default: no)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write the values of each image to DIR as CSV"
    )


def run(args: argparse.Namespace) -> int:
    """Measure each checkpoint and print the averages; with --out keep the images' values."""
    from basicsr_m2trans.checkpoints.networks import find_model, load_network
    from basicsr_m2trans.evaluation import prepared_set
    from basicsr_m2trans.evaluation.protocols import METRICS, PROTOCOLS
    from basicsr_m2trans.inference.tiles import Tiled
    from basicsr_m2trans.utils.device import default_device

    paths = {model: find_model(model) for model in args.checkpoints}
    files = {model: result_name(path) for model, path in paths.items()}
    if args.out and len(set(files.values())) < len(files):
        raise InputError(
            f"--out {args.out}: some checkpoints have equal names; measure them one by one"
        )
    networks = {model: load_network(path, options=args.opt) for model, path in paths.items()}
    for model, trained in networks.items():
        network, scale = trained.network.to(default_device()), trained.scale
        if args.tile is not None:
            network = Tiled(network, scale, args.tile)
        scores = prepared_set.evaluate(network, args.data, scale)
        print(f"{model}, x{scale}, {len(scores.images)} images of {args.data}")
        print(f"  {'protocol':10}" + "".join(f"{name.upper():>10}" for name in METRICS))
        for protocol in PROTOCOLS:
            means = [scores.values[protocol, name].mean() for name in METRICS]
            print(f"  {protocol:10}" + "".join(f"{value:10.4f}" for value in means))
        if args.out:
            scores.write(args.out / f"{files[model]}.csv")
            print(f"  values of each image: {args.out / files[model]}.csv")
    return 0


def result_name(checkpoint: Path) -> str:
    """`NAME_net_g_latest` for experiments/NAME/models/net_g_latest.pth, else the file's name."""
    folder = checkpoint.resolve().parent
    return f"{folder.parent.name}_{checkpoint.stem}" if folder.name == "models" else checkpoint.stem
