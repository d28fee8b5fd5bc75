"""Videos, picture folders and arrays read as views."""

import builtins
import io
import sys
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from sole.data.readers import (
    DEFAULT_FPS,
    read_episode,
    read_views,
    split_side_by_side,
)
from sole.data.video import write_video
from sole.errors import ConfigError, VideoError


def film(n_frames=5, height=16, width=16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n_frames, height, width, 3), dtype=np.uint8)


def flat(n_frames, *levels, size=32):
    """Frames made of vertical stripes of constant grey: a codec keeps those."""
    row = np.repeat(np.asarray(levels, np.uint8), size)
    return np.broadcast_to(row[None, None, :, None], (n_frames, size, len(row), 3)).copy()


def write_folder(folder, frames, suffix=".png"):
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{index}{suffix}")
    return folder


def test_two_videos_become_two_views(tmp_path):
    write_video(tmp_path / "e.mp4", flat(5, 50), 15)
    write_video(tmp_path / "w.mp4", flat(5, 200), 15)
    views, fps = read_views(tmp_path / "e.mp4", tmp_path / "w.mp4")
    assert fps == pytest.approx(15)
    assert abs(float(views["external"].mean()) - 50) < 4
    assert abs(float(views["wrist"].mean()) - 200) < 4


@pytest.mark.parametrize("name", ["external", "wrist"])
def test_one_view_is_enough(tmp_path, name):
    write_video(tmp_path / "a.mp4", flat(5, 50), 15)
    views, _ = read_views(**{name: str(tmp_path / "a.mp4")})
    assert list(views) == [name]


def test_a_side_by_side_video_is_cut_in_the_middle(tmp_path):
    write_video(tmp_path / "both.mp4", flat(4, 40, 220), 10)
    views, _ = read_views(both=tmp_path / "both.mp4")
    assert views["external"].shape == views["wrist"].shape == (4, 32, 32, 3)
    assert abs(float(views["external"].mean()) - 40) < 5
    assert abs(float(views["wrist"].mean()) - 220) < 5


def test_a_large_side_by_side_video_gives_halves_of_the_full_size(tmp_path):
    write_video(tmp_path / "both.mp4", np.zeros((1, 96, 256, 3), np.uint8), 10)
    views, _ = read_views(both=tmp_path / "both.mp4", max_side_px=64)
    assert views["external"].shape == views["wrist"].shape == (1, 48, 64, 3)


def test_an_odd_side_by_side_width_is_refused(tmp_path):
    with pytest.raises(VideoError, match="even width"):
        split_side_by_side(film(2, 4, 7))
    folder = write_folder(tmp_path / "both", film(2, 4, 7))
    with pytest.raises(VideoError, match="even width"):
        read_views(both=folder)


def test_different_lengths_are_refused_with_both(tmp_path):
    write_video(tmp_path / "e.mp4", flat(5, 50), 10)
    write_video(tmp_path / "w.mp4", flat(7, 50), 10)
    with pytest.raises(VideoError, match="external 5 frames, wrist 7 frames"):
        read_views(tmp_path / "e.mp4", tmp_path / "w.mp4")


def test_different_frame_rates_are_refused(tmp_path):
    write_video(tmp_path / "e.mp4", flat(5, 50), 10)
    write_video(tmp_path / "w.mp4", flat(5, 50), 30)
    with pytest.raises(VideoError, match="frames per second"):
        read_views(tmp_path / "e.mp4", tmp_path / "w.mp4")


def test_a_picture_folder_is_sorted_by_number(tmp_path):
    frames = film(12)
    folder = write_folder(tmp_path / "pictures", frames)
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_text("not a picture")
    views, fps = read_views(folder)
    assert np.array_equal(views["external"], frames)
    assert fps == DEFAULT_FPS
    assert len(read_views(folder, max_frames=3)[0]["external"]) == 3


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (8, 6), 77).save(folder / "1.png")
    Image.new("RGBA", (8, 6), (77, 77, 77, 10)).save(folder / "2.png")
    Image.new("P", (8, 6)).save(folder / "3.png")
    views, _ = read_views(folder)
    assert views["external"].shape == (3, 6, 8, 3)
    assert np.all(views["external"][:2] == 77)


def test_large_pictures_are_shrunk(tmp_path):
    folder = write_folder(tmp_path / "pictures", film(1, 60, 120), ".jpg")
    assert read_views(folder, max_side_px=40)[0]["external"].shape == (1, 20, 40, 3)


