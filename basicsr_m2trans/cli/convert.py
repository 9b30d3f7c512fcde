"""`m2trans convert`: the authors' checkpoint of M2Trans, ELAN or ESRT -> BasicSR's layout."""

import argparse
from pathlib import Path

HELP = "convert a checkpoint of the released code of M2Trans, ELAN or ESRT to BasicSR's layout"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Source and destination."""
    text = "file written by the authors' training code"
    parser.add_argument("official", type=Path, metavar="OFFICIAL.pt", help=text)
    parser.add_argument(
        "--num-block",
        type=int,
        metavar="N",
        help="blocks that the network must have (default: M2Trans 8, the others as many as the "
        "file holds)",
    )
    parser.add_argument(
        "output",
        type=Path,
        metavar="OUT.pth",
        help="checkpoint to write, for path: pretrain_network_g",
    )


def run(args: argparse.Namespace) -> int:
    """Convert one file and print the network settings that it needs."""
    import io

    import torch

    from basicsr_m2trans.checkpoints.official_checkpoint import read_official_checkpoint
    from basicsr_m2trans.utils.atomic import write_atomic

    weights, network_g = read_official_checkpoint(args.official, args.num_block)
    buffer = io.BytesIO()
    torch.save({"params": weights, "network_g": network_g}, buffer)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.output, buffer.getvalue())
    count = sum(value.numel() for value in weights.values())
    print(
        f"{args.output}: {network_g['type']} x{network_g['upscale']}, {count:,} numbers. For the "
        "option file:"
    )
    print("network_g:\n" + "\n".join(f"  {key}: {value}" for key, value in network_g.items()))
    if network_g["type"] == "ELAN":
        print(
            "(window_sizes and img_range are in no weight: ELAN's own; change yours if they differ)"
        )
    return 0
