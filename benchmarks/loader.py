"""Pairs per second from image files, PNG LMDB and raw LMDB, and what the network consumes.

One process reads, as each loader process does; images are phantoms of 1024x768, patches the paper's
384 at x2. Then the network's step with patches that are on its device already, against one that
BasicSR's loader feeds from raw LMDB, with `prefetch_mode: cpu` and, on a GPU, with pinned memory
and `prefetch_mode: cuda`.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from arguments import parse_arguments, run_script
from networks import make_step, networks
from reporting import Report
from torch.utils.data import DataLoader

from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation
from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset
from basicsr_m2trans.models.precision import float32_products

SCALE, BATCH = 2, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    height, width, patch, images, passes = (
        (96, 128, 48, 2, 1) if args.quick else (768, 1024, 384, 8, 2)
    )
    report = Report("loader", args)
    with tempfile.TemporaryDirectory() as folder:
        sources, data = Path(folder, "images"), Path(folder, "data")
        write_phantoms(sources, images, height=height, width=width)
        for lmdb in ("png", "raw"):
            prepare(sources, data, Preparation(scales=(SCALE,), lmdb=lmdb, workers=1))
        report.compare(
            f"pairs x{SCALE}, HR patch {patch} of {width}x{height}",
            {
                "PNG LMDB": read_all(data, "HR.lmdb", f"LR_bicubic_X{SCALE}.lmdb", patch, passes),
                "PNG files": read_all(data, "HR", f"LR_bicubic/X{SCALE}", patch, passes),
                "raw LMDB": read_all(
                    data, "HR.raw_lmdb", f"LR_bicubic_X{SCALE}.raw_lmdb", patch, passes
                ),
            },
            items=images * passes,
            unit="pairs/s",
        )
        with float32_products(False):
            feed(
                report,
                training_set(data, "HR.raw_lmdb", f"LR_bicubic_X{SCALE}.raw_lmdb", patch),
                patch,
                args.quick,
            )
    for source in ("PNG LMDB", "PNG files", "raw LMDB"):
        supply = report.median(source) / report.median("patches on the device")
        report.add(
            "pairs read over pairs consumed",
            f"networks that one process feeds from {source}",
            "",
            [supply],
        )
    return report.finish()


def feed(report: Report, dataset: PairedImageTextDataset, patch: int, quick: bool) -> None:
    """Pairs per second of training steps, from memory and from the loader."""
    from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher

    _, network = networks(SCALE, quick, report.device)
    step = make_step(network, report.device)
    steps = 2 if quick else 8
    epoch = torch.utils.data.Subset(
        dataset, [index % len(dataset) for index in range(BATCH * steps)]
    )
    on_gpu = report.device.type == "cuda"
    workers = 0 if quick else min(4, os.cpu_count() or 1)

    def fed(
        prefetcher: Callable[[DataLoader], CPUPrefetcher | CUDAPrefetcher], pinned: bool
    ) -> Callable[[], None]:
        loader = DataLoader(
            epoch, BATCH, num_workers=workers, persistent_workers=workers > 0, pin_memory=pinned
        )

        def run() -> None:
            batches = prefetcher(loader)
            while (batch := batches.next()) is not None:
                step(*(batch[key].to(report.device, non_blocking=pinned) for key in ("lq", "gt")))

        return run

    target = torch.rand(BATCH, 3, patch, patch, device=report.device)
    x = target[..., ::SCALE, ::SCALE].contiguous()
    runs = {
        "patches on the device": lambda: [step(x, target) for _ in range(steps)],
        "prefetch_mode: cpu": fed(CPUPrefetcher, pinned=False),
    }
    if on_gpu:
        runs["prefetch_mode: cuda"] = fed(
            lambda loader: CUDAPrefetcher(loader, {"num_gpu": 1}), pinned=True
        )
    case = f"training step x{SCALE}, batch {BATCH}, HR patch {patch}, {workers} loader processes"
    report.compare(case, runs, items=BATCH * steps, unit="pairs/s")


def read_all(data: Path, gt: str, lq: str, patch: int, passes: int) -> Callable[[], None]:
    """Reads every pair, at a new crop in each pass."""
    dataset = training_set(data, gt, lq, patch)

    def run() -> None:
        for index in range(passes * len(dataset)):
            dataset[index]

    return run


def training_set(data: Path, gt: str, lq: str, patch: int) -> PairedImageTextDataset:
    """The pairs of two folders or LMDB below `data`."""
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
    return PairedImageTextDataset(options)


if __name__ == "__main__":
    run_script(main)
