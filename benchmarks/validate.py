"""What validation does with one image after the network: FSIM and GMSD against piq's, and the rest.

The difference of values is printed beside each pair of times. Both metrics compute on the CPU; with
a GPU piq's on it are measured too, and the copies from it are in the time of BasicSR's
`tensor2img`.
"""

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from arguments import parse_arguments, run_script
from reporting import Report

from basicsr_m2trans import compat
from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.metrics import calculate_fsim, calculate_gmsd

METRICS = {"FSIM": calculate_fsim, "GMSD": calculate_gmsd}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    compat.apply()
    height, width = (96, 128) if args.quick else (768, 1024)
    hr = cv2.cvtColor(make_phantom(0, height, width), cv2.COLOR_GRAY2BGR)
    lr = cv2.resize(hr, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    sr = cv2.resize(lr, (width, height), interpolation=cv2.INTER_CUBIC)

    report = Report("validate", args)
    for name, metric in METRICS.items():
        case = f"{name}, {width}x{height}"
        reference = functools.partial(piq_metric, name, sr, hr)
        ours = functools.partial(metric, sr, hr, crop_border=0)
        runs = {"library": reference, "here": ours}
        if args.device.type == "cuda":
            runs["library on the GPU"] = functools.partial(reference, device=args.device)
        report.compare(case, runs)
        report.add(case, "difference of values", "", [abs(reference() - ours())])

    from basicsr.metrics import calculate_psnr, calculate_ssim
    from basicsr.utils import imwrite, tensor2img

    with tempfile.TemporaryDirectory() as folder:
        x = torch.rand(1, 3, height, width, device=args.device)
        luma = {"crop_border": 2, "test_y_channel": True}
        rest = {
            "PSNR": lambda: calculate_psnr(sr, hr, **luma),
            "SSIM": lambda: calculate_ssim(sr, hr, **luma),
            "tensor2img of SR and HR": lambda: (tensor2img([x]), tensor2img([x])),
            "save PNG": lambda: imwrite(sr, str(Path(folder, "sr.png"))),
        }
        for name, run in rest.items():
            report.compare(f"BasicSR's loop, {width}x{height}", {name: run})
    return report.finish()


def piq_metric(
    name: str, sr: np.ndarray, hr: np.ndarray, device: torch.device | None = None
) -> float:
    """piq's FSIM or GMSD of two images, computed on a device."""
    import piq

    metric = {"FSIM": piq.fsim, "GMSD": piq.gmsd}[name]
    return metric(as_tensor(sr).to(device), as_tensor(hr).to(device)).item()


def as_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) BGR uint8 -> (1, 3, H, W) RGB float32 in [0, 1]."""
    return torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy())[None].float() / 255


if __name__ == "__main__":
    run_script(main)
