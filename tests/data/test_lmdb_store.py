import multiprocessing
import os
import pickle

import cv2
import lmdb
import numpy as np
import pytest

from basicsr_m2trans import compat
from basicsr_m2trans.data.images import encode_png
from basicsr_m2trans.data.lmdb_store import LmdbReader, read_meta_info, write_lmdb
from basicsr_m2trans.errors import InputError


@pytest.fixture
def folder(tmp_path):
    write_lmdb(tmp_path / "HR.lmdb", [("a", b"first", (4, 5, 3)), ("b", b"second", (6, 7, 1))])
    return tmp_path / "HR.lmdb"


def test_round_trip(folder):
    reader = LmdbReader(folder)
    assert reader.shapes == {"a": (4, 5, 3), "b": (6, 7, 1)}
    assert (reader.get("a"), reader.get("b")) == (b"first", b"second")
    assert sorted(path.name for path in folder.iterdir()) == ["data.mdb", "lock.mdb", "meta_info.txt"]
    assert (folder / "meta_info.txt").read_text() == "a.png (4,5,3) 1\nb.png (6,7,1) 1\n"
    assert list(folder.parent.iterdir()) == [folder]


def test_reads_what_basicsr_writes(tmp_path, random_image):
    compat.apply()
    from basicsr.utils.lmdb_util import LmdbMaker

    image = random_image(4, 5, 3)
    maker = LmdbMaker(str(tmp_path / "HR.lmdb"), map_size=2**20)
    maker.put(encode_png(image), "1.2.840 left", image.shape)
    maker.close()
    reader = LmdbReader(tmp_path / "HR.lmdb")
    assert reader.shapes == {"1.2.840 left": (4, 5, 3)}
    decoded = cv2.imdecode(np.frombuffer(reader.get("1.2.840 left"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded, image)


def test_grows_beyond_the_first_map_size(tmp_path):
    value = os.urandom(2**25)
    write_lmdb(tmp_path / "HR.lmdb", ((str(n), value, (1, 1, 1)) for n in range(5)))
    reader = LmdbReader(tmp_path / "HR.lmdb")
    assert all(reader.get(str(n)) == value for n in range(5))


def test_readers_share_one_environment(folder):
    first, second = LmdbReader(folder), LmdbReader(str(folder))
    assert first.get("a") == second.get("a") == b"first"


def test_replacing_reaches_open_readers(folder):
    reader = LmdbReader(folder)
    assert reader.get("a") == b"first"
    write_lmdb(folder, [("a", b"third", (4, 5, 3))])
    assert reader.get("a") == b"third"
    assert list(folder.parent.iterdir()) == [folder]


def test_interruption_keeps_the_old_folder(folder):
    def entries():
        yield "a", b"third", (4, 5, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lmdb(folder, entries())
    assert LmdbReader(folder).get("a") == b"first"
    write_lmdb(folder, [("c", b"fourth", (4, 5, 3))])
    assert LmdbReader(folder).shapes == {"c": (4, 5, 3)}
    assert list(folder.parent.iterdir()) == [folder]


def read_in_child(reader, queue):
    queue.put((reader.get("a"), reader.get("b")))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_readers_work_in_child_processes(folder, method):
    reader = LmdbReader(folder)
    assert reader.get("a") == b"first"
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=read_in_child, args=(reader, queue)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert [queue.get(timeout=10) for _ in children] == [(b"first", b"second")] * 2
    assert reader.get("b") == b"second"


def test_a_child_opens_its_own_environment(folder):
    reader = LmdbReader(folder)
    environment = reader._environment()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if reader._environment() is not environment and reader.get("a") == b"first" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader._environment() is environment
    assert reader.get("a") == b"first"


def test_reader_is_picklable(folder):
    assert pickle.loads(pickle.dumps(LmdbReader(folder))).get("a") == b"first"


def test_missing_key_is_named(folder):
    with pytest.raises(InputError, match=r"HR\.lmdb: has no key 'c'"):
        LmdbReader(folder).get("c")


def test_folders_that_are_no_lmdb_are_refused(tmp_path, folder):
    with pytest.raises(InputError, match="is not an LMDB folder of BasicSR"):
        LmdbReader(tmp_path)
    (folder / "data.mdb").write_bytes(b"junk" * 5000)
    with pytest.raises(InputError, match=r"HR\.lmdb: cannot be opened as an LMDB"):
        LmdbReader(folder)


def test_folders_that_other_code_holds_open_are_refused(folder):
    environment = lmdb.open(str(folder), readonly=True, lock=False)
    with pytest.raises(InputError, match="already open in this process"):
        LmdbReader(folder)
    environment.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "names no image"),
        ("a.png (4,5,3) 1\na (4,5)\n", "line 2 is not"),
        ("a.png (4,5,3) 1\na.png (4,5,3) 1\n", "line 2 repeats 'a'"),
    ],
)
def test_bad_meta_information_is_refused(folder, content, message):
    (folder / "meta_info.txt").write_text(content)
    with pytest.raises(InputError, match=rf"meta_info\.txt: {message}"):
        read_meta_info(folder)


def test_a_data_file_cut_short_is_named_not_fatal(tmp_path):
    """LMDB maps the file; reading behind its end would end the process by a bus error."""
    write_lmdb(tmp_path / "HR.lmdb", [(f"image{i}", os.urandom(50_000), (4, 5, 3)) for i in range(20)])
    data = tmp_path / "HR.lmdb/data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    with pytest.raises(InputError, match=r"data\.mdb is cut short"):
        LmdbReader(tmp_path / "HR.lmdb")
