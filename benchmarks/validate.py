"""What validation does with one image after the network: each metric against BasicSR's or piq's,
and the rest.

The difference of values is printed beside each pair of times. The metrics of both compute on the
CPU; with a GPU piq's on it are measured too, and the copies from it are in the time of BasicSR's
`tensor2img`.
"""

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from arguments import parse_arguments, run_script
from reporting import Report

from basicsr_m2trans import compat
from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.metrics import basicsr_metrics, calculate_fsim, calculate_gmsd

Metric = Callable[[np.ndarray, np.ndarray], float]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_arguments(__doc__, argv)
    height, width = (96, 128) if args.quick else (768, 1024)
    hr = cv2.cvtColor(make_phantom(0, height, width), cv2.COLOR_GRAY2BGR)
    lr = cv2.resize(hr, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    sr = cv2.resize(lr, (width, height), interpolation=cv2.INTER_CUBIC)

    report = Report("validate", args)
    metrics = metric_pairs()
    for name, (reference, ours) in metrics.items():
        case = f"{name}, {width}x{height}"
        runs = {
            "library": functools.partial(reference, sr, hr),
            "here": functools.partial(ours, sr, hr),
        }
        if args.device.type == "cuda" and name in ("FSIM", "GMSD"):
            runs["library on the GPU"] = functools.partial(
                piq_metric, name, sr, hr, device=args.device
            )
        report.compare(case, runs)
        report.add(case, "difference of values", "", [abs(reference(sr, hr) - ours(sr, hr))])
    report.compare(
        f"all four, {width}x{height}",
        {
            "library": lambda: [reference(sr, hr) for reference, _ in metrics.values()],
            "here": lambda: [ours(sr, hr) for _, ours in metrics.values()],
        },
    )

    from basicsr.utils import imwrite, tensor2img

    with tempfile.TemporaryDirectory() as folder:
        x = torch.rand(1, 3, height, width, device=args.device)
        rest = {
            "tensor2img of SR and HR": lambda: (tensor2img([x]), tensor2img([x])),
            "save PNG": lambda: imwrite(sr, str(Path(folder, "sr.png"))),
        }
        for name, run in rest.items():
            report.compare(f"BasicSR's loop, {width}x{height}", {name: run})
    return report.finish()


def metric_pairs() -> dict[str, tuple[Metric, Metric]]:
    """By name, the library's metric of SR and HR and ours, with the settings of the
    option files.
    """
    compat.apply()
    from basicsr.metrics import psnr_ssim

    def psnr(sr: np.ndarray, hr: np.ndarray) -> float:
        return psnr_ssim.calculate_psnr(sr, hr, crop_border=2, test_y_channel=True)

    def ssim(sr: np.ndarray, hr: np.ndarray) -> float:
        return psnr_ssim.calculate_ssim(sr, hr, crop_border=2, test_y_channel=True)

    def accelerated(metric: Metric, sr: np.ndarray, hr: np.ndarray) -> float:
        # What `basicsr_m2trans.register()` does for good.
        parts = {"to_y_channel": basicsr_metrics.luma, "_ssim": basicsr_metrics.ssim_of_channel}
        with mock.patch.multiple(psnr_ssim, **parts):
            return metric(sr, hr)

    return {
        "PSNR": (psnr, functools.partial(accelerated, psnr)),
        "SSIM": (ssim, functools.partial(accelerated, ssim)),
        "FSIM": (
            functools.partial(piq_metric, "FSIM"),
            functools.partial(calculate_fsim, crop_border=0),
        ),
        "GMSD": (
            functools.partial(piq_metric, "GMSD"),
            functools.partial(calculate_gmsd, crop_border=0),
        ),
    }


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
