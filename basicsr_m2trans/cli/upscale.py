"""`m2trans upscale`: upscale images, videos and DICOM files with a trained network."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from basicsr_m2trans.cli.arguments import add_architecture, add_number

if TYPE_CHECKING:
    from basicsr_m2trans.apps.files.batch import Result

HELP = "upscale images, videos and ultrasound DICOM (research use, not for diagnosis)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="files, folders (structure kept) or patterns: png, jpg, tif, bmp, webp, mp4, avi, "
        "gif, DICOM",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="OUT",
        help="folder, or for one INPUT a file name (default: the folder upscaled_xS)",
    )
    parser.add_argument(
        "--scale",
        type=int,
        metavar="S",
        help="2, 3 or 4, with the networks that come with this package (docs/models.md)",
    )
    parser.add_argument(
        "--model",
        metavar="FILE|NAME",
        help="your own network, e.g. experiments/NAME/models/net_g_latest.pth",
    )
    settings = parser.add_argument_group(
        "what your own network is, if its file does not say it (with --scale)"
    )
    add_architecture(settings, scale=False)
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average over 8 flips and rotations; takes 8 times as long",
    )
    parser.add_argument(
        "--colour",
        choices=("luma", "rgb"),
        default="luma",
        help="images with colours: the network upscales their luma, and the colours are "
        "interpolated (default), or it upscales red, green and blue itself",
    )
    parser.add_argument(
        "--device",
        metavar="D[,D...]",
        help="cpu, cuda, cuda:1, ... (default: the GPU if there is one); cuda:0,cuda:1 share the "
        "files",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="frames of one size that are computed at once (default: 1 on the CPU, 8 on a GPU)",
    )
    precision = parser.add_mutually_exclusive_group()
    for option, value in (("--fp16", "float16"), ("--bf16", "bfloat16")):
        precision.add_argument(
            option,
            action="store_const",
            dest="precision",
            const=value,
            default="float32",
            help=value,
        )
    add_number(
        parser,
        "--max-memory",
        2048,
        "memory for M2Trans on one image where it is computed in strips: on the CPU, and on a GPU "
        "that cannot hold the whole image",
        "MIB",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the network first (minutes), for many images of one size",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="save bicubic | network side by side, as OUTPUT_compare.png",
    )
    parser.add_argument(
        "--deidentify",
        action="store_true",
        help="keep of DICOM only pixels, ultrasound regions and timing",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace results that exist (default: skip those files)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what became of each file")


def run(args: argparse.Namespace) -> int:
    """Upscale the files; status 1 if one failed."""
    import contextlib
    import functools
    import sys

    from tqdm import tqdm

    from basicsr_m2trans import Upscaler
    from basicsr_m2trans.apps.files.batch import run_jobs
    from basicsr_m2trans.apps.files.devices import Devices, split_devices
    from basicsr_m2trans.apps.files.dicom_identity import Deidentifier
    from basicsr_m2trans.apps.files.jobs import Job, plan_jobs
    from basicsr_m2trans.apps.files.media import Report
    from basicsr_m2trans.inference.upscaler import DISCLAIMER
    from basicsr_m2trans.utils.atomic import require_writable
    from basicsr_m2trans.utils.errors import InputError

    if args.model is None:
        if args.arch or args.opt:
            raise InputError(
                "--arch and --opt say what your own network is; name its file by --model"
            )
        if args.scale not in (2, 3, 4):
            raise InputError("give --scale 2, 3 or 4, or your own network by --model")
    if args.batch is not None and args.batch < 1:
        raise InputError(f"--batch must be at least 1, but is {args.batch}")
    devices = split_devices(args.device) if args.device is not None else []
    # A folder of its own for each scale: results that exist are not replaced.
    out = args.out or Path(f"upscaled_x{args.scale}" if args.scale else "upscaled")
    jobs = plan_jobs(args.inputs, out, args.deidentify)
    # One file may be named itself.
    require_writable(out.parent if jobs[0].target == out else out, f"-o {out}")
    if args.json:
        if args.json.is_dir():
            raise InputError(f"--json {args.json}: is a folder; name a file")
        require_writable(args.json.parent, f"--json {args.json}")
    make = functools.partial(
        Upscaler.from_checkpoint,
        args.model or f"m2trans-x{args.scale}",
        scale=args.scale,
        arch=args.arch,
        options=args.opt,
        precision=args.precision,
        self_ensemble=args.self_ensemble,
        colour=args.colour,
        max_memory=args.max_memory,
        compile=args.compile,
    )
    options = {
        "force": args.force,
        "compare": args.compare,
        "deidentifier": Deidentifier() if args.deidentify else None,
        "batch": args.batch,
    }
    results: list[Result] = []
    with contextlib.ExitStack() as stack:
        if len(devices) > 1:
            processes = stack.enter_context(Devices(make, devices, options))
            name, place, upscale = processes.name, ", ".join(devices), processes.run_jobs
        else:
            upscaler = make(device=devices[0] if devices else None)
            name, place = upscaler.name, str(upscaler.device)
            upscale = functools.partial(run_jobs, upscaler, **options)
        print(f"{name} on {place}; {DISCLAIMER}")
        # Also after Ctrl-C: it says what has been done.
        if args.json:
            stack.callback(lambda: _write_report(args.json, name, results))
        bar = stack.enter_context(tqdm(total=len(jobs), unit="file", disable=None))

        def report(job: Job) -> Report:
            name = job.source.name
            return lambda done, total: bar.set_postfix_str(f"{name}: {done}/{total or '?'}")

        for result in stack.enter_context(contextlib.closing(upscale(jobs, report=report))):
            results.append(result)
            bar.update()
            if result.message:
                bar.write(result.message, file=sys.stderr)
    found = [result.status for result in results]
    counts = (f"{found.count(status)} {status}" for status in ("done", "skipped", "failed"))
    print(f"{out}: {', '.join(counts)}")
    return 1 if "failed" in found else 0


def _write_report(path: Path, model: str, results: list["Result"]) -> None:
    import dataclasses
    import json

    from basicsr_m2trans.inference.upscaler import DISCLAIMER
    from basicsr_m2trans.utils.atomic import write_atomic

    content = {
        "model": model,
        "use": DISCLAIMER,
        "files": [dataclasses.asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=2).encode())
