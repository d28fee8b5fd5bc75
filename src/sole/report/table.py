"""One scored video as text: a table for people, a dictionary for machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sole.data.episode import Episode, EpisodeScore, StepScore

_BAR_CELLS = 12


@dataclass(frozen=True)
class Scored:
    """A video, the frames of it that were looked at, and what was said about them.

    Attributes:
        episode: The frames that were looked at; its fps is that of these frames.
        score: One step per frame of ``episode``.
        frames: ``(T,)`` int, which frames of the video they are.
        n_frames: Frames of the video.
        fps: Frames per second of the video.
        seconds: What the scoring took.
    """

    episode: Episode
    score: EpisodeScore
    frames: np.ndarray
    n_frames: int
    fps: float
    seconds: float

    @property
    def final(self) -> StepScore | None:
        """The last step that has a progress; None when every answer failed: never a silent 0."""
        if self.all_failed:
            return None
        known = [step for step in self.score.steps if step.progress is not None]
        return known[-1] if known else None

    @property
    def all_failed(self) -> bool:
        """Whether the model was asked and not one answer could be read."""
        asked = [step for step in self.score.steps[1:] if step.scored]
        return bool(asked) and all(step.error is not None for step in asked)


def as_json(scored: Scored) -> dict[str, Any]:
    """What ``sole score --json`` prints: JSON-able, percent and seconds, null where unknown."""
    score, final = scored.score, scored.final
    return {
        "task": scored.episode.task,
        "model_id": score.model_id,
        "sources": dict(scored.episode.extra.get("sources", {})),
        "views": list(scored.episode.views),
        "fps": scored.fps,
        "n_frames": scored.n_frames,
        "n_frames_scored": sum(step.scored for step in score.steps),
        "n_errors": score.n_errors,
        "seconds": round(scored.seconds, 3),
        "final_progress": None if final is None else final.progress,
        "final_success_probability": None if final is None else final.success_probability,
        "steps": [
            {
                "frame": int(frame),
                "time_s": round(float(frame) / scored.fps, 4),
                "progress": step.progress,
                "success_probability": step.success_probability,
                "uncertainty": step.uncertainty,
                "reasoning": step.reasoning,
                "error": step.error,
                "scored": step.scored,
            }
            for frame, step in zip(scored.frames, score.steps, strict=True)
        ],
    }


def show(scored: Scored, console: Console) -> None:
    """Print the table and one line that sums it up."""
    table = Table(title=Text(scored.episode.task), title_justify="left", expand=False)
    table.add_column("frame", justify="right")
    table.add_column("time", justify="right")
    table.add_column("progress", no_wrap=True)
    table.add_column("spread", justify="right")
    table.add_column("reasoning", ratio=1)
    block = "█" if console.encoding.lower().startswith("utf") else "#"
    for frame, step in zip(scored.frames, scored.score.steps, strict=True):
        table.add_row(
            str(frame),
            f"{frame / scored.fps:.2f} s",
            _bar(step, block),
            "" if step.uncertainty is None else f"{step.uncertainty:.0f}",
            _words(step),
        )
    console.print(table)
    console.print(summary(scored), markup=False, highlight=False, soft_wrap=True)


def summary(scored: Scored) -> str:
    """One line: where it ended, how sure, what it cost."""
    final, score = scored.final, scored.score
    ended = (
        "no progress could be read"
        if final is None
        else f"final progress {round(final.progress or 0.0)}%"
    )
    sure = None if final is None else final.success_probability
    parts = [ended] if sure is None else [ended, f"success probability {sure:.2f}"]
    n_scored = sum(step.scored for step in score.steps)
    parts.append(f"{n_scored} of {scored.n_frames} frames scored in {scored.seconds:.1f} s")
    if score.n_errors:
        parts.append(f"{score.n_errors} without an answer")
    return " | ".join([*parts, score.model_id])


def _bar(step: StepScore, block: str) -> Text:
    if step.progress is None:
        return Text("no answer", "red")
    cells = round(abs(step.progress) / 100 * _BAR_CELLS)
    colour = "red" if step.progress < 0 else "green" if step.progress >= 97 else "yellow"
    bar = Text(block * cells + " " * (_BAR_CELLS - cells), colour)
    return bar.append(f" {round(step.progress):4d}%", "default")


def _words(step: StepScore) -> Text:
    if step.error is not None:
        return Text(step.error, "red")
    return Text(step.reasoning) if step.scored else Text("(interpolated)", "dim")
