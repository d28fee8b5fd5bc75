"""The composite picture: sizes, where each pixel comes from, and pictures kept for comparison."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sole.protocol.composite import (
    NANO,
    SOLE_R1_8B,
    Geometry,
    compose,
    fit_tile,
    ordered_views,
    smart_resize,
    split_tiles,
)

GOLDEN = Path(__file__).parent / "golden" / "pictures"
QUICK = settings(max_examples=40, deadline=None)
VIEW_SETS = [("external",), ("wrist",), ("external", "wrist")]
GOLDEN_GEOMETRIES = {
    "plain": Geometry(tile_px=24, separator_px=2),
    "resized": Geometry(tile_px=24, separator_px=2, resize_factor=14, min_pixels=196),
}


def random_views(names, height, width, seed):
    rng = np.random.default_rng(seed)
    shape = (height, width, 3)
    return {name: rng.integers(0, 256, shape, dtype=np.uint8) for name in names}


def drawn_views(names, moment):
    """Gradients of a known, unequal shape: what is wrong in a picture of them can be seen."""
    rows, columns = np.mgrid[0:30, 0:40]
    pictures = {}
    for number, name in enumerate(names):
        planes = [rows * 8, columns * 6, np.full_like(rows, 60 * moment + 90 * number)]
        pictures[name] = np.stack(planes, axis=-1).astype(np.uint8)
    return pictures


@QUICK
@given(
    st.sampled_from(VIEW_SETS), st.booleans(), st.integers(1, 20), st.integers(0, 4), st.integers()
)
def test_the_size_follows_from_tiles_and_separators(names, chained, tile_px, separator_px, seed):
    geometry = Geometry(tile_px, separator_px)
    first, previous, current = (random_views(names, 9, 13, abs(seed) + i) for i in range(3))
    picture = compose(first, previous if chained else None, current, geometry)
    n_columns = 3 if chained else 2
    assert picture.shape == (
        len(names) * tile_px + (len(names) - 1) * separator_px,
        n_columns * tile_px + (n_columns - 1) * separator_px,
        3,
    )
    assert picture.dtype == np.uint8


@QUICK
@given(
    st.sampled_from(VIEW_SETS), st.booleans(), st.integers(1, 20), st.integers(0, 4), st.integers()
)
def test_split_tiles_gets_every_fitted_frame_back_in_order(
    names, chained, tile_px, separator_px, seed
):
    geometry = Geometry(tile_px, separator_px)
    first, previous, current = (random_views(names, 7, 16, abs(seed) + i) for i in range(3))
    moments = [first, previous, current] if chained else [first, current]
    picture = compose(first, previous if chained else None, current, geometry)
    tiles = split_tiles(picture, geometry, len(names), len(moments))
    expected = [fit_tile(moment[name], tile_px) for name in names for moment in moments]
    np.testing.assert_array_equal(tiles, np.stack(expected))


@QUICK
@given(st.integers(1, 12), st.integers(1, 4), st.integers())
def test_every_pixel_outside_the_tiles_is_black(tile_px, separator_px, seed):
    geometry = Geometry(tile_px, separator_px)
    white = {name: np.full((tile_px, tile_px, 3), 255, np.uint8) for name in ("external", "wrist")}
    picture = compose(white, white, white, geometry)
    assert np.count_nonzero(picture) == 6 * tile_px * tile_px * 3


@QUICK
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 32))
def test_a_fitted_frame_keeps_its_range_and_leaves_only_black_around_it(height, width, tile_px):
    frame = np.random.default_rng(height).integers(100, 201, (height, width, 3), dtype=np.uint8)
    tile = fit_tile(frame, tile_px)
    inside = tile[tile > 0]
    assert tile.shape == (tile_px, tile_px, 3)
    assert inside.size
    assert 100 <= inside.min() <= inside.max() <= 200
    scale = tile_px / max(height, width)
    assert inside.size == max(1, int(height * scale)) * max(1, int(width * scale)) * 3


def test_a_frame_of_the_right_size_passes_through_as_a_copy():
    frame = random_views(["external"], 16, 16, 0)["external"]
    tile = fit_tile(frame, 16)
    np.testing.assert_array_equal(tile, frame)
    assert not np.shares_memory(tile, frame)


def test_shrinking_by_a_whole_number_averages_blocks():
    frame = random_views(["external"], 12, 12, 1)["external"]
    blocks = frame.reshape(4, 3, 4, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(fit_tile(frame, 4), blocks, atol=0.51)


def test_shrinking_by_a_fraction_weighs_pixels_by_the_area_they_share():
    frame = np.repeat(np.array([[[0], [90], [180]]], np.uint8), 3, axis=2)
    row = fit_tile(np.repeat(frame, 3, axis=0), 2)[0, :, 0]
    assert row.tolist() == [30, 150]


def test_the_external_view_is_on_top_whatever_order_the_views_come_in():
    views = {"wrist": np.full((8, 8, 3), 1, np.uint8), "external": np.full((8, 8, 3), 2, np.uint8)}
    picture = compose(views, views, views, Geometry(8, 1))
    assert picture[0, 0, 0] == 2
    assert picture[-1, 0, 0] == 1


@pytest.mark.parametrize(
    ("names", "chained", "size"),
    [
        (("external", "wrist"), True, (784, 1176)),
        (("external",), True, (392, 1176)),
        (("external", "wrist"), False, (784, 784)),
        (("wrist",), False, (392, 784)),
    ],
)
def test_the_released_models_picture_has_its_training_size(names, chained, size):
    views = random_views(names, 48, 64, 2)
    picture = compose(views, views if chained else None, views, SOLE_R1_8B)
    assert picture.shape == (*size, 3)


def test_the_released_models_picture_is_1162_by_773_before_the_resize():
    assert SOLE_R1_8B.composed_size_px(2, 3) == (773, 1162)
    assert SOLE_R1_8B.composed_size_px(1, 2) == (384, 773)


def test_nano_has_six_tiles_of_96_px():
    views = random_views(("external", "wrist"), 96, 96, 3)
    tiles = split_tiles(compose(views, views, views, NANO), NANO, 2, 3)
    assert tiles.shape == (6, 96, 96, 3)


@QUICK
@given(st.integers(10, 2000), st.integers(10, 2000), st.sampled_from([14, 28, 32]))
def test_smart_resize_gives_multiples_within_the_bounds(height, width, factor):
    new_height, new_width = smart_resize(height, width, factor, 3136, 1_000_000)
    assert new_height % factor == 0
    assert new_width % factor == 0
    assert 3136 <= new_height * new_width <= 1_000_000


def test_smart_resize_refuses_a_ribbon():
    with pytest.raises(ValueError, match="200 times"):
        smart_resize(1, 400, 28, 3136, 1_000_000)


def test_a_resized_picture_cannot_be_split():
    with pytest.raises(ValueError, match="resized"):
        split_tiles(np.zeros((784, 1176, 3), np.uint8), SOLE_R1_8B, 2, 3)


def test_a_picture_of_another_size_cannot_be_split():
    with pytest.raises(ValueError, match="expected a picture"):
        split_tiles(np.zeros((96, 96, 3), np.uint8), NANO, 2, 3)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((3, 0, 3), np.uint8), "frame"],
)
def test_a_frame_that_is_not_uint8_rgb_is_refused(frame):
    with pytest.raises(ValueError, match="expected uint8 RGB"):
        fit_tile(frame, 8)


def test_moments_with_different_views_are_refused():
    both = random_views(("external", "wrist"), 8, 8, 4)
    with pytest.raises(ValueError, match="expected views"):
        compose(both, both, {"external": both["external"]}, NANO)


@pytest.mark.parametrize("names", [(), ("front",), ("external", "front")])
def test_unknown_or_missing_views_are_refused(names):
    with pytest.raises(ValueError, match="expected one or more of"):
        ordered_views(names)


@pytest.mark.parametrize("sizes", [(0, 1), (8, -1), (8, 1, 0), (8, 1, 2, 9, 8)])
def test_a_geometry_that_cannot_be_is_refused(sizes):
    with pytest.raises(ValueError, match="geometry"):
        Geometry(*sizes)


@pytest.mark.parametrize("names", VIEW_SETS, ids="_".join)
@pytest.mark.parametrize("mode", ["chained", "from_zero"])
@pytest.mark.parametrize("kind", GOLDEN_GEOMETRIES)
def test_the_picture_is_the_one_we_looked_at(names, mode, kind):
    first, previous, current = (drawn_views(names, moment) for moment in range(3))
    middle = previous if mode == "chained" else None
    picture = compose(first, middle, current, GOLDEN_GEOMETRIES[kind])
    path = GOLDEN / f"{kind}_{'_'.join(names)}_{mode}.png"
    if os.environ.get("SOLE_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, optimize=True)
    with Image.open(path) as stored:
        golden = np.array(stored.convert("RGB"))
    # One level of room where Pillow resamples; our own pixels have to be the same.
    np.testing.assert_allclose(picture, golden, atol=1 if kind == "resized" else 0)
