import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from basicsr_m2trans.apps.preparation.degradation import downsample_bicubic
from basicsr_m2trans.apps.preparation.prepare_image import Job, Preparation, make_images
from basicsr_m2trans.data.images import read_image


@pytest.fixture
def make_job(tmp_path):
    def make(sub_image=None, step=None):
        settings = Preparation(sub_image=sub_image, step=step)
        job = Job(tmp_path / "hr", tmp_path / "out", (2, 3, 4), settings)
        for file in job.files("any"):
            file.parent.mkdir(parents=True, exist_ok=True)
        return job

    return make


def test_hr_is_cropped_and_lr_is_the_bicubic_of_it(make_job, save_image, random_image):
    job = make_job()
    source = save_image(job.hr_folder / "a.bmp", random_image(41, 50, 3))
    record = make_images(job, "a.bmp", "a")
    assert (record.images, record.skipped) == ({"a": (36, 48, 3)}, None)
    hr = read_image(job.out / "HR/a.png")
    assert np.array_equal(hr, source[:36, :48])
    for scale in (2, 3, 4):
        lr = read_image(job.out / f"LR_bicubic/X{scale}/ax{scale}.png")
        assert np.array_equal(lr, downsample_bicubic(hr, scale))
    assert len([path for path in job.out.rglob("*") if path.is_file()]) == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_stored_with_one_channel(make_job, save_image, random_image, channels):
    job = make_job()
    grey = random_image(24, 36, 1)
    save_image(job.hr_folder / "a.png", grey.repeat(channels, axis=2))
    assert make_images(job, "a.png", "a").images == {"a": (24, 36, 1)}
    for file in job.files("a"):
        assert cv2.imread(str(file), cv2.IMREAD_UNCHANGED).ndim == 2
    assert np.array_equal(read_image(job.hr_file("a")), grey)


def test_16_bits_become_8(make_job, save_image):
    job = make_job()
    levels = np.arange(256, dtype=np.uint16)
    source = np.tile(levels * 257, (24, 1))
    source[1] += 128  # rounds down
    source[2, :255] += 129  # rounds up
    save_image(job.hr_folder / "a.png", source)
    make_images(job, "a.png", "a")
    hr = read_image(job.hr_file("a"))[..., 0]
    assert hr.dtype == np.uint8
    assert np.array_equal(hr[:2], np.tile(levels[:252], (2, 1)))
    assert np.array_equal(hr[2], levels[1:253])


def test_sub_images_cover_the_whole_image(make_job, save_image, random_image):
    job = make_job(sub_image=48, step=36)
    source = save_image(job.hr_folder / "a.png", random_image(48, 132))
    record = make_images(job, "a.png", "a")
    lefts = {"a_s001": 0, "a_s002": 36, "a_s003": 72, "a_s004": 84}
    assert record.images == dict.fromkeys(lefts, (48, 48, 1))
    for name, left in lefts.items():
        hr = read_image(job.hr_file(name))
        assert np.array_equal(hr[..., 0], source[:, left : left + 48])
        assert np.array_equal(read_image(job.lr_file(name, 3)), downsample_bicubic(hr, 3))


def test_sub_images_of_an_exact_grid_are_not_repeated(make_job, save_image, random_image):
    job = make_job(sub_image=24, step=24)
    save_image(job.hr_folder / "a.png", random_image(48, 72))
    assert len(make_images(job, "a.png", "a").images) == 6


def test_images_below_the_sub_image_size_stay_whole(make_job, save_image, random_image):
    job = make_job(sub_image=48, step=24)
    save_image(job.hr_folder / "a.png", random_image(36, 72))
    assert make_images(job, "a.png", "a").images == {"a_s001": (36, 48, 1), "a_s002": (36, 48, 1)}


def test_sources_that_cannot_be_used_are_recorded(make_job, save_image, random_image):
    job = make_job()
    save_image(job.hr_folder / "small.png", random_image(100, 23))
    (job.hr_folder / "text.png").write_text("not an image")
    small, text = (make_images(job, f"{name}.png", name) for name in ("small", "text"))
    assert small.images == text.images == {}
    assert small.skipped.endswith(
        "small.png: too small: 12 x 96 after cropping to multiples of 12, and 24 x 24 is needed"
    )
    assert "text.png: cannot be read as an image" in text.skipped
    assert not [path for path in job.out.rglob("*") if path.is_file()]


def test_a_loop_with_a_damaged_frame_leaves_no_image(make_job, tmp_path):
    job = make_job()
    job.hr_folder.mkdir()
    dataset = pydicom.dcmread(get_testdata_file("examples_ybr_color.dcm", download=False))
    del dataset.SequenceOfUltrasoundRegions
    frames = list(generate_frames(dataset.PixelData, number_of_frames=30))
    dataset.PixelData = encapsulate([*frames[:2], b"damaged!", *frames[3:]])
    dataset.save_as(job.hr_folder / "loop.dcm")
    record = make_images(job, "loop.dcm", "us_0")
    assert record.images == {}
    assert record.skipped.startswith("us_0: frame 3 cannot be decoded")
    assert str(tmp_path) not in record.skipped
    assert not [path for path in job.out.rglob("*") if path.is_file()]
