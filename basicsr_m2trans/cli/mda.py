"""`m2trans mda`: how networks' features follow their output from layer to layer (Fig. 6)."""

import argparse
from pathlib import Path

from basicsr_m2trans.cli.arguments import add_number
from basicsr_m2trans.cli.evaluate import add_network_arguments, result_name
from basicsr_m2trans.utils.errors import InputError

HELP = "draw the features of networks' CFTMs by manifold discovery and analysis (Fig. 6)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_network_arguments(
        parser,
        "of M2Trans, e.g. experiments/NAME/models/net_g_latest.pth or m2trans-x2; one row "
        "of the figure for each",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for the figure and the tables",
    )
    add_number(parser, "--crop", 64, "middle N x N pixels of each LR image")
    add_number(
        parser,
        "--components",
        400,
        "project N principal components of the features; N images have N - 1",
    )
    add_number(parser, "--seed", 0, "of the projection and UMAP")
    parser.add_argument(
        "--control",
        action="store_true",
        help="add a row for each network with pseudo-labels in random order: what the method "
        "draws without a cause",
    )


def run(args: argparse.Namespace) -> int:
    """Write figure and tables, and print each layer's trustworthiness."""
    from basicsr_m2trans.apps.analysis.layer_features import layer_features, load_m2trans, open_set
    from basicsr_m2trans.apps.analysis.manifold import MIN_IMAGES, analyse, require_umap
    from basicsr_m2trans.apps.analysis.manifold_files import write_manifolds
    from basicsr_m2trans.checkpoints.networks import find_model

    for option, value in (("--crop", args.crop), ("--components", args.components)):
        if value < 1:
            raise InputError(f"{option} {value}: give a number above 0")
    if not 0 <= args.seed < 2**32:
        raise InputError(f"--seed {args.seed}: give a number from 0 to 2**32 - 1")
    require_umap()
    paths = {model: find_model(model) for model in args.checkpoints}
    names = {model: result_name(path) for model, path in paths.items()}
    if len(set(names.values())) < len(args.checkpoints):
        raise InputError("some checkpoints have equal names, as would their rows; rename them")
    networks = {model: load_m2trans(path, args.opt) for model, path in paths.items()}
    sets = {model: open_set(args.data, scale, args.crop) for model, (_, scale) in networks.items()}
    if (count := min(len(dataset) for dataset in sets.values())) < MIN_IMAGES:
        raise InputError(
            f"--data {args.data} has {count} images; manifolds need at least {MIN_IMAGES}"
        )

    args.out.mkdir(parents=True, exist_ok=True)
    manifolds = []
    for model, (network, scale) in networks.items():
        features = layer_features(network, sets[model], args.crop, args.out)
        manifold = analyse(names[model], features, args.components, args.seed)
        manifolds.append(manifold)
        if args.control:
            name = f"{names[model]}, shuffled"
            manifolds.append(analyse(name, features, args.components, args.seed, True))
        values = " ".join(f"{value:.4f}" for value in manifold.trustworthiness)
        print(f"{model}, x{scale}, {len(features.images)} images of {args.data}")
        print(f"  trustworthiness of CFTM 1, 2, ...: {values}")
    write_manifolds(manifolds, args.out)
    print(f"{args.out}: mda.png, coordinates.csv and trustworthiness.csv")
    return 0
