import pytest

from basicsr_m2trans.evaluation.set_folders import prepared_dataset
from basicsr_m2trans.utils.errors import InputError


def test_prepared_folders_are_read_as_lmdb_or_files(data, tmp_path):
    assert prepared_dataset(data / "val", 2)["io_backend"] == {"type": "lmdb"}
    for folder in ("HR", "LR_bicubic/X3"):
        (tmp_path / folder).mkdir(parents=True)
    files = prepared_dataset(tmp_path, 3)
    assert files["dataroot_lq"] == str(tmp_path / "LR_bicubic/X3")
    assert files["filename_tmpl"] == "{}x3"
    with pytest.raises(InputError, match="no HR and LR images of scale 4"):
        prepared_dataset(data / "val", 4)


def test_raw_lmdb_comes_first(tmp_path):
    for folder in (
        "HR.raw_lmdb",
        "LR_bicubic_X2.raw_lmdb",
        "HR.lmdb",
        "LR_bicubic_X2.lmdb",
        "LR_bicubic_X3.lmdb",
    ):
        (tmp_path / folder).mkdir()
    assert prepared_dataset(tmp_path, 2)["dataroot_lq"] == str(tmp_path / "LR_bicubic_X2.raw_lmdb")
    assert prepared_dataset(tmp_path, 3)["dataroot_gt"] == str(tmp_path / "HR.lmdb")
