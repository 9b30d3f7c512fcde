import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from basicsr_m2trans.apps.files.image_files import ImageFile, write_image
from basicsr_m2trans.data.image_file import ImageContent, read_image_file
from basicsr_m2trans.utils.errors import InputError


@pytest.mark.parametrize(
    ("suffix", "channels"),
    [(suffix, channels) for suffix in (".png", ".tif", ".webp") for channels in (1, 2, 3, 4)]
    + [(".bmp", 1), (".bmp", 3)],
)
def test_lossless_formats_give_back_what_was_written(tmp_path, noise, profile, suffix, channels):
    content = ImageContent(noise(6, 5, channels), None if suffix == ".bmp" else profile)
    write_image(content, tmp_path / f"a{suffix}", suffix)
    read = read_image_file(tmp_path / f"a{suffix}")
    if suffix == ".webp" and channels < 3:  # WebP has no grey
        grey = content.pixels[..., :1].repeat(3, axis=2)
        assert np.array_equal(read.pixels, np.concatenate([grey, content.pixels[..., 1:]], axis=2))
    else:
        assert np.array_equal(read.pixels, content.pixels)
    assert read.profile == content.profile


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_with_profile(tmp_path, noise, profile, suffix, channels):
    content = ImageContent(noise(6, 5, channels, dtype=np.uint16), profile)
    write_image(content, tmp_path / f"a{suffix}", suffix)
    read = read_image_file(tmp_path / f"a{suffix}")
    assert read.pixels.dtype == np.uint16
    assert np.array_equal(read.pixels, content.pixels)
    assert read.profile == profile


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([".png", ".tif", ".webp", ".bmp"]),
    arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4)),
    ),
)
def test_any_pixels_come_back_from_formats_that_hold_them(suffix, pixels):
    channels = pixels.shape[2]
    if pixels.dtype == np.uint16:
        assume(suffix in (".png", ".tif") and channels != 2)
    assume({".bmp": channels in (1, 3), ".webp": channels >= 3}.get(suffix, True))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        write_image(ImageContent(pixels, None), path, suffix)
        read = read_image_file(path).pixels
    assert read.dtype == pixels.dtype
    assert np.array_equal(read, pixels)


def test_jpeg_is_near(tmp_path, profile):
    pixels = np.full((16, 16, 3), (200, 40, 30), np.uint8)
    write_image(ImageContent(pixels, profile), tmp_path / "a.jpg", ".jpg")
    read = read_image_file(tmp_path / "a.jpg")
    assert np.abs(read.pixels.astype(int) - pixels).max() <= 3
    assert read.profile == profile


def test_upscaling_keeps_format_depth_and_profile(
    tmp_path, upscale_image, repeat, repeated, noise, profile
):
    pixels = noise(6, 5, 3, dtype=np.uint16)
    write_image(ImageContent(pixels, profile), tmp_path / "a.png", ".png")
    (frame,) = upscale_image(repeat, ImageFile(tmp_path / "a.png", tmp_path / "out/a.png"))
    read = read_image_file(tmp_path / "out/a.png")
    assert np.array_equal(read.pixels, repeated(pixels))
    assert read.profile == profile
    assert np.array_equal(frame.pixels, pixels)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("suffix", "shape", "dtype"), [(".jpg", (4, 4, 4), np.uint8), (".bmp", (4, 4, 1), np.uint16)]
)
def test_formats_that_would_lose_something_are_refused(
    tmp_path, repeat, noise, upscale_image, suffix, shape, dtype
):
    write_image(ImageContent(noise(*shape, dtype=dtype), None), tmp_path / "a.png", ".png")
    with pytest.raises(InputError, match=rf"{suffix} cannot hold; name an output of .png or .tif"):
        upscale_image(repeat, ImageFile(tmp_path / "a.png", tmp_path / f"b{suffix}"))
    assert not (tmp_path / f"b{suffix}").exists()


def test_an_image_that_is_too_large_for_its_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"17000 x 1 pixels cannot be written as \.webp"):
        write_image(
            ImageContent(np.zeros((1, 17000, 3), np.uint8), None), tmp_path / "a.webp", ".webp"
        )


def test_several_pages_are_refused(tmp_path, repeat, noise, upscale_image):
    page = Image.fromarray(noise(4, 4, 3))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(InputError, match="has 2 pages or frames"):
        upscale_image(repeat, ImageFile(tmp_path / "a.tif", tmp_path / "b.tif"))
