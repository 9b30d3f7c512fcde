import io

import cv2
import numpy as np
import pytest
from PIL import Image
from tifffile import imwrite

from basicsr_m2trans.data.image_file import read_image_file
from basicsr_m2trans.data.images import read_image, read_size
from basicsr_m2trans.utils.errors import InputError

# How viewers turn an image by each value of the orientation tag (TIFF 6.0, page 36).
TURNS = {
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_orientation_is_applied(tmp_path, noise, suffix, kind, orientation):
    image = Image.fromarray(noise(4, 6, 3)).convert(kind)
    if kind == "RGBA":
        image.putalpha(100)
    expected = np.asarray(image.convert("RGBA" if kind == "RGBA" else "RGB"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    image.save(path, exif=exif, lossless=True, exact=True)
    content = read_image_file(path)
    turned = TURNS[orientation](expected)
    assert content.orientation == orientation
    assert np.array_equal(np.broadcast_to(content.pixels, turned.shape), turned)
    assert read_size(path) == turned.shape[:2] == read_image(path).shape[:2]


def test_orientation_of_jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_size(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg").shape[:2] == (6, 4)
    Image.new("RGB", (6, 4)).save(tmp_path / "b.jpg", exif=b"Exif\0\0no TIFF")
    assert read_size(tmp_path / "b.jpg") == read_image(tmp_path / "b.jpg").shape[:2] == (4, 6)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_orientation_of_16_bit_tiff(tmp_path, noise, planar, orientation):
    pixels = noise(4, 6, 3, dtype=np.uint16)
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    tag = [(274, "H", 1, orientation, True)]
    path = tmp_path / "a.tif"
    imwrite(path, stored, photometric="rgb", planarconfig=planar, extratags=tag)
    turned = TURNS[orientation](pixels)
    assert np.array_equal(read_image_file(path).pixels, turned)
    assert read_size(path) == turned.shape[:2]


def test_orientation_of_16_bit_png(tmp_path, noise):
    pixels = noise(4, 6, 3, dtype=np.uint16)
    png = cv2.imencode(".png", pixels)[1].tobytes()
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("L", (1, 1)).save(buffer, "PNG", exif=exif)
    chunk = buffer.getvalue()[33 : buffer.getvalue().index(b"IDAT") - 4]
    (tmp_path / "a.png").write_bytes(png[:33] + chunk + png[33:])
    turned = np.rot90(pixels[..., ::-1])
    assert np.array_equal(read_image_file(tmp_path / "a.png").pixels, turned)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_of_separate_planes(tmp_path, noise, dtype, compression, channels):
    planes = noise(channels, 5, 6, dtype=dtype)
    extra = ["unassalpha"] if channels == 4 else []
    options = {"photometric": "rgb", "planarconfig": "separate", "extrasamples": extra}
    imwrite(tmp_path / "a.tif", planes, compression=compression, **options)
    assert np.array_equal(read_image_file(tmp_path / "a.tif").pixels, planes.transpose(1, 2, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_samples_that_are_not_alpha_are_left_out(tmp_path, noise, dtype):
    pixels = noise(4, 5, 4, dtype=dtype)
    imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(read_image_file(tmp_path / "a.tif").pixels, pixels[..., :3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_whose_zero_is_white(tmp_path, noise, dtype):
    pixels = noise(4, 5, dtype=dtype)
    imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    inverted = (np.iinfo(dtype).max - pixels)[..., None]
    assert np.array_equal(read_image_file(tmp_path / "a.tif").pixels, inverted)
    assert np.array_equal(read_image(tmp_path / "a.tif"), inverted)


def test_png_that_says_more_than_its_pixels(tmp_path, noise):
    """Of plain PNG only the pixels are read; a profile, a resolution or grey alpha are found."""
    pixels = noise(5, 6, 2)
    path = tmp_path / "a.png"
    Image.fromarray(pixels[..., 0]).save(path, dpi=(72, 72), icc_profile=b"some")
    content = read_image_file(path)
    assert content.profile == b"some"
    assert np.array_equal(content.pixels, pixels[..., :1])
    Image.fromarray(pixels[..., 0]).save(path, transparency=int(pixels[0, 0, 0]))
    assert read_image_file(path).pixels[0, 0].tolist() == [pixels[0, 0, 0], 0]
    Image.fromarray(pixels).save(path)
    assert np.array_equal(read_image_file(path).pixels, pixels)


def test_colours_multiplied_by_16_bit_alpha_are_refused(tmp_path, noise):
    imwrite(
        tmp_path / "a.tif",
        noise(4, 4, 4, dtype=np.uint16),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    with pytest.raises(InputError, match=r"a\.tif: has 16-bit colours with an alpha"):
        read_image_file(tmp_path / "a.tif")


def test_files_of_opencv_are_read_in_rgb(tmp_path, noise):
    image = noise(6, 5, 4, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert np.array_equal(read_image_file(tmp_path / "a.png").pixels, image[..., [2, 1, 0, 3]])


def test_files_that_cannot_be_read_are_named(tmp_path, noise):
    buffer = io.BytesIO()
    Image.fromarray(noise(40, 40, 3)).save(buffer, "PNG")
    for data in (b"", b"no image", buffer.getvalue()[:500]):
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
            read_image_file(tmp_path / "a.png")


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, noise, monkeypatch):
    Image.fromarray(noise(40, 40, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 40 // 2 - 1)
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image .*exceeds limit"):
        read_image_file(tmp_path / "a.png")


def test_16_bits_are_found_under_a_wrong_extension(tmp_path, noise):
    pixels = noise(4, 5, 3, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(read_image_file(tmp_path / "a.jpg").pixels, pixels[..., ::-1])
