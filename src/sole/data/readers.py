"""What users have on disk (videos, picture folders, arrays) read as one or two views.

A source is a path: a video, a folder of numbered pictures, ``.npy``, ``.npz`` or ``.hdf5``; the
last two hold datasets called ``external`` and ``wrist``, or one named by ``file.h5::dataset``.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from sole.data.episode import EXTERNAL, VIEW_NAMES, WRIST, Episode, check_frames
from sole.data.video import (
    MAX_FRAMES_BYTES,
    MAX_SIDE_PX,
    fitted_size,
    read_video,
    stack_frames,
    video_size,
)
from sole.errors import ConfigError, VideoError

DEFAULT_FPS = 10.0
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
ARRAY_SUFFIXES = (".npy", ".npz", ".hdf5", ".h5")
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
Source = Path | str


def read_views(
    external: Source | None = None,
    wrist: Source | None = None,
    both: Source | None = None,
    *,
    fps: float | None = None,
    max_frames: int | None = None,
    max_side_px: int = MAX_SIDE_PX,
) -> tuple[dict[str, np.ndarray], float]:
    """Read one or two views of the same moments.

    Args:
        external: What the fixed camera saw, or None.
        wrist: What the camera on the wrist saw, or None.
        both: Instead of the two: an array file with both datasets, or a video or picture folder
            with the views side by side (left half external, right half wrist, even width).
        fps: Frames per second; None takes the file's own, and 10 where a file has none.
        max_frames: At most this many frames from the start.
        max_side_px: Larger frames are shrunk to this longest side, keeping their aspect.

    Returns:
        Frames by view name, uint8 RGB ``(T, H, W, 3)`` of equal T, and frames per second.

    Raises:
        ConfigError: If no source is given, or ``both`` beside one of the others.
        VideoError: If a source cannot be read, or lengths or frame rates differ.
    """
    if both is not None:
        if external is not None or wrist is not None:
            raise ConfigError("both: already holds the two views; leave out external and wrist")
        views, own_fps = _read_both(both, max_frames, max_side_px)
    else:
        views, own_fps = _read_each({EXTERNAL: external, WRIST: wrist}, max_frames, max_side_px)
    _check_lengths(views)
    return views, fps or own_fps or DEFAULT_FPS


def read_episode(
    task: str | None,
    external: Source | None = None,
    wrist: Source | None = None,
    both: Source | None = None,
    *,
    fps: float | None = None,
    max_frames: int | None = None,
    max_side_px: int = MAX_SIDE_PX,
) -> Episode:
    """Read one attempt at ``task`` from the user's own files; see :func:`read_views`.

    Raises:
        ConfigError: If the task is missing or blank, or the sources are not as expected.
        VideoError: If a source cannot be read.
    """
    if task is None or not task.strip():
        raise ConfigError('task: expected a sentence such as "open the drawer", got nothing')
    views, rate_hz = read_views(
        external, wrist, both, fps=fps, max_frames=max_frames, max_side_px=max_side_px
    )
    given = {EXTERNAL: external, WRIST: wrist, "both": both}
    sources = {name: str(path) for name, path in given.items() if path is not None}
    return Episode(
        task=task.strip(), views=views, fps=rate_hz, suite="video", extra={"sources": sources}
    )


def split_side_by_side(frames: np.ndarray, what: str = "frames") -> dict[str, np.ndarray]:
    """Cut pictures in the middle: the left half is external, the right half wrist.

    Raises:
        VideoError: If the width is odd, so that there is no middle.

    Example:
        >>> halves = split_side_by_side(np.zeros((2, 4, 6, 3), np.uint8))
        >>> halves["wrist"].shape
        (2, 4, 3, 3)
    """
    width = frames.shape[2]
    if width % 2 or width < 2:
        raise VideoError(f"{what}: expected an even width to cut in two, got {width} px")
    halves = np.split(frames, 2, axis=2)
    return {name: np.ascontiguousarray(half) for name, half in zip(VIEW_NAMES, halves, strict=True)}


def _read_each(
    sources: dict[str, Source | None], max_frames: int | None, max_side_px: int
) -> tuple[dict[str, np.ndarray], float | None]:
    views: dict[str, np.ndarray] = {}
    rates: dict[str, float] = {}
    for name, source in sources.items():
        if source is None:
            continue
        views[name], rate = _read_source(source, name, max_frames, max_side_px)
        if rate:
            rates[name] = rate
    if not views:
        raise ConfigError("no video given: expected external, wrist or both")
    slow, fast = min(rates.values(), default=0.0), max(rates.values(), default=0.0)
    if fast > 1.02 * slow:
        raise VideoError(
            f"the views differ in frames per second: external {rates[EXTERNAL]:.3g}, "
            f"wrist {rates[WRIST]:.3g}; convert one so that their frames belong together"
        )
    return views, fast or None


def _read_both(
    source: Source, max_frames: int | None, max_side_px: int
) -> tuple[dict[str, np.ndarray], float | None]:
    path, key = _split_key(source)
    if path.suffix.lower() in (".npz", ".hdf5", ".h5") and key is None:
        read = _read_npz if path.suffix.lower() == ".npz" else _read_hdf5
        views = {name: read(path, name, max_frames) for name in VIEW_NAMES}
        return {name: _shrunk(frames, max_side_px) for name, frames in views.items()}, None
    if path.suffix.lower() not in ARRAY_SUFFIXES and path.is_file():
        width, _ = video_size(path)
        if width % 2:
            raise VideoError(f"{path}: expected an even width to cut in two, got {width} px")
    frames, rate = _read_source(source, "both", max_frames, 2 * max_side_px)
    halves = split_side_by_side(frames, str(source))
    return {name: _shrunk(half, max_side_px) for name, half in halves.items()}, rate


def _read_source(
    source: Source, name: str, max_frames: int | None, max_side_px: int
) -> tuple[np.ndarray, float | None]:
    path, key = _split_key(source)
    arrays: dict[str, Callable[[Path, str, int | None], np.ndarray]] = {
        ".npy": _read_npy, ".npz": _read_npz, ".hdf5": _read_hdf5, ".h5": _read_hdf5,
    }  # fmt: skip
    read = arrays.get(path.suffix.lower())
    if path.is_dir():
        return _read_folder(path, max_frames, max_side_px), None
    if read is not None:
        return _shrunk(read(path, key or name, max_frames), max_side_px), None
    if path.suffix.lower() in PICTURE_SUFFIXES:
        raise VideoError(f"{path}: a single picture; expected a video or a folder of pictures")
    return read_video(path, max_frames, max_side_px=max_side_px)


def _split_key(source: Source) -> tuple[Path, str | None]:
    """Take ``file.h5::dataset`` apart; any other path has no key."""
    path, mark, key = str(source).rpartition("::")
    is_keyed = mark and Path(path).suffix.lower() in ARRAY_SUFFIXES
    return (Path(path), key) if is_keyed else (Path(source), None)


def _check_lengths(views: dict[str, np.ndarray]) -> None:
    lengths = {name: len(frames) for name, frames in views.items()}
    if len(set(lengths.values())) > 1:
        raise VideoError(
            f"the views differ in length: external {lengths[EXTERNAL]} frames, "
            f"wrist {lengths[WRIST]} frames; expected the same moments in both"
        )


def _shrunk(frames: np.ndarray, max_side_px: int) -> np.ndarray:
    height, width = frames.shape[1:3]
    size = fitted_size(width, height, max_side_px)
    if size == (width, height):
        return frames
    pictures = (Image.fromarray(frame).resize(size, Image.Resampling.BOX) for frame in frames)
    return stack_frames((np.asarray(picture) for picture in pictures), "frames")


def _numbers_first(path: Path) -> tuple[list[int], str]:
    """Sort key: frame_2 comes before frame_10, and names without numbers by letters."""
    return [int(digits) for digits in re.findall(r"\d+", path.stem)], path.name


def _read_folder(folder: Path, max_frames: int | None, max_side_px: int) -> np.ndarray:
    try:
        entries = [p for p in folder.iterdir() if not p.name.startswith(".")]
    except OSError as error:
        raise VideoError(f"{folder}: cannot be read ({error.strerror})") from error
    pictures = [p for p in entries if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file()]
    paths = sorted(pictures, key=_numbers_first)
    if not paths:
        raise VideoError(f"{folder}: no pictures in this folder; expected .png or .jpg files")
    return stack_frames(_read_pictures(paths[:max_frames], max_side_px), str(folder))


def _read_pictures(paths: list[Path], max_side_px: int) -> Iterator[np.ndarray]:
    first_size: tuple[int, int] | None = None
    for path in paths:
        picture = _read_picture(path)
        first_size = first_size or picture.size
        if picture.size != first_size:
            raise VideoError(
                f"{path}: {picture.size} px (W, H), but {paths[0].name} is {first_size}; "
                "expected pictures of one size"
            )
        yield np.asarray(picture.resize(_fit(picture, max_side_px), Image.Resampling.BOX))


def _fit(picture: Image.Image, max_side_px: int) -> tuple[int, int]:
    return fitted_size(picture.width, picture.height, max_side_px)


def _read_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            if picture.mode not in _EIGHT_BIT_MODES:
                raise VideoError(f"{path}: mode {picture.mode}; expected 8-bit grey or colour")
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(f"{path}: cannot be read as a picture ({error})") from error


def _read_npy(path: Path, name: str, max_frames: int | None) -> np.ndarray:
    del name  # holds one array
    try:
        frames = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VideoError(f"{path}: cannot be read as an array ({_first_line(error)})") from error
    return _checked(frames, str(path), max_frames)


def _read_npz(path: Path, name: str, max_frames: int | None) -> np.ndarray:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise VideoError(f"{path}: a single array, not an archive; rename it to .npy")
        with archive:
            if name not in archive.files:
                raise VideoError(f"{path}: no array {name!r} in it; found {archive.files}")
            frames = np.asarray(archive[name])  # a member that is no array comes as bytes
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise VideoError(f"{path}: cannot be read as .npz ({_first_line(error)})") from error
    return _checked(frames, f"{path}::{name}", max_frames)


def _read_hdf5(path: Path, name: str, max_frames: int | None) -> np.ndarray:
    try:
        import h5py
    except ImportError as error:
        raise VideoError(
            f"{path}: HDF5 needs h5py, which is not installed: pip install 'sole-rewards[hdf5]'"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            dataset = file.get(name)
            if not isinstance(dataset, h5py.Dataset):
                raise VideoError(f"{path}: no dataset {name!r} in it; found {sorted(file)}")
            if dataset.nbytes > MAX_FRAMES_BYTES and max_frames is None:
                raise VideoError(f"{path}::{name}: {dataset.nbytes} bytes; use max_frames")
            frames = dataset[:max_frames] if dataset.ndim else dataset[()]
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        raise VideoError(f"{path}: cannot be read as HDF5 ({_first_line(error)})") from error
    return _checked(np.asarray(frames), f"{path}::{name}", max_frames)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _checked(frames: np.ndarray, what: str, max_frames: int | None) -> np.ndarray:
    if frames.nbytes > MAX_FRAMES_BYTES and max_frames is None:
        raise VideoError(f"{what}: {frames.nbytes / 2**30:.1f} GiB of frames; use max_frames")
    try:
        return check_frames(frames[:max_frames] if frames.ndim else frames, what)
    except ValueError as error:
        raise VideoError(str(error)) from error
