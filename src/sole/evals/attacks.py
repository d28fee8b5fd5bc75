"""Disturbances of what the cameras see, from strength 0 (none) to 1, to find what a judge leans on.

Every attack here works on pictures, not in the simulator, so it also fits recorded video; those
that need a simulator are in :mod:`sole.evals.refilm`. Look-alike objects and clutter are therefore
pasted: they stand still, lie behind whatever moves, cast no shadow, and appear in the external view
only, because a wrist camera would see them move. An attack is one disturbance of one episode: its
draws are made once and hold for all its frames and views (noise and lost frames are drawn per
frame), and a stronger one is more of the same.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sole.data.episode import EXTERNAL, VIEW_NAMES, WRIST, Episode, check_frames

FrameAttack = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]

#: A pixel closer than this to the episode's median picture, in grey levels, stands still.
_STILL = 40
_MEDIAN_FRAMES = 25
#: Grey levels, added over channels: what a table's grain differs by, and what is enough beyond.
_GRAIN, _CLEAR = 40, 100
_N_LOOKALIKES = 4
_N_CLUTTER = 14
_SIGMA_PX_AT_96 = 3.0


def occlusion(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A patch of one colour covers part of the view, as a person or a cable in front of it would.

    It enters at a moment in the first half and stays; its sides are ``0.6 strength`` of the view's.
    """
    n_frames, height, width = frames.shape[:3]
    onset = int(rng.integers(1, max(n_frames // 2, 1) + 1))
    colour, place = rng.integers(0, 256, 3), rng.random(2)
    h, w = round(0.6 * strength * height), round(0.6 * strength * width)
    top, left = round(place[0] * (height - h)), round(place[1] * (width - w))
    out = frames.copy()
    out[onset:, top : top + h, left : left + w] = colour
    return out


def lookalike(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Up to four copies of the most conspicuous thing that stands still lie about on the table.

    No one says which pixels are the task's object, so the copy is of the seventh of the view that
    differs most from the table's colour and least goes on around it: the object, its goal or its
    fixture, now and then a piece of the robot or of nothing. It is a flat picture of the thing.
    """
    scene = _median_picture(frames)
    thing, solid = _conspicuous(frames, scene)
    (h, w), (height, width) = solid.shape, scene.shape[:2]
    painted, covered = scene.copy(), np.zeros((height, width), bool)
    for y, x in 0.15 + 0.7 * rng.random((_N_LOOKALIKES, 2))[: math.ceil(_N_LOOKALIKES * strength)]:
        top, left = round(y * (height - h)), round(x * (width - w))
        here = np.s_[top : top + h, left : left + w]
        painted[here][solid] = thing[solid]
        covered[here] |= solid
    return _behind(frames, scene, painted, covered)


def clutter(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Up to 14 coloured boxes and discs fill the background around the view's middle."""
    scene = _median_picture(frames)
    height, width = scene.shape[:2]
    picture, drawn = Image.fromarray(scene), Image.new("1", (width, height))
    pens = ImageDraw.Draw(picture), ImageDraw.Draw(drawn)
    shapes = [_shape(rng, height, width) for _ in range(_N_CLUTTER)]
    for box, colour, round_one in shapes[: math.ceil(_N_CLUTTER * strength)]:
        for pen, fill in zip(pens, (colour, 1), strict=True):
            (pen.ellipse if round_one else pen.rectangle)(box, fill=fill)
    return _behind(frames, scene, np.asarray(picture), np.asarray(drawn))


def lighting(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Another lamp: gain up to 1.6 or down to 0.4, gamma up to 2 or 1/2, channels by 30 percent."""
    gain = 1.0 + 0.6 * strength * rng.choice([-1.0, 1.0])
    gamma = 2.0 ** (strength * rng.uniform(-1, 1))
    cast = 1.0 + 0.3 * strength * rng.uniform(-1, 1, 3)
    levels = np.arange(256)[:, None] / 255.0
    table = np.clip(gain * cast * levels**gamma, 0, 1)
    table = np.round(255 * table).astype(np.uint8)
    return np.stack([table[frames[..., c], c] for c in range(3)], axis=-1)


def camera(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The camera stood elsewhere for the whole episode: the view turned, moved, zoomed, tilted.

    At most 15 degrees, 12 percent of the view, 15 percent of its size and a perspective that makes
    one side a tenth longer than the other; borders are repeated.
    """
    return _warp(frames, _pose(strength, rng))


def bump(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The camera is knocked at a moment of the middle half: from there on the view is warped."""
    n_frames = len(frames)
    pose = _pose(strength, rng)
    onset = int(rng.integers(max(n_frames // 4, 1), max(3 * n_frames // 4, 1) + 1))
    return np.concatenate([frames[:onset], _warp(frames[onset:], pose)])


def blur(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Out of focus: a Gaussian of up to 3 pixels at 96 pixels, in proportion on larger views."""
    sigma = _SIGMA_PX_AT_96 * strength * min(frames.shape[1:3]) / 96
    lens = ImageFilter.GaussianBlur(sigma)
    return np.stack([np.asarray(Image.fromarray(f).filter(lens)) for f in frames])


def noise(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise, new at every frame: Gaussian of up to 50 grey levels."""
    grain = rng.normal(0.0, 1.0, frames.shape).astype(np.float32)
    return np.clip(np.round(frames + 50.0 * strength * grain), 0, 255).astype(np.uint8)


def jpeg(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A weak link: every frame through JPEG, quality 95 at the weakest down to 5."""
    quality = round(95 - 90 * strength)
    return np.stack([_through_jpeg(f, quality) for f in frames])


def dropped(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Frames get lost, up to 80 percent of them; the last one that arrived is shown again."""
    lost = rng.random(len(frames)) < 0.8 * strength
    lost[0] = False
    return frames[np.maximum.accumulate(np.where(lost, 0, np.arange(len(frames))))]


def delayed(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Frames arrive late, by up to a quarter of the episode; before that the first one stands."""
    late = round(strength * (len(frames) - 1) / 4)
    return frames[np.maximum(np.arange(len(frames)) - late, 0)]


#: What is in front of one camera only: the external one, or the only one there is.
SCENE_ATTACKS: dict[str, FrameAttack] = {
    "occlusion": occlusion, "lookalike": lookalike, "clutter": clutter,
    "camera": camera, "bump": bump,
}  # fmt: skip
#: What light, lenses or the network do to every camera alike.
COMMON_ATTACKS: dict[str, FrameAttack] = {
    "lighting": lighting, "blur": blur, "noise": noise, "jpeg": jpeg,
    "dropped": dropped, "delayed": delayed,
}  # fmt: skip
#: What is in front of the camera at the gripper only.
WRIST_ATTACKS: dict[str, FrameAttack] = {"occlusion_wrist": occlusion}
SWAPPED = "swapped"
ATTACKS = (*SCENE_ATTACKS, *WRIST_ATTACKS, *COMMON_ATTACKS, SWAPPED)


def swapped(views: Mapping[str, np.ndarray], strength: float) -> dict[str, np.ndarray]:
    """The cables of two cameras are exchanged for the last ``strength`` share of the frames."""
    names = list(views)
    n_frames = len(views[names[0]])
    onset = n_frames - round(strength * n_frames)
    pairs = zip(names, reversed(names), strict=True)
    return {
        a: np.concatenate([views[a][:onset], _resized(views[b][onset:], views[a].shape[1:3])])
        for a, b in pairs
    }


def attack(episode: Episode, name: str, strength: float, seed: int = 0) -> Episode:
    """Return the episode as disturbed cameras would have filmed it; the truth stays the same.

    Args:
        episode: Any episode.
        name: One of :data:`ATTACKS`.
        strength: In [0, 1]; at 0 the episode comes back as it is.
        seed: With the episode's own seed and the name it decides every draw, at every strength the
            same ones, so that strengths differ in nothing else.

    Raises:
        ValueError: If there is no such attack, the strength is not in [0, 1], or views are to be
            swapped, or only the wrist's attacked, and there are not two.

    Example:
        >>> from sole.data.episode import make_example_episode
        >>> episode = make_example_episode(4)
        >>> bool((attack(episode, "blur", 1.0).views["wrist"] == episode.views["wrist"]).all())
        False
    """
    if name not in ATTACKS:
        raise ValueError(f"attack: expected one of {', '.join(ATTACKS)}, got {name!r}")
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"attack {name}: expected a strength in [0, 1], got {strength}")
    if not applies(episode, name):
        raise ValueError(f"attack {name}: expected two views, got {tuple(episode.views)}")
    for view, frames in episode.views.items():
        check_frames(frames, f"view {view}")
    if strength == 0.0:
        return episode
    if name == SWAPPED:
        return replace(episode, views=swapped(episode.views, strength))
    changed = {
        view: _disturb(name)(frames, strength, attack_generator(name, episode.seed, seed))
        for view, frames in episode.views.items()
        if view in _attacked(episode, name)
    }
    return replace(episode, views={**episode.views, **changed})


def applies(episode: Episode, name: str) -> bool:
    """Whether the attack can be made: some need two views, most need nothing."""
    return name not in {SWAPPED, *WRIST_ATTACKS} or len(episode.views) == len(VIEW_NAMES)


def _disturb(name: str) -> FrameAttack:
    return {**SCENE_ATTACKS, **WRIST_ATTACKS, **COMMON_ATTACKS}[name]


def _attacked(episode: Episode, name: str) -> tuple[str, ...]:
    views = tuple(episode.views)
    if name in WRIST_ATTACKS:
        return (WRIST,)
    return (EXTERNAL,) if name in SCENE_ATTACKS and EXTERNAL in views else views


def attack_generator(name: str, *seeds: int) -> np.random.Generator:
    """Random numbers of one attack on one episode: the same at every strength."""
    return np.random.default_rng([zlib.crc32(name.encode()), *(abs(seed) for seed in seeds)])


def _median_picture(frames: np.ndarray) -> np.ndarray:
    """What stands still; of a long video 25 frames tell it."""
    kept = np.linspace(0, len(frames) - 1, min(len(frames), _MEDIAN_FRAMES)).round().astype(int)
    return np.median(frames[kept], axis=0).astype(np.uint8)


def _behind(
    frames: np.ndarray, scene: np.ndarray, painted: np.ndarray, covered: np.ndarray
) -> np.ndarray:
    """Show ``painted`` where it covers and the frame shows the scene, so what moves is in front."""
    still = np.abs(frames.astype(np.int16) - scene).max(axis=-1) <= _STILL
    return np.where((still & covered)[..., None], painted, frames)


def _conspicuous(frames: np.ndarray, scene: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The still piece that stands out most from what is around it: its pixels, and which are it."""
    height, width = scene.shape[:2]
    h, w = max(height // 7, 1), max(width // 7, 1)
    moved = np.ptp(frames[:: max(len(frames) // _MEDIAN_FRAMES, 1)], axis=0).max(axis=-1) > _STILL
    table = np.median(scene[_middle(height, 4), _middle(width, 4)], axis=(0, 1))
    contrast = np.clip(np.abs(scene - table).sum(axis=-1) - _GRAIN, 0, _CLEAR)
    inside = _box_sums(np.where(moved, contrast / 2, contrast), h, w)
    around = _box_sums(np.pad(contrast, ((h, h), (w, w)), mode="edge"), 3 * h, 3 * w) - inside
    # A wall or the robot goes on around the piece, an object on the table does not.
    stands_out = inside - around / 4
    rows, columns = (_middle(n, 5) for n in stands_out.shape)
    middle = stands_out[rows, columns]
    top, left = np.unravel_index(middle.argmax(), middle.shape)
    here = np.s_[top + rows.start :, left + columns.start :]
    piece, apart = scene[here][:h, :w], contrast[here][:h, :w]
    return piece, apart > 0.4 * apart.max()


def _middle(n: int, part: int) -> slice:
    """All but the outer ``1 / part`` on either side."""
    return slice(n // part, n - n // part)


def _box_sums(values: np.ndarray, h: int, w: int) -> np.ndarray:
    """Sum of every h x w box, by its upper left corner."""
    total = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w]


def _shape(
    rng: np.random.Generator, height: int, width: int
) -> tuple[tuple[float, ...], tuple[int, ...], bool]:
    """A box (left, top, right, bottom) around a point outside the middle half, colour, disc?"""
    angle, far = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 0.55)
    x, y = (0.5 + far * math.cos(angle)) * width, (0.5 + far * math.sin(angle)) * height
    w, h = rng.uniform(0.04, 0.12, 2) * min(height, width)
    colour = tuple(int(level) for level in rng.integers(0, 256, 3))
    return (x - w, y - h, x + w, y + h), colour, bool(rng.random() < 0.5)


def _pose(strength: float, rng: np.random.Generator) -> np.ndarray:
    """Homography (3, 3) of coordinates in [-1, 1] across the view."""
    turn, dx, dy, zoom, tilt_x, tilt_y = strength * rng.uniform(-1, 1, 6)
    angle, size = math.radians(15.0 * turn), 1.0 + 0.15 * zoom
    cos, sin = size * math.cos(angle), size * math.sin(angle)
    return np.array(
        [[cos, -sin, 0.24 * dx], [sin, cos, 0.24 * dy], [0.05 * tilt_x, 0.05 * tilt_y, 1.0]]
    )


def _warp(frames: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Show at each pixel what the homography finds, bilinear; beyond the border it is repeated."""
    height, width = frames.shape[1:3]
    half = (np.array([width, height]) - 1) / 2
    y, x = np.mgrid[:height, :width]
    unit = max(half.max(), 0.5)
    points = np.stack([(x - half[0]) / unit, (y - half[1]) / unit, np.ones_like(x)])
    u, v, depth = np.tensordot(homography, points, axes=1)
    column = np.clip(u / depth * unit + half[0], 0, width - 1)
    row = np.clip(v / depth * unit + half[1], 0, height - 1)
    left, top = column.astype(int), row.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (column - left)[..., None], (row - top)[..., None]
    upper = (1 - a) * frames[:, top, left] + a * frames[:, top, right]
    lower = (1 - a) * frames[:, bottom, left] + a * frames[:, bottom, right]
    return np.round((1 - b) * upper + b * lower).astype(np.uint8)


def _through_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    wire = io.BytesIO()
    Image.fromarray(frame).save(wire, format="JPEG", quality=quality)
    wire.seek(0)
    with Image.open(wire) as arrived:
        return np.asarray(arrived.convert("RGB"))


def _resized(frames: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if frames.shape[1:3] == size or not len(frames):
        return frames.reshape(len(frames), *size, 3)
    height, width = size
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height))) for f in frames])
