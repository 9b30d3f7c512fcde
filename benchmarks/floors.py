"""Two floors under a computation's time on a device, from rates of the same run.

The first floor is the bytes that its convolutions and matrix products read and write, each operand
and each result once, over the rate at which the device copies memory. The second is their
operations over the rate of a large matrix product of the same type. Neither can be undercut by a
better schedule of the same products, but they are no forecast: element-wise work (softmax,
normalisation, windows, the optimizer) is left out of both as if it were fused away, operands that
stay in a cache from one product to the next are counted again, and narrow products never run at the
rate of large ones. Where the caches of a device hold the operands, the floor by bytes can therefore
be above the measured time.
"""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from measuring import time_in_turn, warm_up
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import (
    flop_registry,
    register_flop_formula,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from basicsr_m2trans.models.precision import float32_products

aten = torch.ops.aten
# Bytes copied and side of the matrices, beyond all caches and large enough for full speed.
SIZES = {"cpu": (2**28, 2048), "cuda": (2**30, 8192)}
QUICK_SIZES = (2**22, 256)
REPETITIONS = 5

# What PyTorch's counter of operations has no formula for.
flop_registry.setdefault(aten.baddbmm_, flop_registry[aten.baddbmm])


@register_flop_formula(aten._scaled_dot_product_flash_attention_for_cpu)
def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


@register_flop_formula(aten._scaled_dot_product_flash_attention_for_cpu_backward)
def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


class Work(NamedTuple):
    """What the convolutions and matrix products of a computation are.

    Attributes:
        operations: multiplications and additions, by the type of the first operand.
        bytes: read and written, each operand and result once.
    """

    operations: Mapping[torch.dtype, int]
    bytes: int


class Rates(NamedTuple):
    """What a device can do at best, as measured.

    Attributes:
        copy: bytes per second, read and written ones.
        products: operations per second of a large matrix product, by precision ('float32', 'TF32',
            'bfloat16').
    """

    copy: float
    products: Mapping[str, float]

    def floors(self, work: Work, tf32: bool) -> tuple[float, float]:
        """Seconds by bytes and by operations; `tf32`: of products of float32 in TF32."""
        names = {torch.bfloat16: "bfloat16", torch.float32: "TF32" if tf32 else "float32"}
        seconds = sum(
            count / self.products[names[dtype]] for dtype, count in work.operations.items()
        )
        return work.bytes / self.copy, seconds


def precisions(device: torch.device) -> tuple[str, ...]:
    """What networks are computed in on a device."""
    return ("float32", "TF32", "bfloat16") if device.type == "cuda" else ("float32", "bfloat16")


def compared_precisions(device: torch.device) -> tuple[str, ...]:
    """What slow networks are computed in: all precisions on a GPU, float32 on a CPU."""
    return precisions(device) if device.type == "cuda" else ("float32",)


def measure_rates(device: torch.device, quick: bool) -> Rates:
    """The rates of a device, the best of several repetitions."""
    size, side = QUICK_SIZES if quick else SIZES[device.type]

    def shortest(run: Callable[[], object]) -> float:
        warm_up(run, device)
        return min(time_in_turn([run], REPETITIONS, device)[0])

    source = torch.rand(size // 4, device=device)
    target = torch.empty_like(source)
    copy = 2 * source.nbytes / shortest(lambda: target.copy_(source))
    products = {}
    for precision in precisions(device):
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        matrix = torch.rand(side, side, device=device).to(dtype)
        with float32_products(precision == "TF32"):
            products[precision] = (
                2 * side**3 / shortest(functools.partial(torch.matmul, matrix, matrix))
            )
    return Rates(copy, products)


def count_work(compute: Callable[[], object]) -> Work:
    """Operations and bytes of a computation, counted in one run; not of compiled networks."""
    with _Counter() as counter:
        compute()
    return Work(dict(counter.operations), counter.bytes)


class _Counter(TorchDispatchMode):
    """Counts while convolutions and matrix products run."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[torch.dtype] = Counter()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            operands = [
                leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)
            ]
            self.operations[operands[0].dtype] += formula(*args, **kwargs, out_val=result)
            results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
            self.bytes += _bytes(operands) + _bytes(results)
        return result


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    """Memory of tensors, of which some may be views of others: no storage counts more than once."""
    sums: Counter[int] = Counter()
    sizes: dict[int, int] = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        sums[storage.data_ptr()] += tensor.nbytes
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(min(count, sizes[place]) for place, count in sums.items())
