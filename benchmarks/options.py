"""Time and memory of a training step with each option of docs/training.md.

M2Trans x2, LR 64x64, batch 2, L1 alone. `compile` is measured on a GPU alone: on a CPU compiling
takes longer than all the rest. Peak memory is what the first step adds, gradients and the state of
Adam included.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from arguments import parse_arguments, run_script
from measuring import peak_memory
from model_step import model_step
from networks import QUICK_NETWORK
from reporting import Report

from basicsr_m2trans.models.precision import float32_products

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "amp: bf16": {"amp": "bf16"},
    "channels_last: true": {"channels_last": True},
    "checkpointing: true": {"checkpointing": True},
    "accumulate: 2": {"accumulate": 2},
    "grad_clip_norm: 1": {"grad_clip_norm": 1},
}
GPU_CASES: dict[str, dict[str, Any]] = {
    "tf32: true": {"tf32": True},
    "compile: true": {"compile": True},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    report = Report("options", args)
    side = 32 if args.quick else 64
    case = f"training step x2, batch 2, LR {side}x{side}"
    cases = CASES | (GPU_CASES if args.device.type == "cuda" else {})
    report.compare(
        case,
        {
            name: make_step(options, side, args.quick, args.device)
            for name, options in cases.items()
        },
    )
    peaks = {
        name: peak_memory(args.device, make_step, options, side, args.quick, args.device)
        for name, options in cases.items()
    }
    for name, peak in peaks.items():
        ratios = [peaks["plain"] / peak] if name != "plain" else None
        report.add(f"peak memory, {case}", name, "MiB", [peak], ratios)
    return report.finish()


def make_step(
    options: dict[str, Any], side: int, quick: bool, device: torch.device
) -> Callable[[], None]:
    """One step of `M2TransModel` on random patches; `options` go into the section `train`."""
    # Blocks repeat from two on.
    network = {
        "type": "M2Trans",
        "upscale": 2,
        **(QUICK_NETWORK | {"num_block": 2} if quick else {}),
    }
    train = {
        "optim_g": {"type": "Adam", "lr": 1e-5},
        "scheduler": {"type": "MultiStepLR", "milestones": [100]},
        "pixel_opt": {"type": "L1Loss"},
        **options,
    }
    opt = {"model_type": "M2TransModel", "scale": 2, "network_g": network, "train": train}
    step = model_step(opt, 2, side, device)

    def run() -> None:
        # The option `tf32` changes it for its own step.
        with float32_products(False):
            step()

    return run


if __name__ == "__main__":
    run_script(main)
