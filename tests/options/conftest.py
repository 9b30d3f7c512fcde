"""The demo's option file with small LMDB folders of its own."""

from pathlib import Path

import numpy as np
import pytest

from basicsr_m2trans.data.captions import write_captions
from basicsr_m2trans.data.lmdb_store import write_lmdb

DEMO = Path(__file__).parents[2] / "options/demo/train_M2Trans_x2.yml"


@pytest.fixture
def stored(tmp_path):
    """Writes LMDB folders HR.lmdb and LR_bicubic_X2.lmdb with images of some sizes, and the demo's
    file for them.
    """

    def write(sizes):
        names = [f"i{number}" for number in range(len(sizes))]
        for folder, scale in (("HR", 1), ("LR_bicubic_X2", 2)):
            images = [
                np.zeros((height // scale, width // scale, 3), np.uint8) for height, width in sizes
            ]
            entries = [
                (name, image, image.shape) for name, image in zip(names, images, strict=True)
            ]
            write_lmdb(tmp_path / f"{folder}.lmdb", entries)
        write_captions(tmp_path / "captions.csv", dict.fromkeys(names, "a phantom"))
        path = tmp_path / "stored.yml"
        text = DEMO.read_text(encoding="utf-8")
        path.write_text(
            text.replace("datasets/demo/train/", f"{tmp_path}/").replace(
                "datasets/demo/val/", f"{tmp_path}/"
            )
        )
        return path

    return write
