"""A video of an episode with the judgement drawn under it: curve so far, and the words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sole.data.episode import Episode, EpisodeScore
from sole.data.video import VideoWriter
from sole.report.player import check_lengths, progress_range

VIEW_HEIGHT_PX = 256
_MAX_VIEW_WIDTH_PX = 640
_CURVE_HEIGHT_PX = 150
_MIN_WIDTH_PX = 480
_TEXT_LINES = 5
_GAP_PX = 8
_FPS_RANGE = (4.0, 30.0)
_PAPER, _INK, _SOFT, _LINE = (24, 26, 29), (232, 233, 235), (150, 156, 164), (60, 64, 70)
_JUDGED, _TRUE, _BAD = (240, 161, 78), (111, 179, 238), (242, 133, 124)


def write_overlay(
    path: Path, episode: Episode, score: EpisodeScore, fps: float | None = None
) -> None:
    """Write an mp4: the views side by side, the growing progress curve, the reasoning below.

    True progress is drawn as a second line where the episode knows it. Needs Pillow alone.

    Args:
        path: The file; its folder must exist. It appears only when it is whole.
        episode: Its views, scaled to 256 px of height or more.
        score: One step per frame.
        fps: Frames per second of the overlay, 0.01 to 1000; None takes the episode's own, held
            between 4 and 30 so that a sampled film does not crawl.

    Raises:
        ValueError: If score and episode differ in length, or ``fps`` is out of range.
        VideoError: If it cannot be written there.
    """
    check_lengths(episode, score)
    rate_hz = float(np.clip(episode.fps, *_FPS_RANGE)) if fps is None else fps
    with VideoWriter(path, rate_hz) as writer:
        for picture in overlay_frames(episode, score):
            writer.write(picture[None])


def overlay_frames(episode: Episode, score: EpisodeScore) -> Iterator[np.ndarray]:
    """Draw each frame of the overlay: uint8 RGB ``(H, W, 3)``, all of one size, H and W even."""
    panel = _Panel(episode, score)
    for t in range(episode.n_frames):
        yield panel.draw(t)


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int,
            max_lines: int) -> list[str]:  # fmt: skip
    """Break text into lines that fit; what does not fit in ``max_lines`` ends in "...".

    Example:
        >>> wrapped("one two three", ImageFont.load_default(13), 50, 2)
        ['one two', 'three']
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width_px:
            lines[-1] = longer
            continue
        pieces = _cut(word, font, width_px)
        lines = [*lines, *pieces] if lines[-1] else pieces if len(lines) == 1 else lines + pieces
    if len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    while last and font.getlength(f"{last}...") > width_px:
        last = last[:-1]
    return [*lines[: max_lines - 1], f"{last.rstrip()}..."]


