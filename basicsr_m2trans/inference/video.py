"""Enlarging cine loops in video files: frames keep their times, sound is passed on as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageSequence

from basicsr_m2trans.errors import InputError
from basicsr_m2trans.inference.outputs import Enlarged, Report, replacing
from basicsr_m2trans.inference.pillow_images import to_array
from basicsr_m2trans.inference.upscaler import Upscaler

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

VIDEO_EXTENSIONS = (".mp4", ".avi", ".gif")
# FFmpeg's codec and its settings, almost without loss; what players expect in each container.
_CODECS: dict[str, tuple[Literal["libx264", "mjpeg"], dict[str, str]]] = {
    ".mp4": ("libx264", {"crf": "14"}),
    ".avi": ("mjpeg", {"qmin": "1", "qmax": "1"}),
}


def upscale_video(upscaler: Upscaler, source: Path, target: Path, report: Report) -> Enlarged:
    """Enlarge an MP4, AVI or GIF file frame by frame.

    Frames are taken as RGB of 8 bits. MP4 is written as H.264, AVI as Motion JPEG.

    Args:
        upscaler: the network.
        source: a file with one of `VIDEO_EXTENSIONS`.
        target: its extension is that of `source`.
        report: called after each frame.

    Raises:
        InputError: the file is damaged or has no picture; or PyAV is needed and missing.
    """
    if target.suffix.lower() == ".gif":
        return _upscale_gif(upscaler, source, target, report)
    try:
        import av
    except ModuleNotFoundError as error:
        raise InputError(f"{source}: reading videos needs PyAV; install it with `pip install av`") from error
    try:
        with (
            av.open(str(source)) as reader,
            replacing(target) as partial,
            av.open(str(partial), "w", format=target.suffix.lower()[1:]) as writer,
        ):
            return _transcode(upscaler, reader, writer, target.suffix.lower(), report)
    except (av.FFmpegError, EOFError) as error:
        raise InputError(f"{source}: cannot be enlarged as a video ({error})") from error


def _transcode(
    upscaler: Upscaler, reader: "InputContainer", writer: "OutputContainer", suffix: str, report: Report
) -> Enlarged:
    if not reader.streams.video:
        raise InputError(f"{reader.name}: has no picture")
    video = reader.streams.video[0]
    copies = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams.audio}
    output: VideoStream | None = None
    first: tuple[np.ndarray, ...] = ()
    waiting: list[Packet] = []
    count = 0
    for packet in reader.demux(video, *reader.streams.audio):
        if packet.stream.index in copies:
            # The last packet of a stream is empty and only tells the decoder to finish.
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                waiting.append(packet)
        else:
            for frame in video.decode(packet):
                before = _pixels(frame)
                after = upscaler(before)
                if output is None:
                    first, output = (before, after), _add_video(writer, video, suffix, after)
                writer.mux(output.encode(_frame(frame, after, video, count)))
                count += 1
                report(count, video.frames or None)
        # Nothing can be written before all streams are known, the picture's size included.
        if output is not None:
            writer.mux(waiting)
            waiting.clear()
    if output is None:
        raise InputError(f"{reader.name}: has no picture")
    writer.mux(output.encode(None))
    short = count < video.frames
    notes = (f"names {video.frames} frames, but {count} could be read; it may be cut off",) if short else ()
    before, after = first
    return Enlarged(before, after, frames=count, notes=notes)


def _pixels(frame: "VideoFrame") -> np.ndarray:
    """(h, w, 3), upright."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))


def _add_video(writer: "OutputContainer", video: "VideoStream", suffix: str, pixels: np.ndarray) -> "VideoStream":
    from av.video.reformatter import Colorspace

    codec, settings = _CODECS[suffix]
    height, width = pixels.shape[:2]
    output = writer.add_stream(codec, rate=video.average_rate, options=settings)
    output.width, output.height = width, height
    # Colours at half the size need even sides.
    shared = "420p" if height % 2 == 0 and width % 2 == 0 else "444p"
    output.pix_fmt = f"yuvj{shared}" if codec == "mjpeg" else f"yuv{shared}"
    # Frames are encoded with these coefficients; without the tag players guess others for large pictures.
    output.codec_context.colorspace = Colorspace.ITU601
    if video.time_base:
        output.codec_context.time_base = video.time_base
    if video.sample_aspect_ratio:
        output.codec_context.sample_aspect_ratio = video.sample_aspect_ratio
    return output


def _frame(source: "VideoFrame", pixels: np.ndarray, video: "VideoStream", number: int) -> "VideoFrame":
    from av import VideoFrame

    frame = VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts = source.pts
    if frame.pts is None:  # as of raw AVI
        if not video.average_rate or not video.time_base:
            raise InputError(f"{video.container.name}: has neither times of frames nor a frame rate; convert it first")
        frame.pts = round(number / video.average_rate / video.time_base)
    frame.time_base = video.time_base
    return frame


def _upscale_gif(upscaler: Upscaler, source: Path, target: Path, report: Report) -> Enlarged:
    try:
        with Image.open(source) as image:
            frames = _GifFrames(upscaler, image, source, report)
            made = iter(frames)
            start = next(made)
            loop = {"loop": image.info["loop"]} if "loop" in image.info else {}
            with replacing(target) as partial:
                start.save(
                    partial, "GIF", save_all=True, append_images=made, duration=frames.durations, disposal=2, **loop
                )
            before, after = frames.first
            return Enlarged(before, after, frames=len(frames.durations))
    except InputError:
        raise
    except Exception as error:  # Pillow raises errors of many types on damaged files
        raise InputError(f"{source}: cannot be read as GIF ({' '.join(str(error).split())})") from error


class _GifFrames:
    """Enlarged frames of a GIF file, made while they are written."""

    def __init__(self, upscaler: Upscaler, image: Image.Image, source: Path, report: Report) -> None:
        self.upscaler, self.image, self.source, self.report = upscaler, image, source, report
        self.durations = [frame.info.get("duration", 0) for frame in ImageSequence.Iterator(image)]
        self.first: tuple[np.ndarray, ...] = ()

    def __iter__(self) -> Iterator[Image.Image]:
        for number, frame in enumerate(ImageSequence.Iterator(self.image), start=1):
            before = to_array(frame, str(self.source))
            after = self.upscaler(before)
            self.first = self.first or (before, after)
            self.report(number, len(self.durations))
            yield _as_gif_frame(after)


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
