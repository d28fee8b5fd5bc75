"""The picture a reward model looks at: columns are moments, rows are cameras.

Columns are first | previous | current, or first | current in a from-zero read; rows are external
(top) and wrist (bottom), and one camera makes one row. The geometry of the released SOLE-R1-8B is
the preset :data:`SOLE_R1_8B`; ours is :data:`NANO`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from sole.data.episode import VIEW_NAMES


@dataclass(frozen=True)
class Geometry:
    """How large the tiles of the picture are and what happens to the whole afterwards.

    Attributes:
        tile_px: Side of the square each view of each moment is fitted into.
        separator_px: Width of the black lines between columns and between rows.
        resize_factor: The finished picture is resized (bicubic) so that both sides are multiples
            of this; None leaves it as it is.
        min_pixels, max_pixels: Bounds on the area of the resized picture; used only by that step.
    """

    tile_px: int
    separator_px: int
    resize_factor: int | None = None
    min_pixels: int = 3136
    max_pixels: int = 12_845_056

    def __post_init__(self) -> None:
        factor = 1 if self.resize_factor is None else self.resize_factor
        if self.tile_px < 1 or self.separator_px < 0 or factor < 1:
            raise ValueError(f"geometry: expected positive sizes, got {self}")
        if not 0 < self.min_pixels <= self.max_pixels:
            raise ValueError(f"geometry: expected 0 < min_pixels <= max_pixels, got {self}")

    def composed_size_px(self, n_rows: int, n_columns: int) -> tuple[int, int]:
        """Height and width of the picture before the resize.

        Example:
            >>> SOLE_R1_8B.composed_size_px(2, 3)
            (773, 1162)
        """
        step = self.tile_px + self.separator_px
        return n_rows * step - self.separator_px, n_columns * step - self.separator_px


SOLE_R1_8B = Geometry(tile_px=384, separator_px=5, resize_factor=28)
"""The released 8B model: two views are 1162 x 773, resized to 1176 x 784 (width x height)."""

NANO = Geometry(tile_px=96, separator_px=1)
"""Our own small model: no resize, so :func:`split_tiles` gets every tile back exactly."""

GEOMETRIES: Mapping[str, Geometry] = {"sole_r1_8b": SOLE_R1_8B, "nano": NANO}


def fit_tile(frame: np.ndarray, tile_px: int) -> np.ndarray:
    """Fit one frame into a black square, keeping its aspect ratio and centring it.

    The longer side becomes ``tile_px``; both sides are truncated with ``int()``, as the released
    model was trained. Each new pixel is the average of the area it covers (what OpenCV calls
    INTER_AREA). A frame that is already ``tile_px`` square comes back with the same pixels.

    Args:
        frame: uint8 RGB ``(H, W, 3)``.
        tile_px: Side of the square.

    Returns:
        uint8 ``(tile_px, tile_px, 3)``, never a view of ``frame``.

    Raises:
        ValueError: If ``frame`` is not uint8 RGB.

    Example:
        >>> tile = fit_tile(np.full((2, 4, 3), 9, np.uint8), 4)
        >>> tile[:, 0, 0].tolist()
        [0, 9, 9, 0]
    """
    height, width = _check_frame(frame).shape[:2]
    scale = tile_px / max(height, width)
    new_height, new_width = max(1, int(height * scale)), max(1, int(width * scale))
    tile = np.zeros((tile_px, tile_px, 3), np.uint8)
    top, left = (tile_px - new_height) // 2, (tile_px - new_width) // 2
    tile[top : top + new_height, left : left + new_width] = _area_resize(
        frame, new_height, new_width
    )
    return tile


def compose(
    first: Mapping[str, np.ndarray],
    previous: Mapping[str, np.ndarray] | None,
    current: Mapping[str, np.ndarray],
    geometry: Geometry,
) -> np.ndarray:
    """Put the moments of one question into one picture.

    Args:
        first: The first frame of the episode, uint8 RGB ``(H, W, 3)`` by view name.
        previous: The previously scored moment, or None for a from-zero read (no middle column).
        current: The moment in question.
        geometry: Sizes; see :class:`Geometry`.

    Returns:
        uint8 RGB ``(height, width, 3)``; rows in the order external, wrist.

    Raises:
        ValueError: If the moments do not have the same views, or a frame is not uint8 RGB.

    Example:
        >>> views = {"external": np.zeros((8, 8, 3), np.uint8)}
        >>> compose(views, views, views, NANO).shape, compose(views, None, views, NANO).shape
        ((96, 290, 3), (96, 193, 3))
    """
    moments = [first, current] if previous is None else [first, previous, current]
    names = ordered_views(first)
    for moment in moments:
        if set(moment) != set(names):
            raise ValueError(f"picture: expected views {names} in all, got {tuple(moment)}")
    step = geometry.tile_px + geometry.separator_px
    picture = np.zeros((*geometry.composed_size_px(len(names), len(moments)), 3), np.uint8)
    for row, name in enumerate(names):
        for column, moment in enumerate(moments):
            tile = fit_tile(moment[name], geometry.tile_px)
            top, left = row * step, column * step
            picture[top : top + geometry.tile_px, left : left + geometry.tile_px] = tile
    return _resize_to_factor(picture, geometry)


def split_tiles(picture: np.ndarray, geometry: Geometry, n_rows: int, n_columns: int) -> np.ndarray:
    """Cut a picture back into its tiles: the exact inverse of :func:`compose`.

    Args:
        picture: uint8 RGB, as composed with ``geometry``.
        geometry: One without a resize; a resized picture has no exact tiles.
        n_rows: Number of views.
        n_columns: 3, or 2 for a from-zero picture.

    Returns:
        uint8 ``(n_rows * n_columns, tile_px, tile_px, 3)``, row by row from the top left.

    Raises:
        ValueError: If ``geometry`` resizes or the picture has another size.

    Example:
        >>> frames = [{"external": np.full((96, 96, 3), v, np.uint8)} for v in (1, 2, 3)]
        >>> split_tiles(compose(*frames, NANO), NANO, 1, 3)[:, 0, 0, 0].tolist()
        [1, 2, 3]
    """
    if geometry.resize_factor is not None:
        raise ValueError("split_tiles: a resized picture cannot be cut into its exact tiles")
    expected = (*geometry.composed_size_px(n_rows, n_columns), 3)
    if _check_frame(picture).shape != expected:
        raise ValueError(f"split_tiles: expected a picture {expected}, got {picture.shape}")
    step = geometry.tile_px + geometry.separator_px
    corners = [(row * step, column * step) for row in range(n_rows) for column in range(n_columns)]
    side = geometry.tile_px
    return np.stack([picture[top : top + side, left : left + side] for top, left in corners])


def smart_resize(
    height: int, width: int, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """Nearest size whose sides are multiples of ``factor`` and whose area is within bounds.

    The rule of the Qwen-VL processors, reproduced because the released model was trained on
    pictures that went through it.

    Returns:
        Height and width in pixels.

    Raises:
        ValueError: If one side is more than 200 times the other.

    Example:
        >>> smart_resize(773, 1162, 28, 3136, 12_845_056)
        (784, 1176)
    """
    if max(height, width) > 200 * min(height, width):
        raise ValueError(f"smart_resize: sides differ by more than 200 times: {height} x {width}")
    new_height = max(factor, round(height / factor) * factor)
    new_width = max(factor, round(width / factor) * factor)
    if new_height * new_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        new_height = max(factor, math.floor(height / shrink / factor) * factor)
        new_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif new_height * new_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * grow / factor) * factor
        new_width = math.ceil(width * grow / factor) * factor
    return new_height, new_width


def ordered_views(views: Mapping[str, object] | Sequence[str]) -> tuple[str, ...]:
    """The names present, in the order of the picture's rows.

    Raises:
        ValueError: If there is none, or one that is neither external nor wrist.

    Example:
        >>> ordered_views(["wrist", "external"])
        ('external', 'wrist')
    """
    given = set(views)
    if not given or not given <= set(VIEW_NAMES):
        raise ValueError(f"views: expected one or more of {VIEW_NAMES}, got {sorted(given)}")
    return tuple(name for name in VIEW_NAMES if name in given)


def _check_frame(frame: np.ndarray) -> np.ndarray:
    if not isinstance(frame, np.ndarray):
        raise ValueError(f"frame: expected uint8 RGB (H, W, 3), got {type(frame).__name__}")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"frame: expected uint8 RGB (H, W, 3), got {frame.dtype} {frame.shape}")
    return frame


def _resize_to_factor(picture: np.ndarray, geometry: Geometry) -> np.ndarray:
    if geometry.resize_factor is None:
        return picture
    height, width = smart_resize(
        picture.shape[0],
        picture.shape[1],
        factor=geometry.resize_factor,
        min_pixels=geometry.min_pixels,
        max_pixels=geometry.max_pixels,
    )
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(resized)


def _area_resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return frame
    by_row = _area_weights(frame.shape[0], height) @ frame.reshape(len(frame), -1).astype(
        np.float32
    )
    by_row = by_row.reshape(height, frame.shape[1], 3)
    averaged = np.matmul(_area_weights(frame.shape[1], width), by_row)
    return np.rint(averaged).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=32)
def _area_weights(n_from: int, n_to: int) -> np.ndarray:
    """Share of each old cell in each new one, float32 ``(n_to, n_from)``; rows sum to 1."""
    edges = np.arange(n_to + 1) * (n_from / n_to)
    cells = np.arange(n_from)
    starts, ends = edges[:-1, None], edges[1:, None]
    overlap = np.clip(np.minimum(ends, cells + 1) - np.maximum(starts, cells), 0.0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
