import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from PIL import Image, ImageSequence

from basicsr_m2trans.apps.files import video
from basicsr_m2trans.apps.files.video import GifFile, VideoFile
from basicsr_m2trans.utils.errors import InputError

RATE = Fraction(30000, 1001)
# The third frame is shown for longer.
TIMES = (0, 1, 2, 5, 6)


def write_video(path, codec, frames, times, sound=None, options=None):
    with av.open(str(path), "w", options=options) as writer:
        stream = writer.add_stream(codec, rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = 1 / RATE
        audio = writer.add_stream(sound, rate=8000, layout="mono") if sound else None
        for time, pixels in zip(times, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, 1 / RATE
            writer.mux(stream.encode(frame))
        if audio:
            tone = (8000 * np.sin(np.arange(1600) / 5)).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, 0
            writer.mux(audio.encode(frame))
            writer.mux(audio.encode(None))
        writer.mux(stream.encode(None))


def read_video(path):
    with av.open(str(path)) as reader:
        frames = list(reader.decode(video=0))
        rate = float(reader.streams.video[0].average_rate)
        return (
            [frame.to_ndarray(format="rgb24") for frame in frames],
            [frame.time for frame in frames],
            rate,
        )


def audio_packets(path):
    with av.open(str(path)) as reader:
        return [
            bytes(packet)
            for stream in reader.streams.audio
            for packet in reader.demux(stream)
            if packet.size
        ]


@pytest.fixture
def frames():
    """Five frames of 32 x 24, grey with a coloured box that changes."""
    frames = [np.full((24, 32, 3), 50 + 20 * number, np.uint8) for number in range(5)]
    for frame in frames:
        frame[8:16, 8:24] = (200, 60, 40)
    return frames


@pytest.mark.parametrize(
    ("suffix", "codec", "sound", "times"),
    [
        (".mp4", "libx264", "aac", TIMES),
        (".avi", "mjpeg", "pcm_s16le", range(5)),
        (".mp4", "mpeg4", None, range(5)),
    ],
)
def test_frames_times_colours_and_sound(
    tmp_path, repeat, repeated, upscale_image, frames, suffix, codec, sound, times
):
    source, target = tmp_path / f"a{suffix}", tmp_path / f"out/a{suffix}"
    write_video(source, codec, frames, times, sound)
    file = VideoFile(source, target)
    upscaled = upscale_image(repeat, file)
    before, times_before, rate_before = read_video(source)
    after, times_after, rate = read_video(target)
    assert times_after == pytest.approx(times_before, abs=1e-4)
    assert rate == pytest.approx(rate_before, rel=1e-3)
    assert [frame.shape for frame in after] == [(48, 64, 3)] * 5
    for small, large in zip(before, after, strict=True):
        assert np.abs(repeated(small).astype(int) - large).mean() < 2
    assert (len(upscaled), file.total, file.notes) == (5, 5, ())
    assert np.array_equal([frame.pixels for frame in upscaled], before)
    if sound:
        assert audio_packets(target) == audio_packets(source)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_colours_are_tagged_as_they_are_encoded(tmp_path, repeat, frames, upscale_image):
    write_video(tmp_path / "a.mp4", "libx264", frames, range(5))
    upscale_image(repeat, VideoFile(tmp_path / "a.mp4", tmp_path / "b.mp4"))
    with av.open(str(tmp_path / "b.mp4")) as reader:
        frame = next(reader.decode(video=0))
    assert frame.colorspace == Colorspace.ITU601


def test_a_loop_that_is_cut_off_is_noted(tmp_path, repeat, frames, upscale_image):
    path = tmp_path / "a.mp4"
    write_video(path, "mpeg4", frames, range(5), options={"movflags": "faststart"})
    with av.open(str(path)) as reader:
        last = [packet.pos for packet in reader.demux(video=0) if packet.size][-1]
    path.write_bytes(path.read_bytes()[:last])
    file = VideoFile(path, tmp_path / "b.mp4")
    assert len(upscale_image(repeat, file)) == 4
    assert file.notes == ("names 5 frames, but 4 could be read; it may be cut off",)


@pytest.fixture
def gradio_files():
    return Path(
        pytest.importorskip("gradio", reason="the extra `page` is not installed").__file__
    ).parent


def test_a_sample_gif(tmp_path, repeat, gradio_files, upscale_image):
    upscaled = upscale_image(
        repeat, GifFile(gradio_files / "test_data/rectangles.gif", tmp_path / "a.gif")
    )
    assert len(upscaled) == 3
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.size, image.n_frames, image.info["loop"]) == ((800, 600), 3, 0)
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(image)] == [400] * 3


