"""`m2trans convert`: the authors' checkpoint -> a BasicSR checkpoint."""

import argparse
from pathlib import Path

HELP = "convert a checkpoint of the authors' released code to BasicSR's layout"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Source and destination."""
    parser.add_argument("official", type=Path, metavar="OFFICIAL.pt", help="file written by the authors' training code")
    parser.add_argument("--num-block", type=int, default=8, metavar="N", help="blocks of the network (default: 8)")
    parser.add_argument(
        "output", type=Path, metavar="OUT.pth", help="checkpoint to write, for path: pretrain_network_g"
    )


def run(args: argparse.Namespace) -> int:
    """Convert one file and print the network settings that it needs."""
    import io

    import torch

    from basicsr_m2trans.archs.official_checkpoint import read_official_checkpoint
    from basicsr_m2trans.atomic import write_atomic

    weights, settings = read_official_checkpoint(args.official, args.num_block)
    buffer = io.BytesIO()
    torch.save({"params": weights}, buffer)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.output, buffer.getvalue())
    count = sum(value.numel() for value in weights.values())
    print(f"{args.output}: M2Trans x{settings['upscale']}, {count:,} parameters. For the option file:")
    print("network_g:\n  type: M2Trans\n" + "\n".join(f"  {key}: {value}" for key, value in settings.items()))
    return 0
