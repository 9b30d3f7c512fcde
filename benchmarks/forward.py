"""Inference by the fast path, in float32 and bfloat16, against the literal computation in float32.

The literal computation (`fast: false`) has the operations of the authors' released code; all paths have the same
weights and input.
"""

from collections.abc import Sequence

import torch
from measuring import Report, parse_arguments, run_script
from networks import forward, networks

CASES = ((2, 192), (4, 96))  # scale and side of the LR image, of an HR patch of 384
QUICK_CASES = ((2, 32), (4, 32))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    report = Report("forward", args)
    for scale, side in QUICK_CASES if args.quick else CASES:
        literal, fast = networks(scale, args.quick)
        x = torch.rand(1, 3, side, side)
        report.compare(
            f"forward x{scale}, LR {side}x{side}",
            {
                "literal": forward(literal, x),
                "fast": forward(fast, x),
                "fast, bfloat16": forward(fast, x, bfloat16=True),
            },
        )
    return report.finish()


if __name__ == "__main__":
    run_script(main)
