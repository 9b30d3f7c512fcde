"""Size and direction of each loss term's gradient at the network's output (Eq. 14, Eq. 20).

For each image the network upscales a patch, and the gradients of L_fid (L1) and of L_sem (beta = 1)
with respect to the result are compared: their norms, the beta at which both would be equal, and the
cosine of L_sem's gradient and SR - HR. A positive cosine means that descending on L_sem brings SR
nearer to HR; random directions give about 0.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from arguments import parse_arguments, run_script
from reporting import Report
from samples import evenly_chosen
from torch import Tensor, nn

from basicsr_m2trans.archs import Bicubic
from basicsr_m2trans.checkpoints.networks import load_network
from basicsr_m2trans.losses import ImageTextSemanticLoss

ENCODERS = ("SeededCLIPEncoder", "QualityCLIPEncoder")
CAPTION = "a clean, clear, sharp ultrasound image"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; each figure's spread is over the images."""
    args = parse_arguments(__doc__, argv, add_arguments=add_arguments, any_device=False)
    report = Report("gradient", args)
    patch = 64 if args.quick else args.patch
    if args.model:
        trained = load_network(args.model)
        network, scale, name = trained.network, trained.scale, args.model.name
    else:
        scale = args.scale
        network, name = Bicubic(scale), "bicubic interpolation"
    pairs = list(patches(args.data, scale, patch, args.images))
    results = [upscaled(network, lr) for lr, _ in pairs]
    case = f"{name} x{scale}, {len(pairs)} HR patches of {patch}"
    fidelity = [
        gradient(nn.functional.l1_loss, sr, hr) for sr, (_, hr) in zip(results, pairs, strict=True)
    ]
    report.add(case, "L1: norm of the gradient", "", [value.norm().item() for value in fidelity])
    for encoder in ENCODERS:
        loss = ImageTextSemanticLoss(encoder, patch_size=min(96, patch), loss_weight=1.0)
        semantic = []
        for index, (sr, (_, hr)) in enumerate(zip(results, pairs, strict=True)):
            torch.manual_seed(index)
            semantic.append(gradient(lambda a, b, loss=loss: loss(a, b, [CAPTION]), sr, hr))
        norms = [value.norm().item() for value in semantic]
        equal = [a.norm().item() / max(b, 1e-30) for a, b in zip(fidelity, norms, strict=True)]
        cosines = [
            nn.functional.cosine_similarity(value.flatten(), (sr - hr).flatten(), dim=0).item()
            for value, sr, (_, hr) in zip(semantic, results, pairs, strict=True)
        ]
        report.add(case, f"{encoder}: norm of the gradient", "", norms)
        report.add(case, f"{encoder}: beta for equal norms", "", equal)
        report.add(case, f"{encoder}: cosine with SR - HR", "", cosines)
    return report.finish()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is upscaled, and by what."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="what m2trans prepare wrote (default: phantoms)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="CHECKPOINT", help="default: bicubic interpolation"
    )
    parser.add_argument(
        "--scale", type=int, default=4, choices=(2, 3, 4), help="without --model (default: 4)"
    )
    parser.add_argument(
        "--patch", type=int, default=252, metavar="N", help="side of the HR patches (default: 252)"
    )
    parser.add_argument(
        "--images", type=int, default=16, metavar="N", help="how many at most (default: 16)"
    )


def patches(
    folder: Path | None, scale: int, side: int, count: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Middle patches LR (1, 3, side / scale, same) and HR (1, 3, side, side) of `count` images."""
    for lr, hr in evenly_chosen(folder, scale, count, phantom_side=side):
        rows, columns = (min(side // scale, length) for length in lr.shape[-2:])
        top, left = (
            (length - kept) // 2
            for length, kept in zip(lr.shape[-2:], (rows, columns), strict=True)
        )
        hr = hr[..., top * scale : (top + rows) * scale, left * scale : (left + columns) * scale]
        yield lr[..., top : top + rows, left : left + columns], hr


@torch.no_grad()
def upscaled(network: nn.Module, lr: Tensor) -> Tensor:
    """SR of one patch."""
    return network(lr)


def gradient(loss: nn.Module, sr: Tensor, hr: Tensor) -> Tensor:
    """Gradient of `loss(sr, hr)` with respect to `sr`."""
    sr = sr.clone().requires_grad_()
    return torch.autograd.grad(loss(sr, hr), sr)[0]


if __name__ == "__main__":
    run_script(main)
