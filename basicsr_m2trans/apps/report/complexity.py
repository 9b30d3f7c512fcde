"""Parameters, multiply-adds, latency and memory of networks (Tables I and IV).

The paper mixes conventions: its FLOPs of M2Trans, ELAN and ESRT are multiply-adds without the
attention's products, those of EDSR, SwinIR and HAT about twice the multiply-adds. Here all networks
are counted alike: the multiply-adds of every convolution and matrix product, attention included,
for the output of one 384 x 384 image.
"""

import copy
import multiprocessing
import platform
import re
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from basicsr_m2trans.archs.lookup import input_channels
from basicsr_m2trans.checkpoints.networks import build_network
from basicsr_m2trans.utils.processes import end_with_parent

# Side of the HR image (Sec. V-A.4).
HR_SIDE = 384
WARM_UP_RUNS = 2
TIMED_RUNS = 7

# Table I: millions of parameters and 'FLOPs (G)' by method and scale.
PAPER_FIGURES = {
    "EDSR": {2: (14.17, 915.26), 3: (14.17, 365.33), 4: (14.17, 230.34)},
    "SwinIR": {2: (11.75, 858.24), 3: (11.94, 369.61), 4: (11.90, 214.56)},
    "ELAN": {2: (3.56, 131.54), 3: (3.58, 58.79), 4: (3.61, 33.07)},
    "ESRT": {2: (4.89, 186.25), 3: (4.98, 82.78), 4: (4.96, 46.56)},
    "HAT": {2: (20.62, 1659.52), 3: (20.81, 714.70), 4: (20.77, 414.88)},
    "M2Trans": {2: (3.61, 20.23), 3: (3.63, 9.48), 4: (3.63, 5.87)},
}


@dataclass(frozen=True)
class Complexity:
    """Size and work of a network.

    Attributes:
        trainable: trainable parameters.
        total: all parameters; buffers, such as BatchNorm's statistics, are not among them.
        multiply_adds: of one forward pass.
    """

    trainable: int
    total: int
    multiply_adds: int

    @property
    def texts(self) -> list[str]:
        """Millions of parameters and GMACs for a table."""
        if not self.total:
            return ["-", "-"]
        return [f"{self.total / 1e6:.2f}", f"{self.multiply_adds / 1e9:.2f}"]


@dataclass(frozen=True)
class Cost:
    """Measured cost of a forward pass on this machine.

    Attributes:
        seconds: median of the timed runs.
        peak_bytes: on a GPU the most memory allocated beyond the weights; on the CPU the growth of
            the process's resident memory.
    """

    seconds: float
    peak_bytes: int


def complexity(network_g: dict[str, Any], hr_side: int = HR_SIDE) -> Complexity:
    """Count a network's parameters and multiply-adds on the meta device, computing nothing.

    M2Trans is counted as the paper's equations say (`fast: false`). Its fast path multiplies
    transforms into the weights and does without copies; the work on the image is the same.

    Args:
        network_g: the section of that name of an option file.
        hr_side: side of the square HR image in pixels; the LR image has `hr_side // upscale`.
    """
    network_g = copy.deepcopy(network_g)
    if network_g["type"] == "M2Trans":
        network_g["fast"] = False
    network = build_network(network_g, "network_g").to("meta")
    image = _image(network_g, hr_side).to("meta")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(image)
    parameters = list(network.parameters())
    return Complexity(
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        total=sum(parameter.numel() for parameter in parameters),
        multiply_adds=counter.get_total_flops() // 2,
    )


def measure_cost(network_g: dict[str, Any]) -> Cost:
    """Time a network in a fresh process: 2 warm-up runs, then the median of 7.

    Runs on the GPU if there is one, in float32.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=end_with_parent) as pool:
        return pool.submit(_measure, network_g).result()


def device_name() -> str:
    """What `measure_cost` runs on: the GPU, or the CPU and its number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"the CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def _measure(network_g: dict[str, Any]) -> Cost:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = build_network(network_g, "network_g").to(device)
    image = _image(network_g, HR_SIDE).to(device)
    before = _reset_memory(device)
    seconds = []
    with torch.no_grad():
        for _ in range(WARM_UP_RUNS + TIMED_RUNS):
            start = time.perf_counter()
            network(image)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    return Cost(statistics.median(seconds[WARM_UP_RUNS:]), _peak_memory(device) - before)


def _image(network_g: dict[str, Any], hr_side: int) -> torch.Tensor:
    side = hr_side // network_g["upscale"]
    return torch.zeros(1, input_channels(network_g), side, side)


def _reset_memory(device: str) -> int:
    """Memory in use, in bytes, from which the peak is counted."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    return _peak_memory(device)


def _peak_memory(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    if sys.platform == "linux":
        # Not ru_maxrss, which a process inherits from the one that started it.
        (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(kilobytes) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def complexity_table(rows: list[tuple[str, int, Complexity, Cost | None]]) -> str:
    """Markdown table of methods by scale beside the paper's figures; costs only where measured.

    Args:
        rows: method, scale, counts and measured cost.
    """
    timed = any(cost for *_, cost in rows)
    header = ["scale", "method", "trainable", "total", "GMACs"]
    header += ["paper: M parameters", "paper: GFLOPs"]
    header += ["ms", "peak MiB"] if timed else []
    lines = [header, [":--" if name == "method" else "--:" for name in header]]
    for method, scale, count, cost in sorted(rows, key=lambda row: row[1]):
        line = [f"x{scale}", method, f"{count.trainable:,}", f"{count.total:,}"]
        line.append(f"{count.multiply_adds / 1e9:.2f}")
        paper = PAPER_FIGURES.get(method, {}).get(scale)
        line += [f"{value:.2f}" for value in paper] if paper else ["", ""]
        if cost:
            line += [f"{cost.seconds * 1000:.1f}", f"{cost.peak_bytes / 2**20:.0f}"]
        elif timed:
            line += ["", ""]
        lines.append(line)
    return markdown_rows(lines)


def markdown_rows(lines: Iterable[Sequence[str]]) -> str:
    """Cells as lines of a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
