"""Video files in and out."""

import contextlib

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sole.data.video import (
    MAX_GOP_STEPS,
    VideoWriter,
    fitted_size,
    read_clip,
    read_video,
    stack_frames,
    video_size,
    write_video,
)
from sole.errors import VideoError

pytestmark = pytest.mark.filterwarnings("error")


def smooth_film(n_frames=12, height=48, width=64):
    """Gradients and a square that moves: what a codec can keep, and every frame is different."""
    film = np.zeros((n_frames, height, width, 3), np.uint8)
    film[..., 0] = np.linspace(0, 255, width)
    film[..., 1] = np.linspace(0, 255, height)[:, None]
    for index in range(n_frames):
        film[index, 8:24, 2 * index : 2 * index + 16] = (0, 0, 255)
    return film


def mean_error(a, b):
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def encode(path, film, codec, pixel_format, **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 10, options=options)
        stream.width, stream.height, stream.pix_fmt = film.shape[2], film.shape[1], pixel_format
        for picture in film:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode(None))


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert text
    return text


def test_a_written_film_reads_back_with_small_error_and_its_rate(tmp_path):
    film = smooth_film()
    write_video(tmp_path / "a.mp4", film, 29.97)
    frames, fps = read_video(tmp_path / "a.mp4")
    assert frames.shape == film.shape
    assert frames.dtype == np.uint8
    assert fps == pytest.approx(29.97, abs=1e-3)
    assert mean_error(frames, film) < 3.0


def test_odd_sizes_are_padded_by_repeating_the_edge(tmp_path):
    film = smooth_film(4, 47, 63)
    write_video(tmp_path / "a.mp4", film, 10)
    frames, _ = read_video(tmp_path / "a.mp4")
    assert frames.shape == (4, 48, 64, 3)
    assert mean_error(frames[:, :47, :63], film) < 3.0
    assert mean_error(frames[:, 47], frames[:, 46]) < 3.0


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 3)])
def test_tiny_pictures_can_be_written(tmp_path, size):
    write_video(tmp_path / "a.mp4", np.full((1, *size, 3), 128, np.uint8), 1)
    frames, _ = read_video(tmp_path / "a.mp4")
    assert mean_error(frames, np.full_like(frames, 128)) < 3.0


def test_key_frames_are_at_most_ten_frames_apart(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_film(25), 10)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        keys = [i for i, p in enumerate(container.demux(stream)) if p.size and p.is_keyframe]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.name == "h264"
    assert keys == [0, 10, 20]


def test_max_frames_reads_the_beginning_only(tmp_path):
    film = smooth_film()
    write_video(tmp_path / "a.mp4", film, 10)
    frames, _ = read_video(tmp_path / "a.mp4", 5)
    assert mean_error(frames, film[:5]) < 3.0


def test_large_frames_are_shrunk_keeping_their_aspect(tmp_path):
    encode(tmp_path / "a.mp4", np.zeros((2, 720, 1280, 3), np.uint8), "libx264", "yuv420p")
    assert read_video(tmp_path / "a.mp4")[0].shape == (2, 288, 512, 3)
    assert read_video(tmp_path / "a.mp4", max_side_px=96)[0].shape == (2, 54, 96, 3)
    assert video_size(tmp_path / "a.mp4") == (1280, 720)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "tolerance"),
    [
        ("a.webm", "libvpx-vp9", "yuv420p", 4.0),
        ("alpha.webm", "libvpx-vp9", "yuva420p", 4.0),
        ("a.avi", "mpeg4", "yuv420p", 8.0),
        ("a.mov", "qtrle", "argb", 0.01),
        ("wide.mov", "libx264", "yuv444p", 4.0),
        ("bframes.mp4", "libx264", "yuv420p", 4.0),
        ("bgra.avi", "ffv1", "bgra", 0.01),
    ],
)
def test_every_container_and_pixel_format_becomes_rgb(
    tmp_path, name, codec, pixel_format, tolerance
):
    film = smooth_film()
    encode(tmp_path / name, film, codec, pixel_format)
    frames, fps = read_video(tmp_path / name)
    assert frames.shape == film.shape
    assert fps == pytest.approx(10)
    assert mean_error(frames, film) < tolerance


def test_grey_video_becomes_three_equal_channels(tmp_path):
    encode(tmp_path / "a.mkv", smooth_film(), "ffv1", "gray")
    frames, _ = read_video(tmp_path / "a.mkv")
    assert np.array_equal(frames[..., 0], frames[..., 1])
    assert np.array_equal(frames[..., 0], frames[..., 2])


@pytest.mark.parametrize("share", [0.5, 0.7, 0.98])
def test_a_film_cut_short_is_refused_though_some_frames_decode(tmp_path, share):
    write_video(tmp_path / "whole.mp4", smooth_film(30), 10)
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoError, match="cut short or damaged") as error:
        read_video(tmp_path / "cut.mp4")
    assert "cut.mp4" in one_line(error)


def test_a_film_without_its_index_is_refused(tmp_path):
    encode(tmp_path / "whole.mov", smooth_film(), "libx264", "yuv420p")
    data = (tmp_path / "whole.mov").read_bytes()
    (tmp_path / "cut.mov").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="cannot be read as a video"):
        read_video(tmp_path / "cut.mov")


