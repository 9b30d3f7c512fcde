"""A training step (forward, L1 loss, backward, Adam) on the fast path against the literal computation.

The literal computation (`fast: false`, float32) has the operations of the authors' released code.
"""

import copy
from collections.abc import Sequence

import torch
from measuring import Report, parse_arguments, run_script
from networks import networks, training_step


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    report = Report("train", args)
    batch, side = (2, 32) if args.quick else (8, 64)
    literal, fast = networks(2, args.quick)
    x = torch.rand(batch, 3, side, side)
    report.compare(
        f"training step x2, batch {batch}, LR {side}x{side}",
        {
            "literal": training_step(literal, x),
            "fast": training_step(fast, x),
            "fast, bfloat16": training_step(copy.deepcopy(fast), x, bfloat16=True),
        },
    )
    return report.finish()


if __name__ == "__main__":
    run_script(main)
