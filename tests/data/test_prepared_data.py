"""What `prepare` makes, as stock BasicSR and this package's data set read it."""

import numpy as np
import pytest
import torch

from basicsr_m2trans import compat
from basicsr_m2trans.apps.preparation.prepare import prepare
from basicsr_m2trans.apps.preparation.prepare_image import Preparation
from basicsr_m2trans.apps.preparation.prepare_lmdb import lmdb_name
from basicsr_m2trans.data.captions import make_caption
from basicsr_m2trans.data.images import read_image
from basicsr_m2trans.data.paired_image_text_dataset import PairedImageTextDataset


def test_stock_basicsr_reads_the_lmdbs(hr, tmp_path):
    compat.apply()
    from basicsr.data.paired_image_dataset import PairedImageDataset

    out = tmp_path / "out"
    prepare(hr, out, Preparation(workers=1))
    for scale in (2, 3, 4):
        opt = {
            "dataroot_gt": str(out / "HR.lmdb"),
            "dataroot_lq": str(out / f"LR_bicubic_X{scale}.lmdb"),
            "io_backend": {"type": "lmdb"},
            "scale": scale,
            "phase": "val",
        }
        dataset = PairedImageDataset(opt)
        assert [paths["gt_path"] for paths in dataset.paths] == ["0000", "0001", "0002", "grey"]
        for item in dataset:
            for side, path in (
                ("gt", "HR/{}.png"),
                ("lq", f"LR_bicubic/X{scale}/{{}}x{scale}.png"),
            ):
                image = read_image(out / path.format(item["gt_path"]))
                rgb = np.broadcast_to(image[..., ::-1], (*image.shape[:2], 3)).transpose(2, 0, 1)
                assert torch.equal(
                    (item[side] * 255).round(), torch.from_numpy(rgb.astype(np.float32))
                )
        for environment in dataset.file_client.client._client.values():
            environment.close()


@pytest.mark.parametrize("lmdb", ["png", "raw", None])
def test_our_data_set_reads_all_of_it(hr, tmp_path, lmdb):
    out = tmp_path / "out"
    prepare(hr, out, Preparation(lmdb=lmdb, workers=1))
    opt = {
        "dataroot_gt": str(out / (lmdb_name(1, lmdb) if lmdb else "HR")),
        "dataroot_lq": str(out / (lmdb_name(2, lmdb) if lmdb else "LR_bicubic/X2")),
        "io_backend": {"type": "lmdb" if lmdb else "disk"},
        "filename_tmpl": "{}x2",
        "captions": str(out / "captions.csv"),
        "scale": 2,
        "phase": "train",
        "gt_size": 24,
        "use_hflip": True,
        "use_rot": True,
    }
    for meta_info_file in (None, str(out / "meta_info.txt")):
        dataset = PairedImageTextDataset(opt | {"meta_info_file": meta_info_file})
        assert [item["text"] for item in dataset] == [
            make_caption(n) for n in ("0000", "0001", "0002", "grey")
        ]
