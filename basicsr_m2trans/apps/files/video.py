"""Upscaling cine loops in video files: frames keep their times, sound is passed on as it is."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageSequence

from basicsr_m2trans.apps.files.media import Frame, MediaFile
from basicsr_m2trans.data.pillow_images import to_array
from basicsr_m2trans.utils.atomic import replacing
from basicsr_m2trans.utils.errors import InputError

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

VIDEO_EXTENSIONS = (".mp4", ".avi", ".gif")
# FFmpeg's codec and its settings, almost without loss; what players expect in each container.
_CODECS: dict[str, tuple[Literal["libx264", "mjpeg"], dict[str, str]]] = {
    ".mp4": ("libx264", {"crf": "14"}),
    ".avi": ("mjpeg", {"qmin": "1", "qmax": "1"}),
}


class VideoFile(MediaFile):
    """An MP4 or AVI file; `target` has the same extension.

    Frames are taken as RGB of 8 bits. MP4 is written as H.264, AVI as Motion JPEG. The context of a
    frame is its time and the packets of sound that precede it.
    """

    _reader: "InputContainer | None" = None

    def read(self) -> Iterator[Frame]:
        """The frames, upright; PyAV must be installed."""
        try:
            import av
        except ModuleNotFoundError as error:
            raise InputError(
                f"{self.source}: reading videos needs PyAV; install it with `pip install av`"
            ) from error
        with _damage_named(self.source):
            self._reader = av.open(str(self.source))
            if not self._reader.streams.video:
                raise InputError(f"{self.source}: has no picture")
            yield from self._decode(self._reader)

    def _decode(self, reader: "InputContainer") -> Iterator[Frame]:
        video = reader.streams.video[0]
        self.total = video.frames or None
        # Sound since the last frame, and at the end what follows it.
        self._sound: list[Packet] = []
        count = 0
        for packet in reader.demux(video, *reader.streams.audio):
            if packet.stream.index == video.index:
                for frame in video.decode(packet):
                    sound, self._sound = self._sound, []
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                    context = _time(frame, video, count), sound
                    yield Frame(np.ascontiguousarray(pixels), context)
                    count += 1
            # The last packet of a stream is empty and only tells the decoder to finish.
            elif packet.dts is not None:
                self._sound.append(packet)
        if not count:
            raise InputError(f"{self.source}: has no picture")
        if count < video.frames:
            self.notes = (
                f"names {video.frames} frames, but {count} could be read; it may be cut off",
            )

    def write(self, frames: Iterator[Frame]) -> None:
        """Encode the frames at their times and copy the sound."""
        first = next(frames)
        import av

        with (
            _damage_named(self.source),
            replacing(self.target) as partial,
            av.open(str(partial), "w", format=self.target.suffix.lower()[1:]) as writer,
        ):
            # The streams belong to the reader, which stays open until `close`.
            assert self._reader is not None  # the frame was read from it
            video = self._reader.streams.video[0]
            copies = {
                stream.index: writer.add_stream_from_template(stream)
                for stream in self._reader.streams.audio
            }
            output = _add_video(writer, video, self.target.suffix.lower(), first.pixels)
            for pixels, (time, sound) in itertools.chain([first], frames):
                writer.mux(_redirected(sound, copies))
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = time, video.time_base
                writer.mux(output.encode(frame))
            writer.mux(_redirected(self._sound, copies))
            writer.mux(output.encode(None))

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


@contextlib.contextmanager
def _damage_named(source: Path) -> Iterator[None]:
    """Turn what FFmpeg raises on damaged files into a message."""
    import av

    try:
        yield
    except (av.FFmpegError, EOFError) as error:
        raise InputError(f"{source}: cannot be upscaled as a video ({error})") from error


def _redirected(packets: "list[Packet]", copies: "dict[int, AudioStream]") -> "list[Packet]":
    for packet in packets:
        packet.stream = copies[packet.stream.index]
    return packets


def _add_video(
    writer: "OutputContainer", video: "VideoStream", suffix: str, pixels: np.ndarray
) -> "VideoStream":
    from av.video.reformatter import Colorspace

    codec, settings = _CODECS[suffix]
    height, width = pixels.shape[:2]
    output = writer.add_stream(codec, rate=video.average_rate, options=settings)
    output.width, output.height = width, height
    # Colours at half the size need even sides.
    shared = "420p" if height % 2 == 0 and width % 2 == 0 else "444p"
    output.pix_fmt = f"yuvj{shared}" if codec == "mjpeg" else f"yuv{shared}"
    # Frames are encoded with these coefficients; without the tag players guess others for large
    # pictures.
    output.codec_context.colorspace = Colorspace.ITU601
    if video.time_base:
        output.codec_context.time_base = video.time_base
    if video.sample_aspect_ratio:
        output.codec_context.sample_aspect_ratio = video.sample_aspect_ratio
    return output


def _time(frame: "VideoFrame", video: "VideoStream", number: int) -> int:
    """When the frame is shown, in units of the stream's `time_base`."""
    if frame.pts is not None:
        return frame.pts
    # As of raw AVI.
    if not video.average_rate or not video.time_base:
        raise InputError(
            f"{video.container.name}: has neither times of frames nor a frame rate; convert it "
            "first"
        )
    return round(number / video.average_rate / video.time_base)


class GifFile(MediaFile):
    """A GIF file; times, repetitions and transparency stay."""

    def read(self) -> Iterator[Frame]:
        """The frames, upright, palettes expanded."""
        try:
            with Image.open(self.source) as image:
                frames = ImageSequence.Iterator(image)
                self._durations = [frame.info.get("duration", 0) for frame in frames]
                self._loop = {"loop": image.info["loop"]} if "loop" in image.info else {}
                self.total = len(self._durations)
                for frame in ImageSequence.Iterator(image):
                    yield Frame(to_array(frame, str(self.source)))
        except InputError:
            raise
        except Exception as error:  # Pillow raises errors of many types on damaged files
            reason = " ".join(str(error).split())
            raise InputError(f"{self.source}: cannot be read as GIF ({reason})") from error

    def write(self, frames: Iterator[Frame]) -> None:
        """Write all frames with 256 colours each."""
        made = (_as_gif_frame(frame.pixels) for frame in frames)
        start = next(made)
        settings = {"duration": self._durations, "disposal": 2, **self._loop}
        with replacing(self.target) as partial:
            start.save(partial, "GIF", save_all=True, append_images=made, **settings)


def _as_gif_frame(pixels: np.ndarray) -> Image.Image:
    """(h, w, 1 to 4) as Pillow writes it with 256 colours: all greys, or those that fit best."""
    alpha = pixels[..., -1:] if pixels.shape[2] in (2, 4) else None
    colours = pixels if alpha is None else pixels[..., :-1]
    if alpha is None and (colours == colours[..., :1]).all():
        return Image.fromarray(np.ascontiguousarray(colours[..., 0]))
    if alpha is None:
        return Image.fromarray(colours)
    # Pixels of a GIF are opaque or not there.
    opaque = np.where(alpha >= 128, 255, 0).astype(np.uint8)
    colours = np.broadcast_to(colours, (*colours.shape[:2], 3))
    return Image.fromarray(np.concatenate([colours, opaque], axis=2))
