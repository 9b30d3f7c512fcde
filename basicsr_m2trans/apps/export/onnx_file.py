"""M2Trans as an ONNX file."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from basicsr_m2trans.apps.export.agreement import TRACED_SIZE, Agreement, compare
from basicsr_m2trans.apps.export.dynamic_arch import DynamicM2Trans
from basicsr_m2trans.inference.upscaler import DISCLAIMER
from basicsr_m2trans.utils.atomic import replacing
from basicsr_m2trans.utils.errors import InputError

TOLERANCE = 1e-4
# Half the step between two 8-bit grey values.
HALF_TOLERANCE = 2e-3


def export_onnx(net: nn.Module, path: Path, half: bool = False) -> Agreement:
    """Write M2Trans as one ONNX file for images of any size, after checking it with onnxruntime.

    The graph pads and crops by itself: `image`, float32 (batch, C, height, width) in [0, 1],
    becomes `upscaled`, float32 (batch, C', upscale * height, upscale * width) in [0, 1].

    Args:
        net: an M2Trans in evaluation mode, on the CPU, with wavelet 'haar' or 'none'.
        path: the file to write or replace.
        half: keep and compute everything but InstanceNorm, input and output in float16.

    Raises:
        InputError: a package of the extra `export` is missing, `net` is another network or has
            another wavelet, or the file's results differ from the network's by more than 1e-4
            (float16: 2e-3); nothing is written then.
        OSError: the file cannot be written.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ModuleNotFoundError as error:
        raise InputError(
            f"ONNX needs the package {error.name}; install it with `pip install "
            "'basicsr_m2trans[export]'`"
        ) from error
    network = DynamicM2Trans(net, torch.float16 if half else torch.float32).eval()
    channels = network.head.in_channels
    example = torch.rand(2, channels, *TRACED_SIZE)
    with replacing(path) as partial:
        with warnings.catch_warnings():
            # PyTorch's exporter uses what PyTorch itself has declared old.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
                input_names=["image"],
                output_names=["upscaled"],
                verbose=False,
            )
        assert program is not None  # as always with dynamo=True
        program.model.metadata_props.update(
            architecture="M2Trans", scale=str(network.upscale), use=DISCLAIMER
        )
        program.save(partial, external_data=False)
        session = onnxruntime.InferenceSession(partial, providers=["CPUExecutionProvider"])

        def run(image: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

        return compare(net, channels, run, HALF_TOLERANCE if half else TOLERANCE, str(path))
