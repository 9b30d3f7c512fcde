import itertools

import pytest

from basicsr_m2trans.apps.preparation.prepare_lmdb import lmdb_name
from basicsr_m2trans.data.lmdb_store import FORMATS, check_lmdb_format
from basicsr_m2trans.utils.errors import InputError


def test_names_tell_scales_and_formats_apart():
    names = [lmdb_name(scale, lmdb) for scale, lmdb in itertools.product((1, 2, 3, 4), FORMATS)]
    assert names[:4] == ["HR.lmdb", "HR.raw_lmdb", "LR_bicubic_X2.lmdb", "LR_bicubic_X2.raw_lmdb"]
    names += [
        lmdb_name(1, lmdb, hr_scale) for hr_scale, lmdb in itertools.product((2, 3, 4), FORMATS)
    ]
    assert names[8:10] == ["HR_X2.lmdb", "HR_X2.raw_lmdb"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("lmdb", FORMATS)
def test_only_what_stock_basicsr_reads_bears_the_name_it_demands(lmdb):
    assert lmdb_name(1, lmdb).endswith(".lmdb") == (lmdb == "png")


def test_unknown_formats_are_refused():
    check_lmdb_format("raw")
    with pytest.raises(InputError, match="lmdb: 'PNG' is none of png, raw"):
        check_lmdb_format("PNG")
