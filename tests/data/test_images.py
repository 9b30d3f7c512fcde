import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from basicsr_m2trans.data.images import (
    decode_image,
    encode_png,
    list_images,
    read_image,
    read_size,
    to_tensor,
)
from basicsr_m2trans.utils.errors import InputError


def test_colour_and_grey(tmp_path, save_image, random_image):
    colour = save_image(tmp_path / "a.png", random_image(6, 8, 3))
    grey = save_image(tmp_path / "b.bmp", random_image(6, 8))
    assert np.array_equal(read_image(tmp_path / "a.png"), colour)
    assert np.array_equal(read_image(tmp_path / "b.bmp"), grey[..., None])


def test_16_bits_keep_their_precision(tmp_path, save_image):
    ramp = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    save_image(tmp_path / "a.png", ramp)
    tensor = to_tensor(read_image(tmp_path / "a.png"))
    assert torch.equal(tensor, torch.from_numpy(ramp / np.float32(65535)).expand(3, 8, 8))


@settings(max_examples=50, deadline=None)
@given(
    arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3])),
    )
)
def test_any_pixels_come_back_from_png_and_from_the_tensor(image):
    decoded = decode_image(encode_png(image), "a.png")
    assert decoded.dtype == image.dtype
    assert np.array_equal(decoded, image)
    levels = (to_tensor(image).double() * np.iinfo(image.dtype).max).round().numpy()
    assert np.array_equal(
        levels.transpose(1, 2, 0)[..., ::-1], np.broadcast_to(image, (*image.shape[:2], 3))
    )


def test_palette_is_expanded_to_its_colours(tmp_path, random_image):
    picture = Image.fromarray(random_image(6, 8, 3)).quantize(16)
    picture.save(tmp_path / "a.png")
    assert np.array_equal(
        read_image(tmp_path / "a.png")[..., ::-1], np.array(picture.convert("RGB"))
    )


@pytest.mark.parametrize("extension", ["png", "webp", "tif"])
def test_transparency_is_composited_over_black(tmp_path, extension):
    rgba = np.full((4, 6, 4), (200, 100, 50, 255), np.uint8)
    rgba[:, :3, 3] = 51
    rgba[0, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / f"a.{extension}", lossless=True)
    image = read_image(tmp_path / f"a.{extension}")
    assert image.shape == (4, 6, 3)
    assert image[1, 5].tolist() == [50, 100, 200]
    assert image[1, 0].tolist() == [10, 20, 40]
    assert image[0, 0].tolist() == [0, 0, 0]


def test_16_bit_transparency(tmp_path, save_image):
    save_image(tmp_path / "a.png", np.full((2, 2, 4), (65535, 500, 1000, 13107), np.uint16))
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.uint16
    assert image[0, 0].tolist() == [13107, 100, 200]


def test_to_tensor_is_rgb_in_unit_range():
    tensor = to_tensor(np.full((2, 3, 3), (0, 51, 255), np.uint8))
    assert tensor.shape == (3, 2, 3)
    assert tensor.dtype == torch.float32
    assert tensor[:, 0, 0].tolist() == [1.0, pytest.approx(0.2), 0.0]


@pytest.mark.parametrize(("dtype", "levels"), [(np.uint8, 256), (np.uint16, 65536)])
def test_to_tensor_divides_every_level_exactly(dtype, levels):
    image = np.arange(levels, dtype=dtype).reshape(16, -1, 1)
    expected = torch.from_numpy(np.arange(levels, dtype=np.float32) / np.float32(levels - 1)).view(
        16, -1
    )
    assert torch.equal(to_tensor(image), expected.expand(3, -1, -1))
    assert torch.equal(to_tensor(image.repeat(3, axis=2)), expected.expand(3, -1, -1))


@pytest.mark.parametrize("channels", [1, 3])
def test_to_tensor_of_a_window_is_contiguous(random_image, channels):
    image = random_image(9, 8, channels)
    tensor = to_tensor(image[2:7, 1:4])
    assert tensor.is_contiguous()
    assert torch.equal(tensor, to_tensor(image)[:, 2:7, 1:4])
    tensor[0] = 2
    assert tensor[1:].max() <= 1


def test_grey_gives_three_equal_channels(random_image):
    tensor = to_tensor(random_image(4, 5, 1))
    assert tensor.shape == (3, 4, 5)
    assert torch.equal(tensor[0], tensor[1])
    assert torch.equal(tensor[0], tensor[2])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip(random_image, dtype, channels):
    image = random_image(7, 5, channels, dtype=dtype)
    assert np.array_equal(decode_image(encode_png(image), "here"), image)


def test_size_from_the_header(tmp_path, save_image, random_image):
    save_image(tmp_path / "a.jpg", random_image(6, 8, 3))
    assert read_size(tmp_path / "a.jpg") == (6, 8)


def test_bad_files_are_named(tmp_path, random_image):
    png = encode_png(random_image(64, 64, 3))
    contents = {"empty.png": b"", "text.png": b"not an image", "torn.png": png[: len(png) // 2]}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name}: cannot be read as an image"):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match=r"missing\.png: cannot be read"):
        read_image(tmp_path / "missing.png")
    for name in ("text.png", "missing.png"):
        with pytest.raises(InputError, match=f"{name}: cannot be read as an image"):
            read_size(tmp_path / name)


def test_samples_without_a_range_are_refused(tmp_path, save_image):
    save_image(tmp_path / "a.tif", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(InputError, match=r"a\.tif: has floating-point numbers.*; convert it"):
        read_image(tmp_path / "a.tif")


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, random_image):
    """A file of some bytes that says it has 60,000 x 60,000 pixels."""
    png = encode_png(random_image(4, 4, 1))
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + png[24:29]
    path = tmp_path / "bomb.png"
    path.write_bytes(png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:])
    for read in (read_size, read_image):
        with pytest.raises(InputError, match=r"bomb\.png: cannot be read as an image"):
            read(path)


def test_the_content_decides_whatever_the_extension(tmp_path, random_image):
    image = random_image(6, 8, 3)
    (tmp_path / "a.jpg").write_bytes(encode_png(image))
    assert np.array_equal(read_image(tmp_path / "a.jpg"), image)
    assert read_size(tmp_path / "a.jpg") == (6, 8)


def test_list_images(tmp_path, save_image, random_image):
    for name in ("b.png", "a.JPG", "sub/c.tiff", ".hidden.png"):
        save_image(tmp_path / name, random_image(4, 4))
    (tmp_path / "notes.txt").write_text("x")
    assert [path.name for path in list_images(tmp_path)] == ["a.JPG", "b.png"]
    assert [path.name for path in list_images(tmp_path, recursive=True)] == [
        "a.JPG",
        "b.png",
        "c.tiff",
    ]


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: this folder does not exist"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no image"):
        list_images(tmp_path)
