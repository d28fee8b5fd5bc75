"""Video files in and out: frames are uint8 RGB ``(T, H, W, 3)``, whatever the file holds.

Decoding shrinks each frame as it comes, so that a 4K film costs the memory of a small one.
Encoding is H.264 yuv420p with a short distance between key frames (GOP), so that seeking is cheap.
Everything that FFmpeg can complain about becomes one line of :class:`~sole.errors.VideoError`.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from sole.data.episode import check_frames
from sole.errors import VideoError

MAX_SIDE_PX = 512
MAX_GOP_STEPS = 10
# A film longer than this as raw frames is asked to be cut; it would push other work out of memory.
MAX_FRAMES_BYTES = 4 * 2**30
_THREADED_FROM_PIXELS = 640 * 480
# LeRobot pins PyAV 15: it scales on one thread, takes no number of them, and hides a film's index.
_IS_PYAV_17 = int(av.__version__.partition(".")[0]) >= 17
_PICTURE_FORMATS = ("tty", "image2", "_pipe")  # FFmpeg "plays" text files and single pictures too


def fitted_size(width_px: int, height_px: int, max_side_px: int) -> tuple[int, int]:
    """Return the size at which a picture fits a square, keeping its aspect; never enlarges.

    Returns:
        ``(width_px, height_px)``; both even when shrunk, so that two views stay side by side.

    Example:
        >>> fitted_size(3840, 2160, 512), fitted_size(101, 80, 512)
        ((512, 288), (101, 80))
    """
    if max_side_px < 2:
        raise ValueError(f"max_side_px: expected at least 2, got {max_side_px}")
    longest = max(width_px, height_px)
    if longest <= max_side_px:
        return width_px, height_px
    shrink = max_side_px / longest
    width, height = (max(2, 2 * int(side * shrink / 2 + 0.5)) for side in (width_px, height_px))
    return min(width, max_side_px), min(height, max_side_px)


def stack_frames(frames: Iterable[np.ndarray], what: str) -> np.ndarray:
    """Join pictures of one size into ``(T, H, W, 3)`` without holding them twice.

    Raises:
        VideoError: If there is none, or they would take more than ``MAX_FRAMES_BYTES``.
    """
    kept: list[np.ndarray] = []
    n_bytes = 0
    for frame in frames:
        kept.append(frame)
        n_bytes += frame.nbytes
        if n_bytes > MAX_FRAMES_BYTES:
            raise VideoError(
                f"{what}: the first {len(kept)} frames already take {n_bytes / 2**30:.1f} GiB; "
                "cut the video, or lower max_frames or max_side_px"
            )
    if not kept:
        raise VideoError(f"{what}: no frames in it; expected at least one")
    joined = np.empty((len(kept), *kept[0].shape), np.uint8)
    for index in range(len(kept)):
        joined[index] = kept[index]
        kept[index] = joined[:0]  # lets go of the copy at once
    return joined


def video_size(path: Path | str, *, formats: str | None = None) -> tuple[int, int]:
    """Return ``(width_px, height_px)`` as stored in the file, before any shrinking.

    Args:
        path: The file.
        formats: As :func:`read_video`.

    Raises:
        VideoError: If it is not a video.
    """
    with _opened(Path(path), formats) as (_, stream):
        return stream.codec_context.width, stream.codec_context.height


def read_video(
    path: Path | str,
    max_frames: int | None = None,
    *,
    max_side_px: int = MAX_SIDE_PX,
    formats: str | None = None,
) -> tuple[np.ndarray, float]:
    """Read a film as frames and frames per second.

    Any pixel format becomes RGB (grey is repeated, alpha is dropped) and a phone's rotation is
    applied. Frames larger than ``max_side_px`` are shrunk while decoding, keeping their aspect.

    Args:
        path: A file that FFmpeg reads: mp4, webm, avi, mov, mkv, gif.
        max_frames: Stop after this many frames from the start; None reads all.
        max_side_px: Longest side of a returned frame; smaller films keep their size.
        formats: Names of the only formats that may be opened, as FFmpeg calls them; None means any.

    Returns:
        uint8 ``(T, H, W, 3)`` with T >= 1, and the average frame rate in Hz.

    Raises:
        VideoError: If the file is missing, empty, no video, cut short or damaged, or too long.
    """
    path = Path(path)
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames: expected at least 1, got {max_frames}")
    with _opened(path, formats) as (container, stream):
        frames = itertools.islice(_decoded(container, stream, path, max_side_px), max_frames)
        return stack_frames(frames, str(path)), _frame_rate(stream, path)


def read_clip(path: Path | str, start_s: float, n_frames: int) -> np.ndarray:
    """Read ``n_frames`` frames of full size that begin at ``start_s``: one episode of a long file.

    Raises:
        VideoError: If the file is no video or holds fewer frames from there on.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        half_frame_s = 0.5 / _frame_rate(stream, path)
        if stream.time_base is None:
            raise VideoError(f"{path}: the stream has no time base, so nothing can be found in it")
        container.seek(int(start_s / stream.time_base), stream=stream)
        wanted = (
            frame.to_ndarray(format="rgb24", **_scaling(frame))
            for frame in container.decode(stream)
            if frame.time is not None and frame.time >= start_s - half_frame_s
        )
        frames = stack_frames(itertools.islice(wanted, n_frames), f"{path} at {start_s:.3f} s")
    if len(frames) < n_frames:
        raise VideoError(
            f"{path}: expected {n_frames} frames from {start_s:.3f} s, found {len(frames)}"
        )
    return frames


