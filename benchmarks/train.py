"""A training step on the fast path in each precision, against the literal path.

The literal computation (`fast: false`) has the operations of the authors' released code; ratios are
to it in float32. The first case, on a GPU, has the paper's patches and both losses, MedCLIP with
random weights; the literal one computes Eq. 11-14 patch by patch and encodes the captions in each
step. Its goal is a ratio to the literal computation of the same precision. The second case has the
L1 loss alone, and rivals as `m2trans bench forward`.
"""

import copy
import functools
from collections.abc import Sequence

import torch
from arguments import parse_arguments, run_script
from floors import compared_precisions, measure_rates, precisions
from networks import named, networks, training_step
from operators import add_operators
from reporting import Report
from rivals import rivals
from semantic import CAPTIONS, literal_semantic_loss, random_medclip

from basicsr_m2trans.losses import ImageTextSemanticLoss

# Of a training step with both losses against the literal one of the same precision, on a GPU of the
# class of an H100.
GOAL = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    report = Report("train", args, measure_rates(args.device, args.quick))
    # The case with the goal comes before those that take long.
    if args.quick or args.device.type == "cuda":
        measure_both_losses(report, args.quick)
    batch, side = (2, 32) if args.quick else (8, 64)
    literal, fast = networks(2, args.quick, args.device)
    x = torch.rand(batch, 3, side, side, device=args.device)
    case = f"training step x2, batch {batch}, LR {side}x{side}"
    runs = {
        named("literal", precision): training_step(copy.deepcopy(literal), x, precision)
        for precision in compared_precisions(args.device)
    }
    runs |= {
        named("fast", precision): training_step(copy.deepcopy(fast), x, precision)
        for precision in precisions(args.device)
    }
    report.compare(case, runs)
    others = rivals(functools.partial(training_step, x=x), literal, 2, args.quick, args.device)
    report.compare_rivals(case, others, runs["literal"])
    return report.finish()


def measure_both_losses(report: Report, quick: bool) -> None:
    """The paper's step: batch 2, HR patch 384; where it misses its goal, with its operators."""
    patch = 64 if quick else 384
    literal, fast = networks(2, quick, report.device)
    x = torch.rand(len(CAPTIONS), 3, patch // 2, patch // 2, device=report.device)
    encoder = random_medclip(quick).to(report.device)
    loss = functools.partial(ImageTextSemanticLoss(encoder), captions=CAPTIONS)
    literal_loss = functools.partial(literal_semantic_loss, encoder, captions=CAPTIONS)
    steps = {}
    for precision in compared_precisions(report.device):
        step = training_step(copy.deepcopy(literal), x, precision, literal_loss)
        steps[named("literal, both losses", precision)] = step
    for precision in precisions(report.device):
        steps[named("fast, both losses", precision)] = training_step(
            copy.deepcopy(fast), x, precision, loss
        )
    case = f"training step x2, batch {len(x)}, HR {patch}"
    report.compare(case, steps)
    for precision in precisions(report.device):
        name, reference = (
            named("fast, both losses", precision),
            named("literal, both losses", precision),
        )
        if report.missed(case, name, GOAL, f"times {reference}", reference):
            add_operators(report, f"{case}, operators", name, steps[name])


if __name__ == "__main__":
    run_script(main)