def _cut(word: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> list[str]:
    """Cut a word that is wider than a line."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width_px:
            pieces.append("")
        pieces[-1] += letter
    return pieces


class _Panel:
    """Sizes, fonts and curves that all frames of one overlay share."""

    def __init__(self, episode: Episode, score: EpisodeScore):
        self.episode, self.score = episode, score
        self.sizes = [_view_size(v.shape[2], v.shape[1]) for v in episode.views.values()]
        views_px = sum(w for w, _ in self.sizes) + _GAP_PX * (len(self.sizes) - 1)
        self.width = 2 * (max(views_px, _MIN_WIDTH_PX) // 2 + _GAP_PX)
        self.views_left = (self.width - views_px) // 2
        size = 15 if self.width < 700 else 18
        self.font, self.small = ImageFont.load_default(size), ImageFont.load_default(size - 3)
        self.line_px = size + 6
        self.views_top = self.line_px + _GAP_PX
        self.curve_top = self.views_top + max(h for _, h in self.sizes) + 2 * _GAP_PX
        self.text_top = self.curve_top + _CURVE_HEIGHT_PX + _GAP_PX
        height = self.text_top + (_TEXT_LINES + 1) * self.line_px + _GAP_PX
        self.height = height + height % 2
        truth = episode.truth
        self.judged = score.judged_progress
        self.true = None if truth is None else truth.true_progress
        self.low, self.high = progress_range([v for v in (self.judged, self.true) if v is not None])

    def draw(self, t: int) -> np.ndarray:
        picture = Image.new("RGB", (self.width, self.height), _PAPER)
        pen = ImageDraw.Draw(picture)
        title = wrapped(self.episode.task, self.font, self.width - 2 * _GAP_PX, 1)[0]
        pen.text((_GAP_PX, _GAP_PX // 2), title, _INK, self.font)
        left = self.views_left
        for frames, size in zip(self.episode.views.values(), self.sizes, strict=True):
            scaled = Image.fromarray(frames[t]).resize(size, Image.Resampling.LANCZOS)
            picture.paste(scaled, (left, self.views_top))
            left += size[0] + _GAP_PX
        self._draw_curve(pen, t)
        self._draw_words(pen, t)
        return np.asarray(picture)

    def _draw_curve(self, pen: ImageDraw.ImageDraw, t: int) -> None:
        right = self.width - _GAP_PX
        for percent in sorted({0.0, 50.0, 100.0, self.low}):
            y = self._y(percent)
            pen.line((self._x(0), y, right, y), _SOFT if percent == 0 else _LINE)
            pen.text((_GAP_PX, y), f"{percent:.0f}", _SOFT, self.small, anchor="lm")
        if self.true is not None:
            self._draw_line(pen, self.true[: t + 1], _TRUE)
        self._draw_line(pen, self.judged[: t + 1], _JUDGED)

    def _draw_line(
        self, pen: ImageDraw.ImageDraw, values: np.ndarray, colour: tuple[int, int, int]
    ) -> None:
        known = [(self._x(t), self._y(float(v))) for t, v in enumerate(values) if np.isfinite(v)]
        if len(known) > 1:
            pen.line(known, colour, width=3, joint="curve")
        if known and np.isfinite(values[-1]):
            x, y = known[-1]
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), colour)

    def _draw_words(self, pen: ImageDraw.ImageDraw, t: int) -> None:
        step, x, y = self.score.steps[t], float(_GAP_PX), float(self.text_top)
        said = "no answer" if step.progress is None else f"judged {round(step.progress)}%"
        pen.text((x, y), said, _BAD if step.progress is None else _JUDGED, self.font)
        x += self.font.getlength(said) + 2 * _GAP_PX
        if self.true is not None:
            known = f"true {round(float(self.true[t]))}%"
            pen.text((x, y), known, _TRUE, self.font)
            x += self.font.getlength(known) + 2 * _GAP_PX
        pen.text((x, y), f"{t / self.episode.fps:.1f} s", _SOFT, self.font)
        lines = wrapped(step.error or step.reasoning, self.font, self.width - 2 * _GAP_PX,
                        _TEXT_LINES)  # fmt: skip
        for row, line in enumerate(lines, start=1):
            pen.text(
                (_GAP_PX, y + row * self.line_px), line, _BAD if step.error else _INK, self.font
            )

    def _x(self, t: int) -> float:
        left, right = 5 * _GAP_PX, self.width - 2 * _GAP_PX
        return left + (right - left) * t / max(self.episode.n_frames - 1, 1)

    def _y(self, percent: float) -> float:
        top, bottom = self.curve_top + 6, self.curve_top + _CURVE_HEIGHT_PX - 6
        return bottom + (top - bottom) * (percent - self.low) / (self.high - self.low)


def _view_size(width_px: int, height_px: int) -> tuple[int, int]:
    """Scale to the overlay's height; a very wide view is limited by its width instead."""
    scale = max(VIEW_HEIGHT_PX / height_px, 1.0)
    scale = min(
        scale, max(_MAX_VIEW_WIDTH_PX / width_px, VIEW_HEIGHT_PX / max(width_px, height_px))
    )
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))