@contextmanager
def _translated(path: Path, doing: str) -> Iterator[None]:
    """Turn what FFmpeg and the file system raise into one line."""
    try:
        yield
    except (FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise VideoError(f"{path}: cannot be {doing} ({reason})") from error


@contextmanager
def _opened(path: Path, formats: str | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    if not path.is_file():
        found = "is a folder, not a video file" if path.is_dir() else "no such file"
        raise VideoError(f"{path}: {found}")
    with _translated(path, "read as a video"):
        with path.open("rb") as file:
            if not file.read(1):
                raise VideoError(f"{path}: the file is empty")
        # Playlists may name other addresses; nothing but this machine's files is ever opened.
        options = {"protocol_whitelist": "file"}
        if formats is not None:
            options["format_whitelist"] = formats
        name = str(path.absolute())
        with av.open(name, options=options, metadata_errors="replace") as container:
            stream = _video_stream(container, path)
            stream.thread_type = "NONE" if _threads(stream) == 1 else "AUTO"
            yield container, stream


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    kind = container.format.name
    if kind.endswith(_PICTURE_FORMATS):
        raise VideoError(f"{path}: not a video (it is a {kind.removesuffix('_pipe')} file)")
    if not container.streams.video:
        raise VideoError(f"{path}: no video stream in it (sound only?)")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise VideoError(f"{path}: damaged, or in a format that FFmpeg here cannot decode")
    return stream


def _frame_rate(stream: VideoStream, path: Path) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    if not rate:
        raise VideoError(f"{path}: the file does not say its frame rate; convert it to mp4")
    return float(rate)


def _decoded(
    container: InputContainer, stream: VideoStream, path: Path, max_side_px: int
) -> Iterator[np.ndarray]:
    """Yield frames as RGB arrays; at the end of the file, check that all of it was there."""
    size: tuple[int, int] | None = None
    n_packets = n_frames = 0
    for packet in container.demux(stream):
        n_packets += packet.size > 0
        if packet.is_corrupt:
            raise VideoError(f"{path}: cut short or damaged after {n_frames} good frames")
        for frame in _frames_of(packet, path, n_frames):
            size = size or fitted_size(frame.width, frame.height, max_side_px)
            yield _as_rgb(frame, size)
            n_frames += 1
    # The index of an mp4 or mov names every packet; that of other kinds only the key frames.
    n_expected = len(stream.index_entries) if _IS_PYAV_17 else stream.frames
    if n_packets < n_expected:
        raise VideoError(
            f"{path}: cut short or damaged: {n_packets} of {n_expected} frames are in the file; "
            "copy or record it again"
        )


def _frames_of(packet: av.Packet, path: Path, n_before: int) -> list[VideoFrame]:
    try:
        return [frame for frame in packet.decode() if isinstance(frame, VideoFrame)]
    except FFmpegError as error:
        raise VideoError(
            f"{path}: cut short or damaged after {n_before} good frames ({error.strerror})"
        ) from error


def _threads(picture: VideoStream | VideoFrame) -> int:
    """Threads that FFmpeg may use, 0 its own choice: on small pictures they wait for each other."""
    return 1 if picture.width * picture.height < _THREADED_FROM_PIXELS else 0


def _scaling(frame: VideoFrame) -> dict[str, Any]:
    return {"threads": _threads(frame)} if _IS_PYAV_17 else {}


def _as_rgb(frame: VideoFrame, size: tuple[int, int]) -> np.ndarray:
    scaled = frame.reformat(
        size[0], size[1], format="rgb24", interpolation="AREA", **_scaling(frame)
    )
    picture = scaled.to_ndarray()
    quarter_turns = round(frame.rotation / 90) % 4  # both count against the clock
    return np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture


class VideoWriter:
    """An H.264 file being written; it gets its name only when it is whole.

    Use as a context manager: leaving it normally finishes the file, an exception removes it.
    Sizes must be even for yuv420p, so an odd last column or row is repeated once.
    """

    def __init__(
        self, path: Path | str, fps: float, *, gop_steps: int = MAX_GOP_STEPS, crf: int = 18
    ) -> None:
        if not 1 <= gop_steps <= MAX_GOP_STEPS:
            raise ValueError(f"gop_steps: expected 1 to {MAX_GOP_STEPS}, got {gop_steps}")
        if not (math.isfinite(fps) and 0.01 <= fps <= 1000):
            raise ValueError(f"fps: expected 0.01 to 1000 Hz, got {fps}")
        self.path = Path(path)
        self.n_frames = 0
        self._temporary = self.path.with_name(f".{self.path.name}.tmp")
        self._rate = Fraction(fps).limit_denominator(10_000)
        self._options = {
            "crf": str(crf), "preset": "veryfast", "g": str(gop_steps), "bf": "0",
            "forced-idr": "1", "threads": "1",
        }  # fmt: skip
        self._size: tuple[int, int] | None = None
        with _translated(self.path, "written"):
            self._container = av.open(
                str(self._temporary.absolute()),
                "w",
                format="mp4",
                options={"movflags": "faststart"},
            )

    def write(self, frames: np.ndarray) -> None:
        """Append frames; the first one is a key frame, so an episode can begin here.

        Args:
            frames: uint8 RGB ``(T, H, W, 3)``, the same H and W in every call.

        Raises:
            ValueError: For another shape or type.
            VideoError: If the disk or the encoder refuses.
        """
        check_frames(frames)
        height, width = frames.shape[1:3]
        if self._size not in (None, (width, height)):
            raise ValueError(f"frames: expected {self._size} px (W, H), got {(width, height)}")
        padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        with _translated(self.path, "written"):
            if self._size is None:
                self._start(padded.shape[2], padded.shape[1])
                self._size = (width, height)
            for index, picture in enumerate(padded):
                self._encode(picture, key=index == 0)

    def _start(self, width_px: int, height_px: int) -> None:
        self._stream = self._container.add_stream("libx264", self._rate, options=self._options)
        self._stream.width, self._stream.height = width_px, height_px
        self._stream.pix_fmt = "yuv420p"

    def _encode(self, picture: np.ndarray, *, key: bool) -> None:
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts = self.n_frames
        frame.time_base = 1 / self._rate
        frame.pict_type = PictureType.I if key else PictureType.NONE
        self._container.mux(self._stream.encode(frame))
        self.n_frames += 1

    @property
    def size_bytes(self) -> int:
        """How much of the file has reached the disk so far."""
        return self._temporary.stat().st_size if self._temporary.exists() else 0

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            VideoError: If no frame was written or the disk refuses.
        """
        if self._size is None:
            self.abort()
            raise VideoError(f"{self.path}: no frames to write")
        with _translated(self.path, "written"):
            self._container.mux(self._stream.encode(None))
            self._container.close()
            os.replace(self._temporary, self.path)

    def abort(self) -> None:
        """Throw away what was written."""
        with _translated(self.path, "written"):
            if self._size is not None:
                self._container.close()
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def write_video(path: Path | str, frames: np.ndarray, fps: float, gop: int = MAX_GOP_STEPS) -> None:
    """Write frames as an H.264 mp4 (yuv420p, key frame every ``gop`` frames at most).

    An odd width or height is padded to even by repeating the last column or row. The file appears
    under its name only when it is whole.

    Args:
        path: Where; its folder must exist.
        frames: uint8 RGB ``(T, H, W, 3)``, T >= 1.
        fps: Frames per second, 0.01 to 1000.
        gop: Distance between key frames in frames, 1 to 10.

    Raises:
        ValueError: For frames of another shape or type, or a number out of range.
        VideoError: If it cannot be written there.
    """
    check_frames(frames)
    with VideoWriter(path, fps, gop_steps=gop) as writer:
        writer.write(frames)
