"""Files of all kinds, whole and damaged, end in a result or in a message, never in an unexpected
error.
"""

import re
import tempfile
from pathlib import Path

import cv2
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from basicsr_m2trans.apps.files.batch import run_jobs
from basicsr_m2trans.apps.files.jobs import Job
from basicsr_m2trans.data.image_file import read_image_file

FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")


def upscale_image(upscaler, source):
    """The result for one file; what `run_jobs` calls an unexpected error begins with the
    exception's type.
    """
    result = next(run_jobs(upscaler, [Job(source, source.with_name(f"out{source.suffix}"))]))
    assert result.status in ("done", "failed")
    assert not re.search(r": [A-Z]\w*(Error|Exception|Warning): ", result.message), result.message
    assert not list(source.parent.glob("*.partial"))
    return result


@FEW
@given(
    st.sampled_from(MODES),
    st.sampled_from([".png", ".jpg", ".tif", ".bmp", ".webp", ".gif"]),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.one_of(st.none(), st.floats(0, 1)),
    st.integers(0, 2**32 - 1),
)
def test_files_of_pillow(repeat, mode, suffix, size, kept, seed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        try:
            base = (
                Image.new(mode, size[::-1])
                if mode in ("I;16", "PA")
                else Image.fromarray(noise).convert(mode)
            )
            base.save(path)
        except (OSError, ValueError):  # formats that do not have this mode
            return
        if kept is not None:
            path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
        result = upscale_image(repeat, path)
        if result.status == "done":
            assert result.upscaled_size == (2 * size[1], 2 * size[0])
            with Image.open(result.target) as image:
                assert image.size == result.upscaled_size
        elif kept is None:
            assert mode in ("CMYK", "YCbCr", "LAB", "HSV", "I", "F")


@FEW
@given(
    st.sampled_from(["uint8", "uint16", "float32", "int16"]),
    st.sampled_from([1, 3, 4]),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from([".png", ".tif"]),
    st.one_of(st.none(), st.floats(0, 1)),
    st.integers(0, 2**32 - 1),
)
def test_files_of_opencv(repeat, repeated, dtype, channels, size, suffix, kept, seed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        pixels = np.random.default_rng(seed).integers(0, 200, (*size, channels)).astype(dtype)
        if suffix == ".png" and dtype in ("float32", "int16"):
            return  # PNG has neither
        path.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
        if kept is not None:
            path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
        result = upscale_image(repeat, path)
        if kept is None and dtype in ("uint8", "uint16"):
            written = read_image_file(Path(result.target)).pixels
            assert written.dtype == dtype
            colours = written[..., :3]
            assert np.array_equal(colours, repeated(pixels[..., :3][..., ::-1]))


@FEW
@given(st.floats(0, 1), st.sampled_from([(1, 5, 6), (2, 4, 4, 3)]), st.binary(max_size=8))
def test_damaged_dicom(repeat, make_dicom, noise, kept, shape, inserted):
    path = make_dicom(noise(*shape))
    data = path.read_bytes()
    cut = int(kept * len(data))
    path.write_bytes(data[:cut] + inserted + data[cut + len(inserted) :][: len(data) // 2])
    (path.parent / "out.dcm").unlink(missing_ok=True)
    upscale_image(repeat, path)


@FEW
@given(
    st.binary(max_size=200),
    st.sampled_from([".png", ".jpg", ".tif", ".gif", ".mp4", ".avi", ".dcm", ".webp"]),
)
def test_bytes_without_meaning(repeat, data, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        path.write_bytes(data)
        assert upscale_image(repeat, path).status == "failed"
