"""Ratio of the plain path's time to the fast path's: `python benchmarks/fast_path.py`.

The plain path computes the equations literally, with the operations of the authors' released code. Both paths run in
turn in one process, on the same weights and inputs, after a warm-up; printed are the median time of each and the
median of the paired ratios, with their extremes.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch

from basicsr_m2trans.archs import M2Trans


def paired(plain: Callable[[], None], fast: Callable[[], None], repetitions: int) -> tuple[list[float], list[float]]:
    """Seconds of both, measured in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for repetition in range(-2, repetitions):
        for run, values in zip((plain, fast), times, strict=True):
            start = time.perf_counter()
            run()
            if repetition >= 0:
                values.append(time.perf_counter() - start)
    return times


def forward(net: M2Trans, x: torch.Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """One inference."""

    def run() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            net(x)

    return run


def step(net: M2Trans, x: torch.Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """One training step: forward, L1 loss, backward, Adam."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-5)
    target = torch.rand(len(x), 3, x.shape[2] * net.upscale, x.shape[3] * net.upscale)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            out = net(x)
        optimizer.zero_grad()
        (out.float() - target).abs().mean().backward()
        optimizer.step()

    return run


def main() -> None:
    """Print one line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} threads, torch {torch.__version__}")
    print(f"{'case':34}{'plain s':>9}{'fast s':>9}{'ratio (min-max)':>20}")
    cases = (
        ("forward x2, LR 192", forward, 2, (1, 3, 192, 192)),
        ("forward x4, LR 96", forward, 4, (1, 3, 96, 96)),
        ("training step x2, batch 8, LR 64", step, 2, (8, 3, 64, 64)),
    )
    for name, make, upscale, shape in cases:
        nets = M2Trans(upscale, fast=False), M2Trans(upscale)
        nets[1].load_state_dict(nets[0].state_dict())
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.rand(shape)
            runs = make(nets[0], x, torch.float32), make(nets[1], x, dtype)
            plain, fast = paired(*runs, args.repetitions)
            ratios = sorted(a / b for a, b in zip(plain, fast, strict=True))
            label = name if dtype is torch.float32 else "  the fast path in bfloat16"
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
            print(f"{label:34}{statistics.median(plain):9.3f}{statistics.median(fast):9.3f}{spread:>20}", flush=True)


if __name__ == "__main__":
    main()