@pytest.mark.slow
def test_a_sample_video(tmp_path, repeat, gradio_files, upscale_image):
    source, target = gradio_files / "media_assets/videos/b.avi", tmp_path / "b.avi"
    assert len(upscale_image(repeat, VideoFile(source, target))) == 150
    before, times_before, _ = read_video(source)
    after, times, rate = read_video(target)
    assert (times, rate) == (times_before, 30)
    assert after[-1].shape == (540, 960, 3)
    assert np.abs(repeat(before[-1]).astype(int) - after[-1]).mean() < 3
    assert audio_packets(target) == audio_packets(source)


def test_odd_sides(tmp_path, bicubic, frames, upscale_image):
    # 25 x 33 can only be written without halving the colours.
    with av.open(str(tmp_path / "a.mp4"), "w") as writer:
        stream = writer.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 25, 33, "yuv444p"
        frame = np.ascontiguousarray(np.resize(frames[0], (33, 25, 3)))
        writer.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        writer.mux(stream.encode(None))
    upscale_image(bicubic, VideoFile(tmp_path / "a.mp4", tmp_path / "b.mp4"))
    assert read_video(tmp_path / "b.mp4")[0][0].shape == (99, 75, 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_gif(tmp_path, repeat, repeated, frames, mode, upscale_image):
    images = [Image.fromarray(frame).convert(mode) for frame in frames]
    if mode == "RGBA":
        for image in images:
            image.paste((0, 0, 0, 0), (0, 0, 4, 4))
    durations = [40, 80, 120, 40, 40]
    images[0].save(
        tmp_path / "a.gif",
        save_all=True,
        append_images=images[1:],
        duration=durations,
        loop=2,
        disposal=2,
    )
    upscaled = upscale_image(repeat, GifFile(tmp_path / "a.gif", tmp_path / "b.gif"))
    assert len(upscaled) == 5
    with Image.open(tmp_path / "a.gif") as before, Image.open(tmp_path / "b.gif") as after:
        assert (after.size, after.n_frames, after.info["loop"]) == ((64, 48), 5, 2)
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(after)] == durations
        for small, large in zip(
            ImageSequence.Iterator(before), ImageSequence.Iterator(after), strict=True
        ):
            small, large = np.asarray(small.convert("RGBA")), np.asarray(large.convert("RGBA"))
            if mode == "RGBA":
                assert large[..., 3].min() == 0
                assert large[6:, 10:, 3].min() == 255
            limit = 0 if mode == "L" else 8
            assert (
                np.abs(repeated(small)[20:, 20:, :3].astype(int) - large[20:, 20:, :3]).max()
                <= limit
            )


def test_damaged_files_are_named_and_leave_nothing(tmp_path, repeat, frames, upscale_image):
    write_video(tmp_path / "a.mp4", "libx264", frames, range(5))
    for name, data in (
        ("b.mp4", (tmp_path / "a.mp4").read_bytes()[:300]),
        ("b.avi", b"RIFF"),
        ("b.gif", b"GIF89a"),
    ):
        (tmp_path / name).write_bytes(data)
        kind = GifFile if name.endswith("gif") else VideoFile
        with pytest.raises(InputError, match=rf"{name}: cannot be"):
            upscale_image(repeat, kind(tmp_path / name, tmp_path / "out" / name))
    assert not list(tmp_path.glob("out/*"))


def test_a_missing_library_is_named(tmp_path, repeat, upscale_image, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        InputError, match=r"a\.mp4: reading videos needs PyAV; install it with `pip install av`"
    ):
        upscale_image(repeat, VideoFile(tmp_path / "a.mp4", tmp_path / "out.mp4"))


def test_sound_without_a_picture_is_refused(tmp_path, repeat, upscale_image):
    with av.open(str(tmp_path / "a.mp4"), "w") as writer:
        stream = writer.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1600), np.int16), format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = 8000, 0
        writer.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(InputError, match=r"a\.mp4: has no picture"):
        upscale_image(repeat, VideoFile(tmp_path / "a.mp4", tmp_path / "out/a.mp4"))
    assert not list(tmp_path.glob("out/*"))


def test_frames_with_neither_times_nor_a_rate_are_refused():
    stream = SimpleNamespace(
        average_rate=None, time_base=1 / RATE, container=SimpleNamespace(name="scan.avi")
    )
    with pytest.raises(
        InputError, match=r"scan\.avi: has neither times of frames nor a frame rate"
    ):
        video._time(SimpleNamespace(pts=None), stream, 0)
