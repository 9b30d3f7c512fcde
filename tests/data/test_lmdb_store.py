import multiprocessing
import os
import pickle
import subprocess
import sys

import cv2
import lmdb
import numpy as np
import pytest

from basicsr_m2trans import compat
from basicsr_m2trans.data import lmdb_store
from basicsr_m2trans.data.images import encode_png
from basicsr_m2trans.data.lmdb_store import LmdbReader, read_meta_info, write_lmdb
from basicsr_m2trans.utils.errors import InputError


@pytest.fixture
def folder(tmp_path):
    write_lmdb(tmp_path / "HR.lmdb", [("a", b"first", (4, 5, 3)), ("b", b"second", (6, 7, 1))])
    return tmp_path / "HR.lmdb"


def test_round_trip(folder):
    reader = LmdbReader(folder)
    assert reader.shapes == {"a": (4, 5, 3), "b": (6, 7, 1)}
    assert (reader.get("a"), reader.get("b")) == (b"first", b"second")
    assert sorted(path.name for path in folder.iterdir()) == [
        "data.mdb",
        "lock.mdb",
        "meta_info.txt",
    ]
    assert (folder / "meta_info.txt").read_text() == "a.png (4,5,3) 1\nb.png (6,7,1) 1\n"
    assert list(folder.parent.iterdir()) == [folder]


@pytest.fixture
def raw_images(random_image):
    return {
        "colour": random_image(4, 5, 3),
        "grey": random_image(7, 6, 1),
        "deep": random_image(5, 3, 3, dtype=np.uint16),
        "deep_grey": random_image(3, 3, 1, dtype=np.uint16),
    }


@pytest.fixture
def raw_folder(tmp_path, raw_images):
    write_lmdb(
        tmp_path / "HR.raw_lmdb", ((key, image, image.shape) for key, image in raw_images.items())
    )
    return tmp_path / "HR.raw_lmdb"


def test_raw_pixels_round_trip(raw_folder, raw_images):
    assert (raw_folder / "meta_info.txt").read_text().splitlines() == [
        "colour.raw (4,5,3) uint8",
        "grey.raw (7,6,1) uint8",
        "deep.raw (5,3,3) uint16",
        "deep_grey.raw (3,3,1) uint16",
    ]
    reader = LmdbReader(raw_folder)
    assert reader.shapes == {key: image.shape for key, image in raw_images.items()}
    assert reader.get("grey") == raw_images["grey"].tobytes()
    for key, image in raw_images.items():
        stored = reader.image(key)
        assert stored.dtype == image.dtype
        assert np.array_equal(stored, image)


@pytest.mark.parametrize("raw", [True, False])
def test_windows_are_cut_out(tmp_path, random_image, raw):
    image = random_image(9, 12, 3)
    write_lmdb(tmp_path / "HR.lmdb", [("a", image if raw else encode_png(image), image.shape)])
    reader = LmdbReader(tmp_path / "HR.lmdb")
    for window in (np.s_[0:9, 0:12], np.s_[2:7, 3:4], np.s_[8:9, 11:12]):
        assert np.array_equal(reader.image("a", window), image[window])


def test_raw_windows_are_copies(raw_folder, raw_images):
    reader = LmdbReader(raw_folder)
    window = reader.image("colour", np.s_[1:3, 1:3])
    write_lmdb(raw_folder, [("colour", np.zeros((4, 5, 3), np.uint8), (4, 5, 3))])
    assert np.array_equal(window, raw_images["colour"][1:3, 1:3])
    window[:] = 1
    assert not LmdbReader(raw_folder).image("colour").any()


def test_raw_pixels_are_stored_whatever_the_memory_layout(tmp_path, random_image):
    image = np.rot90(random_image(6, 4, 3, dtype=np.uint16).astype(">u2"))[:, ::2]
    write_lmdb(tmp_path / "HR.raw_lmdb", [("a", image, image.shape)])
    assert np.array_equal(LmdbReader(tmp_path / "HR.raw_lmdb").image("a"), image)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "grey.raw (7,6,3) uint8",
            r"has 42 bytes but meta_info\.txt says \(7, 6, 3\) of uint8, which makes 126",
        ),
        (
            "grey.raw (7,6,1) uint16",
            r"has 42 bytes but meta_info\.txt says \(7, 6, 1\) of uint16, which makes 84",
        ),
        ("grey.raw (6,6,1) uint8", r"has 42 bytes but .* which makes 36"),
        ("grey.png (7,6,1) 1", "cannot be read as an image"),
        ("gray.raw (7,6,1) uint8", "has no key 'gray'"),
    ],
)
def test_raw_pixels_that_do_not_fit_their_announcement_are_named(raw_folder, line, message):
    (raw_folder / "meta_info.txt").write_text(f"{line}\n")
    (key,) = (reader := LmdbReader(raw_folder)).shapes
    with pytest.raises(InputError, match=rf"HR\.raw_lmdb.*key '{key}'") as caught:
        reader.image(key, np.s_[0:1, 0:1])
    assert caught.match(message)


