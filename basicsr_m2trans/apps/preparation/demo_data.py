"""The data of `m2trans demo`: phantoms, prepared as a user would prepare scans."""

from pathlib import Path

from basicsr_m2trans.apps.preparation.phantom import write_phantoms
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation

DATA = Path("datasets/demo")
# Images per split, and the first phantom seed of each, so that no image is in both.
SPLITS = {"train": (40, 0), "val": (4, 1000)}


def make_demo_data(scale: int) -> None:
    """Write the prepared sets `train` and `val` to `DATA`, unless they are there."""
    for split, (count, seed) in SPLITS.items():
        images = DATA / "images" / split
        if len(list(images.glob("*.png"))) != count:
            write_phantoms(images, count, seed=seed)
        prepare(images, DATA / split, Preparation(scales=(scale,)))
