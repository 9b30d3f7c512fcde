"""The result of `m2trans demo`: a table and a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from basicsr_m2trans import Upscaler, register
from basicsr_m2trans.apps.report.figures import detail_panel
from basicsr_m2trans.apps.report.results import pixels
from basicsr_m2trans.data.images import read_image, to_tensor
from basicsr_m2trans.evaluation.prepared_set import build_set
from basicsr_m2trans.utils.figures import save_figure


def demo_result(
    test: dict[str, Any], data: Path, trained: Path, shipped: str, picture: Path
) -> str:
    """Table of the mean metrics of bicubic interpolation and both networks.

    Args:
        test: the option file of the test.
        data: the prepared set that was tested.
        trained: folder of the images that the test has saved.
        shipped: name of a network that comes with the package.
        picture: PNG to write, of a detail of the first image.
    """
    register()
    from basicsr.metrics import calculate_metric

    upscaler, metrics = Upscaler.from_checkpoint(shipped), test["val"]["metrics"]
    scores: dict[str, list[list[float]]] = {"bicubic": [], "M2Trans": [], shipped: []}
    dataset = build_set(data, test["scale"])
    for number, (pair, item) in enumerate(zip(dataset.pairs, dataset, strict=True)):
        hr, lr = pixels(item["gt"][None]), pixels(item["lq"][None])
        (sr_file,) = trained.glob(f"{pair.name}_*.png")
        images = {
            "bicubic": upscaler.bicubic(lr),
            "M2Trans": pixels(to_tensor(read_image(sr_file))[None]),
            shipped: upscaler(lr),
        }
        for method, image in images.items():
            # Phantoms are grey, so that the order of the channels does not matter.
            both = {"img": image, "img2": hr}
            scores[method].append([calculate_metric(both, each) for each in metrics.values()])
        if number == 0:
            # PSNR and SSIM come first in the option file.
            captions = {name: "{:.2f}/{:.4f}".format(*found[0]) for name, found in scores.items()}
            title = f"{pair.name}; PSNR/SSIM of the whole image"
            save_figure(detail_panel(hr, images, captions, title), picture)
    rows = [f"{'':10}" + "".join(f"{name.upper():>10}" for name in metrics)]
    for method, values in scores.items():
        rows.append(f"{method:10}" + "".join(f"{value:10.4f}" for value in np.mean(values, axis=0)))
    return "\n".join(rows)