def test_png_files_of_another_size_are_named(tmp_path, random_image):
    write_lmdb(tmp_path / "HR.lmdb", [("a", encode_png(random_image(4, 5, 3)), (8, 5, 3))])
    with pytest.raises(
        InputError, match=r"HR\.lmdb, key 'a': is 5 x 4 but meta_info\.txt says 5 x 8"
    ):
        LmdbReader(tmp_path / "HR.lmdb").image("a")


def test_stock_basicsr_refuses_raw_pixels(raw_folder):
    """By the folder's name, before it reads anything; under a name that it accepts, at the first
    image.
    """
    compat.apply()
    from basicsr.data.single_image_dataset import SingleImageDataset

    opt = {"dataroot_lq": str(raw_folder), "io_backend": {"type": "lmdb"}}
    with pytest.raises(ValueError, match=r"Folder .*HR\.raw_lmdb.*lmdb format"):
        SingleImageDataset(opt)
    renamed = raw_folder.rename(raw_folder.with_suffix(".lmdb"))
    dataset = SingleImageDataset(
        opt | {"dataroot_lq": str(renamed), "io_backend": {"type": "lmdb"}}
    )
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'astype'"):
        dataset[0]


def test_reads_what_basicsr_writes(tmp_path, random_image):
    compat.apply()
    from basicsr.utils.lmdb_util import LmdbMaker

    image = random_image(4, 5, 3)
    maker = LmdbMaker(str(tmp_path / "HR.lmdb"), map_size=2**20)
    maker.put(encode_png(image), "1.2.840 left", image.shape)
    maker.close()
    reader = LmdbReader(tmp_path / "HR.lmdb")
    assert reader.shapes == {"1.2.840 left": (4, 5, 3)}
    decoded = cv2.imdecode(
        np.frombuffer(reader.get("1.2.840 left"), np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert np.array_equal(decoded, image)


def test_grows_beyond_the_first_map_size(tmp_path):
    value = os.urandom(2**25)
    write_lmdb(tmp_path / "HR.lmdb", ((str(n), value, (1, 1, 1)) for n in range(5)))
    reader = LmdbReader(tmp_path / "HR.lmdb")
    assert all(reader.get(str(n)) == value for n in range(5))


def test_reading_needs_no_lock_and_no_leave_to_write(folder):
    """Another process is writing to the LMDB, and there is no lock file, as on a read-only disk."""
    code = (
        f"import lmdb; t = lmdb.open({str(folder)!r}).begin(write=True); print(1, flush=True); "
        "input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as writer:
        assert writer.stdout.readline() == b"1\n"
        (folder / "lock.mdb").unlink()
        assert LmdbReader(folder).get("a") == b"first"
        assert sorted(path.name for path in folder.iterdir()) == ["data.mdb", "meta_info.txt"]
        writer.communicate(b"\n")


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


def test_a_failed_write_leaves_nothing(folder, monkeypatch):
    """Least of all what has filled the disk."""

    def put(*_):
        raise lmdb.DiskError("No space left on device")

    monkeypatch.setattr(lmdb_store, "_put", put)
    with pytest.raises(
        InputError, match=r"HR\.lmdb: cannot be written .*No space left on device.*disk full"
    ):
        write_lmdb(folder, [("a", b"third", (4, 5, 3))])
    assert list(folder.parent.iterdir()) == [folder]
    assert LmdbReader(folder).get("a") == b"first"


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
            os._exit(
                0 if reader._environment() is not environment and reader.get("a") == b"first" else 1
            )
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
        ("a.png (4,5,3) 1\na (4,5)\n", "line 2 is neither"),
        (
            "a.raw (4,5,3) 1\n",
            "line 1 is neither '<name>.png .h,w,c. 1' nor '<name>.raw .h,w,c. uint8'",
        ),
        ("a.png (4,5,3) uint8\n", "line 1 is neither"),
        ("a.raw (4,5,3) float32\n", "line 1 is neither"),
        ("a.png (4,5,3) 1\na.png (4,5,3) 1\n", "line 2 repeats 'a'"),
    ],
)
def test_bad_meta_information_is_refused(folder, content, message):
    (folder / "meta_info.txt").write_text(content)
    with pytest.raises(InputError, match=rf"meta_info\.txt: {message}"):
        read_meta_info(folder)


def test_a_data_file_cut_short_is_named_not_fatal(tmp_path):
    """LMDB maps the file; reading behind its end would end the process by a bus error."""
    write_lmdb(
        tmp_path / "HR.lmdb", [(f"image{i}", os.urandom(50_000), (4, 5, 3)) for i in range(20)]
    )
    data = tmp_path / "HR.lmdb/data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    with pytest.raises(InputError, match=r"data\.mdb is cut short"):
        LmdbReader(tmp_path / "HR.lmdb")