def test_bad_picture_folders_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    mixed = write_folder(tmp_path / "mixed", film(2))
    Image.new("RGB", (9, 9)).save(mixed / "frame_2.png")
    deep = tmp_path / "deep"
    deep.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(deep / "1.png")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    matches = {"none": "no pictures", "mixed": "one size", "deep": "8-bit", "broken": "cannot be"}
    for name, match in matches.items():
        with pytest.raises(VideoError, match=match) as error:
            read_views(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_single_picture_is_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(VideoError, match="single picture"):
        read_views(tmp_path / "a.png")


def test_npz_holds_one_or_both_views(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, external=film(seed=1), wrist=film(seed=2))
    views, fps = read_views(both=path)
    assert np.array_equal(views["wrist"], film(seed=2))
    assert fps == DEFAULT_FPS
    assert np.array_equal(read_views(wrist=path, fps=5)[0]["wrist"], film(seed=2))
    keyed, fps = read_views(f"{path}::wrist", fps=5)
    assert np.array_equal(keyed["external"], film(seed=2))
    assert fps == 5


def test_npy_holds_one_view(tmp_path):
    np.save(tmp_path / "a.npy", film())
    assert np.array_equal(read_views(tmp_path / "a.npy")[0]["external"], film())


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
def test_hdf5_holds_datasets_by_view_or_by_name(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with h5py.File(path, "w") as file:
        file["external"], file["wrist"] = film(seed=1), film(seed=2)
        file["data/demo_0/agentview"] = film(seed=3)
    assert np.array_equal(read_views(both=path)[0]["external"], film(seed=1))
    views, _ = read_views(f"{path}::data/demo_0/agentview", max_frames=2)
    assert np.array_equal(views["external"], film(seed=3)[:2])
    for name in ("data", "absent"):
        with pytest.raises(VideoError, match="no dataset"):
            read_views(f"{path}::{name}")


def test_arrays_of_another_shape_or_type_are_refused(tmp_path):
    bad = [np.zeros((2, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8), np.uint8(3)]
    for array in bad:
        np.savez(tmp_path / "a.npz", external=array)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["external"] = array
        for name in ("a.npz", "a.h5"):
            with pytest.raises(VideoError, match="expected uint8 RGB"):
                read_views(tmp_path / name)


def test_array_files_that_are_not_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "pickled.npz", external=np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "other.npz", frames=film())
    np.save(tmp_path / "plain.npy", film())
    (tmp_path / "plain.npy").rename(tmp_path / "plain.npz")
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("external.npy", b"")
    (tmp_path / "cut.zip").rename(tmp_path / "cut.npz")
    names = ["pickled.npz", "other.npz", "plain.npz", "cut.npz", "absent.npz", "absent.h5"]
    for suffix in (".npz", ".npy", ".h5", ".hdf5"):
        (tmp_path / f"text{suffix}").write_text("a story\n" * 9)
        (tmp_path / f"empty{suffix}").write_text("")
        names += [f"text{suffix}", f"empty{suffix}"]
    for name in names:
        with pytest.raises(VideoError) as error:
            read_views(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def test_missing_h5py_names_the_extra(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def without_h5py(name, *arguments, **keywords):
        if name == "h5py":
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, "h5py")
    monkeypatch.setattr(builtins, "__import__", without_h5py)
    with pytest.raises(VideoError, match=r"pip install 'sole-rewards\[hdf5\]'"):
        read_views(tmp_path / "a.h5")


def test_an_episode_holds_task_views_and_where_they_come_from(tmp_path):
    write_video(tmp_path / "e.mp4", flat(5, 50), 15)
    episode = read_episode("  open the drawer ", tmp_path / "e.mp4")
    assert episode.task == "open the drawer"
    assert episode.fps == pytest.approx(15)
    assert episode.truth is None
    assert episode.suite == "video"
    assert episode.extra["sources"] == {"external": str(tmp_path / "e.mp4")}


@pytest.mark.parametrize("task", [None, "", "  \n"])
def test_an_episode_needs_a_task(task):
    with pytest.raises(ConfigError, match="task"):
        read_episode(task, "a.mp4")


def test_sources_must_be_given_one_way():
    with pytest.raises(ConfigError, match="no video given"):
        read_views()
    with pytest.raises(ConfigError, match="both"):
        read_views("a.mp4", both="b.mp4")


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(
            st.integers(1, 3), st.integers(1, 5), st.integers(1, 5).map(lambda n: 2 * n), st.just(3)
        ),
    )
)
def test_halves_side_by_side_are_the_whole(frames):
    halves = split_side_by_side(frames)
    assert np.array_equal(np.concatenate([halves["external"], halves["wrist"]], 2), frames)


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=200), suffix=st.sampled_from([".npz", ".npy", ".h5", ".mp4"]))
def test_arbitrary_bytes_never_raise_anything_but_video_error(tmp_path_factory, data, suffix):
    path = tmp_path_factory.getbasetemp() / f"noise{suffix}"
    path.write_bytes(data)
    with pytest.raises(VideoError):
        read_views(path)


def test_an_array_cut_short_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, film())
    (tmp_path / "a.npy").write_bytes(buffer.getvalue()[:-10])
    with pytest.raises(VideoError, match="cannot be read"):
        read_views(tmp_path / "a.npy")
