import numpy as np
import pytest
from PIL import Image

from basicsr_m2trans.data.pillow_images import from_array, to_array
from basicsr_m2trans.utils.errors import InputError


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_round_trip(noise, channels, mode):
    pixels = noise(4, 5, channels)
    image = from_array(pixels)
    assert image.mode == mode
    assert np.array_equal(to_array(image), pixels)


def test_16_bits(noise):
    pixels = noise(4, 5, 1, dtype=np.uint16)
    assert np.array_equal(to_array(from_array(pixels)), pixels)


def test_a_transparent_level_of_16_bits_is_refused(noise):
    image = from_array(noise(4, 5, 1, dtype=np.uint16))
    image.info["transparency"] = 5
    with pytest.raises(InputError, match="16-bit grey with one transparent level"):
        to_array(image)


def test_palettes_are_expanded():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    assert to_array(image).tolist() == [[[10, 20, 30], [200, 100, 0]]]
    image.info["transparency"] = 1
    assert to_array(image).tolist() == [[[10, 20, 30, 255], [200, 100, 0, 0]]]


def test_bilevel_becomes_grey():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert to_array(image).tolist() == [[[0], [255]]]


def test_orientation_is_applied(noise):
    pixels = noise(4, 5, 3)
    image = from_array(pixels)
    image.getexif()[0x0112] = 6
    assert np.array_equal(to_array(image), np.rot90(pixels, -1))


@pytest.mark.parametrize(
    ("mode", "reason"), [("CMYK", "CMYK"), ("F", "no defined white"), ("HSV", "the kind HSV")]
)
def test_refuses(mode, reason):
    with pytest.raises(InputError, match=f"a.tif: .*{reason}.*convert it to grey or RGB"):
        to_array(Image.new(mode, (2, 2)), "a.tif")