def test_what_is_not_a_video_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.txt").write_text("a story\n" * 200)
    (tmp_path / "text.mp4").write_text("a story\n" * 200)
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.mp4", "PNG")
    (tmp_path / "folder.mp4").mkdir()
    names = ["empty.mp4", "text.txt", "text.mp4", "picture.mp4", "folder.mp4", "absent.mp4"]
    for name in names:
        with pytest.raises(VideoError) as error:
            read_video(tmp_path / name)
        assert name in one_line(error)
        assert error.value.exit_code == 2


def test_sound_without_pictures_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", 8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="no video stream"):
        read_video(tmp_path / "a.wav")


@settings(max_examples=30, deadline=None)
@given(data=st.binary(min_size=1, max_size=400))
def test_arbitrary_bytes_never_raise_anything_but_video_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "noise.mp4"
    path.write_bytes(data)
    with pytest.raises(VideoError):
        read_video(path)


@settings(max_examples=25, deadline=None)
@given(where=st.floats(0, 1), value=st.integers(0, 255), n_bytes=st.integers(1, 60))
def test_a_damaged_film_gives_frames_or_video_error(tmp_path_factory, where, value, n_bytes):
    folder = tmp_path_factory.getbasetemp()
    if not (folder / "sound.mp4").exists():
        write_video(folder / "sound.mp4", smooth_film(6, 16, 16), 10)
    data = bytearray((folder / "sound.mp4").read_bytes())
    start = int(where * (len(data) - n_bytes))
    data[start : start + n_bytes] = bytes([value]) * n_bytes
    (folder / "damaged.mp4").write_bytes(bytes(data))
    with contextlib.suppress(VideoError):
        frames, fps = read_video(folder / "damaged.mp4")
        assert frames.dtype == np.uint8
        assert fps > 0


def test_an_interrupted_writer_leaves_nothing_behind(tmp_path):
    def stop():
        with VideoWriter(tmp_path / "a.mp4", 10) as writer:
            writer.write(smooth_film(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert list(tmp_path.iterdir()) == []


def test_a_writer_keeps_the_old_file_until_the_new_one_is_whole(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_film(4), 10)
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        writer.write(smooth_film(6))
        assert len(read_video(tmp_path / "a.mp4")[0]) == 4
    assert len(read_video(tmp_path / "a.mp4")[0]) == 6
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_writer_refuses_a_second_size_and_no_frames(tmp_path):
    def two_sizes():
        with VideoWriter(tmp_path / "a.mp4", 10) as writer:
            writer.write(smooth_film(2))
            writer.write(smooth_film(2, 32, 32))

    with pytest.raises(ValueError, match="expected"):
        two_sizes()
    with pytest.raises(VideoError, match="no frames"):
        VideoWriter(tmp_path / "b.mp4", 10).close()
    assert list(tmp_path.iterdir()) == []


def test_writing_into_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(VideoError, match="cannot be written") as error:
        write_video(tmp_path / "no" / "a.mp4", smooth_film(2), 10)
    one_line(error)


@pytest.mark.parametrize(
    ("frames", "fps", "gop"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), 10, 10),
        (np.zeros((2, 3, 4, 4), np.uint8), 10, 10),
        (np.zeros((2, 4, 4, 3), np.uint8), 0, 10),
        (np.zeros((2, 4, 4, 3), np.uint8), float("nan"), 10),
        (np.zeros((2, 4, 4, 3), np.uint8), 10, MAX_GOP_STEPS + 1),
    ],
)
def test_frames_rates_and_distances_out_of_range_raise(tmp_path, frames, fps, gop):
    with pytest.raises(ValueError, match="expected"):
        write_video(tmp_path / "a.mp4", frames, fps, gop)


def test_a_clip_is_exactly_the_frames_of_its_episode(tmp_path):
    first, second = smooth_film(13), smooth_film(9)[:, ::-1].copy()
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        writer.write(first)
        writer.write(second)
    clip = read_clip(tmp_path / "a.mp4", 1.3, 9)
    assert mean_error(clip, second) < 3.0
    assert np.array_equal(clip, read_video(tmp_path / "a.mp4")[0][13:])
    with pytest.raises(VideoError, match="expected 20 frames"):
        read_clip(tmp_path / "a.mp4", 1.3, 20)


def test_too_many_frames_for_memory_are_refused(monkeypatch):
    monkeypatch.setattr("sole.data.video.MAX_FRAMES_BYTES", 1000)
    with pytest.raises(VideoError, match="max_frames"):
        stack_frames([np.zeros((16, 16, 3), np.uint8)] * 3, "film")


@settings(max_examples=50, deadline=None)
@given(width=st.integers(1, 8000), height=st.integers(1, 8000), max_side_px=st.integers(2, 1024))
def test_fitted_size_never_enlarges_nor_exceeds(width, height, max_side_px):
    fitted = fitted_size(width, height, max_side_px)
    assert max(fitted) <= max_side_px
    if max(width, height) <= max_side_px:
        assert fitted == (width, height)
    else:
        assert fitted[0] >= 1
        assert fitted[1] >= 1
