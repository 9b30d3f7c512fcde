"""Inference by the fast path in each precision, against the literal path and rivals.

The literal computation (`fast: false`) has the operations of the authors' released code; both paths
have the same weights and input. Rivals are the literal path compiled by `torch.compile`, the fast
path with all numbers in bfloat16, the searched network of options/train_M2Trans_open_x*.yml, and
EDSR, SwinIR, ELAN and HAT at their published sizes. The last two columns are floors
(benchmarks/floors.py) and the share of the larger one that is reached.
"""

import functools
from collections.abc import Sequence

import torch
from arguments import parse_arguments, run_script
from floors import compared_precisions, measure_rates, precisions
from networks import forward, forward_in_bfloat16, named, networks
from reporting import Report
from rivals import rivals

CASES = ((2, 192), (4, 96))  # scale and side of the LR image, of an HR patch of 384
QUICK_CASES = ((2, 32),)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    report = Report("forward", args, measure_rates(args.device, args.quick))
    rivals_of_cases = []
    for scale, side in QUICK_CASES if args.quick else CASES:
        literal, fast = networks(scale, args.quick, args.device)
        x = torch.rand(1, 3, side, side, device=args.device)
        others = rivals(functools.partial(forward, x=x), literal, scale, args.quick, args.device)
        others |= {"fast, all in bfloat16": functools.partial(forward_in_bfloat16, fast, x)}
        runs = {
            named("literal", each): forward(literal, x, each)
            for each in compared_precisions(args.device)
        }
        runs |= {named("fast", each): forward(fast, x, each) for each in precisions(args.device)}
        case = f"forward x{scale}, LR {side}x{side}"
        report.compare(case, runs)
        rivals_of_cases.append((case, others, runs["literal"]))
    # They take long, and may be cut off.
    for case, others, literal_run in rivals_of_cases:
        report.compare_rivals(case, others, literal_run)
    return report.finish()


if __name__ == "__main__":
    run_script(main)
