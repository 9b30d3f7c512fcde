"""How a GPU multiplies float32."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def float32_products(tf32: bool | None) -> Iterator[None]:
    """Multiply float32 in TF32, which keeps 10 of 23 bits of each factor, or exactly, while the
    context lasts.

    Processors other than NVIDIA's from Ampere on know no TF32 and ignore it.

    Args:
        tf32: True for convolutions and matrix products in TF32, False for neither, None for what
            PyTorch is set to; by default that is convolutions alone.
    """
    if (
        tf32 is None
    ):  # also reading the settings fails where a program has set them by PyTorch's newer names
        yield
        return
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = tf32
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before
