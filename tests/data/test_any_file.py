"""Files of all kinds, whole and damaged, are read or refused by name, never end in an unexpected
error.
"""

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basicsr_m2trans.apps.preparation.annotations import read_boxes
from basicsr_m2trans.apps.preparation.manifest import Manifest
from basicsr_m2trans.apps.preparation.prepare_image import Job, Preparation, make_images
from basicsr_m2trans.data.captions import read_captions
from basicsr_m2trans.data.images import read_image, read_size
from basicsr_m2trans.data.lmdb_store import read_meta_info
from basicsr_m2trans.utils.errors import InputError

FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def texts_of(*pieces):
    """Bytes without meaning, and texts of a format's own pieces, which reach further into its
    reader.
    """
    piece = st.one_of(st.sampled_from(pieces), st.sampled_from(pieces), st.text(max_size=4))
    text = st.lists(piece, max_size=12).map("".join)
    return st.one_of(
        st.binary(max_size=60), text.map(lambda some: some.encode(errors="surrogatepass"))
    )


def reads_or_refuses(read, name, data):
    """What `read` makes of a file of `data`; None where it refuses it, which it does by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        result, refusal = None, ""
        try:
            result = read(path)
        except InputError as error:
            refusal = str(error)
        assert not refusal or folder in refusal
        return result


@FEW
@given(
    texts_of(
        "image,caption\n", "a.png,", "b,", "a nice image", '"', "\r", "\n", ",", "\0", "\ufeff"
    )
)
def test_captions(data):
    captions = reads_or_refuses(read_captions, "captions.csv", data)
    assert captions is None or all(
        name and text == text.strip() != "" for name, text in captions.items()
    )


@FEW
@given(texts_of("0 0.5 0.5 0.5 0.5\n", "0 nan 0 0 0\n", "1e999 ", "0 ", "\n", "-", "_1"))
def test_annotations_of_yolo(data):
    boxes = reads_or_refuses(lambda path: read_boxes(path, (8, 8)), "a.txt", data)
    assert boxes is None or all(isinstance(edge, int) for box in boxes for edge in box)


@FEW
@given(
    st.sampled_from(
        ["", *(f'<?xml version="1.0" encoding="{name}"?>' for name in ("ascii", "utf-16", "none"))]
    ),
    st.sampled_from(
        [
            "",
            "<size><height>9</height><width>8</width></size>",
            "<size/>",
            '<!DOCTYPE a [<!ENTITY b "c">]>',
        ]
    ),
    texts_of("1", "-2.5", "nan", "1e999", " ", "<a/>", "&b;", "&#0;", "</xmin>", "<ymax>"),
)
def test_annotations_of_voc(declaration, size, edge):
    box = "<ymin>2</ymin><xmax>3</xmax><ymax>4</ymax><xmin>"
    before = f"{declaration}<annotation>{size}<object><bndbox>{box}"
    data = before.encode() + edge + b"</xmin></bndbox></object></annotation>"
    boxes = reads_or_refuses(lambda path: read_boxes(path, (8, 8)), "a.xml", data)
    assert boxes is None or [box[1:] for box in boxes] == [(2, 3, 4)]


@FEW
@given(
    texts_of(
        "a",
        ".png",
        ".raw",
        " ",
        "(4,5,3)",
        "(0,99999999999999999999,3)",
        "1",
        "uint8",
        "uint16",
        "\n",
    )
)
def test_lists_of_an_lmdb(data):
    images = reads_or_refuses(lambda path: read_meta_info(path.parent), "meta_info.txt", data)
    assert images is None or all(len(image.shape) == 3 for image in images.values())


@FEW
@given(
    st.recursive(
        st.one_of(st.none(), st.integers(0, 3), st.text(max_size=3)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=2),
            st.dictionaries(
                st.sampled_from(["parameters", "scales", "sources", "lmdbs", "a"]),
                inner,
                max_size=4,
            ),
        ),
    )
)
def test_manifests(content):
    reads_or_refuses(
        lambda path: Manifest(path.parent, {}, [2]), "manifest.json", json.dumps(content).encode()
    )


@pytest.mark.filterwarnings("ignore:(Corrupt EXIF|Truncated File):UserWarning:PIL")
@FEW
@given(
    st.sampled_from([".png", ".jpg", ".tif", ".bmp", ".webp"]),
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4])),
    st.floats(0, 1),
    st.binary(max_size=8),
)
def test_images_that_are_damaged_anywhere(suffix, shape, where, inserted):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    cut = int(where * len(data))
    for damaged in (data[:cut], data[:cut] + inserted + data[cut + len(inserted) :]):
        image = reads_or_refuses(read_image, f"a{suffix}", damaged)
        assert image is None or (image.dtype == np.uint8 and image.shape[2] in (1, 3))
        size = reads_or_refuses(read_size, f"a{suffix}", damaged)
        assert size is None or all(isinstance(side, int) for side in size)


@pytest.fixture
def ultrasound(make_dicom_image, random_image):
    """The bytes of a DICOM file with a region of the scan, which two tests may damage."""
    return make_dicom_image(random_image(30, 40), regions=[(1, 1, 2, 2, 37, 27)]).read_bytes()


@FEW
@given(st.floats(0, 1), st.binary(max_size=8), st.floats(0.5, 1))
def test_dicom_files_that_are_damaged_anywhere(ultrasound, where, inserted, kept):
    """They become an image or a reason, which does not hold the file's path."""
    cut = int(where * len(ultrasound))
    data = (ultrasound[:cut] + inserted + ultrasound[cut + len(inserted) :])[
        : int(kept * len(ultrasound))
    ]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "DOE.dcm").write_bytes(data)
        job = Job(Path(folder), Path(folder, "out"), (2,), Preparation())
        for made in (job.hr_file("a"), job.lr_file("a", 2)):
            made.parent.mkdir(parents=True)
        record = make_images(job, "DOE.dcm", "a")
        assert (record.skipped is None) == bool(record.images)
        assert "DOE" not in (record.skipped or "")
        assert all(path.exists() == bool(record.images) for path in job.files("a"))
