"""`m2trans export`: a trained network as a file for other programs."""

import argparse
from pathlib import Path

from basicsr_m2trans.cli.arguments import add_architecture

HELP = "write a trained network as ONNX, TorchScript or safetensors, checked against PyTorch"

ENDINGS = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "model",
        metavar="CHECKPOINT",
        help="e.g. experiments/NAME/models/net_g_latest.pth, or m2trans-x2",
    )
    parser.add_argument(
        "--format",
        required=True,
        choices=ENDINGS,
        help="safetensors takes every network, the others M2Trans",
    )
    parser.add_argument(
        "-o", "--out", required=True, type=Path, metavar="FILE", help=".onnx, .pt or .safetensors"
    )
    parser.add_argument(
        "--fp16", action="store_true", help="ONNX or safetensors in half precision, half as large"
    )
    parser.add_argument(
        "--note",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what a safetensors file says of itself, e.g. licence=...; several times for several",
    )
    settings = parser.add_argument_group("what the network is, if its file does not say it")
    add_architecture(settings)


def run(args: argparse.Namespace) -> int:
    """Write one file and print how it compares with PyTorch."""
    from basicsr_m2trans.utils.errors import InputError

    if args.out.suffix != ENDINGS[args.format]:
        raise InputError(
            f"-o {args.out}: a file for --format {args.format} must end in {ENDINGS[args.format]}"
        )
    if args.fp16 and args.format == "torchscript":
        raise InputError(
            "--fp16 goes with --format onnx or safetensors, not with torchscript; leave it out"
        )
    if args.note and args.format != "safetensors":
        raise InputError(
            f"--note goes with --format safetensors, not with {args.format}; leave it out"
        )
    notes = dict(note.partition("=")[::2] for note in args.note)
    if "" in notes or "" in notes.values() or len(notes) < len(args.note):
        raise InputError("--note: write it as KEY=VALUE, each KEY once")

    from basicsr_m2trans.apps import export
    from basicsr_m2trans.apps.export.agreement import SIZES, TIMED_SIZE
    from basicsr_m2trans.checkpoints.networks import find_model, load_network

    model = find_model(args.model)
    if args.format == "safetensors":
        count = export.export_safetensors(
            model, args.out, args.scale, args.arch, args.opt, half=args.fp16, notes=notes
        )
        print(f"{args.out}: {count:,} numbers and the network's settings")
        return 0
    net = load_network(model, args.scale, args.arch, args.opt).network
    if args.format == "onnx":
        agreement = export.export_onnx(net, args.out, args.fp16)
    else:
        agreement = export.export_torchscript(net, args.out)
    height, width = TIMED_SIZE
    speed = agreement.network_seconds / agreement.exported_seconds
    print(
        f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB; "
        f"largest difference from PyTorch on {len(SIZES)} sizes: {agreement.difference:.1e}"
    )
    print(
        f"{width} x {height} pixels: {agreement.exported_seconds:.3f} s, "
        f"PyTorch {agreement.network_seconds:.3f} s ({speed:.2f} times as fast)"
    )
    return 0
