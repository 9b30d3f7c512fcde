"""Pairs per second of the training data set from image files, PNG LMDB and raw LMDB, and what the network consumes.

One process reads, as each loader process does; images are phantoms of 1024x768, patches the paper's 384 at x2.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from measuring import Report, parse_arguments, run_script
from networks import networks, training_step

from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset
from basicsr_m2trans.data.phantom import write_phantoms
from basicsr_m2trans.data.prepare import prepare

SCALE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    height, width, patch, images, passes = (96, 128, 48, 2, 1) if args.quick else (768, 1024, 384, 8, 2)
    report = Report("loader", args)
    with tempfile.TemporaryDirectory() as folder:
        sources, data = Path(folder, "images"), Path(folder, "data")
        write_phantoms(sources, images, height=height, width=width)
        for lmdb in ("png", "raw"):
            prepare(sources, data, scales=(SCALE,), lmdb=lmdb, workers=1)
        report.compare(
            f"pairs x{SCALE}, HR patch {patch} of {width}x{height}",
            {
                "PNG LMDB": read_all(data, "HR.lmdb", f"LR_bicubic_X{SCALE}.lmdb", patch, passes),
                "PNG files": read_all(data, "HR", f"LR_bicubic/X{SCALE}", patch, passes),
                "raw LMDB": read_all(data, "HR.raw_lmdb", f"LR_bicubic_X{SCALE}.raw_lmdb", patch, passes),
            },
            items=images * passes,
            unit="pairs/s",
        )
    _, network = networks(SCALE, args.quick)
    x = torch.rand(2, 3, patch // SCALE, patch // SCALE)
    case = f"training step x{SCALE}, batch {len(x)}, HR patch {patch}"
    report.compare(case, {"network on this machine": training_step(network, x)}, items=len(x), unit="pairs/s")
    for source in ("PNG LMDB", "PNG files", "raw LMDB"):
        supply = report.median(source) / report.median("network on this machine")
        report.add(case, f"networks that one process feeds from {source}", "", [supply])
    return report.finish()


def read_all(data: Path, gt: str, lq: str, patch: int, passes: int) -> Callable[[], None]:
    """Reads every pair, at a new crop in each pass."""
    options = {
        "dataroot_gt": str(data / gt),
        "dataroot_lq": str(data / lq),
        "io_backend": {"type": "lmdb" if "lmdb" in gt else "disk"},
        "filename_tmpl": f"{{}}x{SCALE}",
        "captions": str(data / "captions.csv"),
        "scale": SCALE,
        "phase": "train",
        "gt_size": patch,
        "use_hflip": True,
        "use_rot": True,
    }
    dataset = PairedImageTextDataset(options)

    def run() -> None:
        for index in range(passes * len(dataset)):
            dataset[index]

    return run


if __name__ == "__main__":
    run_script(main)
