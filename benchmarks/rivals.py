"""The networks that M2Trans is measured against: the paper's baselines and the searched one.

Their settings are those of the option files, so that there is one place for them.
"""

import copy
import functools
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from floors import compared_precisions
from networks import NetworkRun, named
from torch import nn

from basicsr_m2trans import register
from basicsr_m2trans.apps.report.methods import network_options

OPTIONS = Path(__file__).parents[1] / "options"
PUBLISHED = ("EDSR", "SwinIR", "ELAN", "HAT")
SEARCHED = "M2Trans_open"
QUICK = {
    "EDSR": {"num_feat": 8, "num_block": 1},
    "SwinIR": {"embed_dim": 12, "depths": [1], "num_heads": [2]},
    "ELAN": {"num_feat": 30, "num_block": 2},
    "HAT": {"embed_dim": 60, "depths": [1], "num_heads": [2]},
    SEARCHED: {"num_feat": 8, "num_block": 1, "num_res_block": 1},
}
# Takes a network, `precision` and, where the network is compiled, `counted`, the network itself.
MakeRun = Callable[..., NetworkRun]


def build(method: str, upscale: int, quick: bool, device: torch.device) -> nn.Module:
    """`options/**/train_METHOD_xSCALE.yml`'s network with random weights, smaller for `quick`."""
    register()
    from basicsr.archs import build_network

    logging.disable(logging.INFO)  # BasicSR tells of every network
    settings = network_options(method, upscale, OPTIONS) | (QUICK[method] if quick else {})
    return build_network(settings).eval().to(device)


def compiled(network: nn.Module, quick: bool) -> nn.Module:
    """What `torch.compile` makes of a network; for `quick` the graph alone, without its code."""
    return torch.compile(network, backend="aot_eager" if quick else "inductor")


def rivals(
    make_run: MakeRun,
    literal: nn.Module,
    upscale: int,
    quick: bool,
    device: torch.device,
    published: bool = True,
) -> dict[str, Callable[[], NetworkRun]]:
    """What makes each rival's run: the compiled literal path, the searched and published networks.

    Args:
        make_run: makes the run of a network in a precision.
        literal: the literal path.
        upscale, quick, device: of the networks. On a GPU there is a run for each precision, on a
            CPU, where they are slow, for float32.
        published: whether EDSR, SwinIR, ELAN and HAT are among them.
    """
    runs: dict[str, Callable[[], NetworkRun]] = {}
    for precision in compared_precisions(device):
        make_compiled = functools.partial(_compiled_run, make_run, literal, precision, quick)
        runs[named("literal, torch.compile", precision)] = make_compiled
        for method in (SEARCHED, *(PUBLISHED if published else ())):
            make_network = functools.partial(build, method, upscale, quick, device)
            runs[named(method, precision)] = functools.partial(
                _run, make_run, make_network, precision
            )
    return runs


def _compiled_run(make_run: MakeRun, literal: nn.Module, precision: str, quick: bool) -> NetworkRun:
    network = copy.deepcopy(literal)
    return make_run(compiled(network, quick), precision=precision, counted=network)


def _run(make_run: MakeRun, make_network: Callable[[], nn.Module], precision: str) -> NetworkRun:
    return make_run(make_network(), precision=precision)
