"""A page for scored episodes, to look at or to send to somebody."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sole.data.episode import Episode, EpisodeScore
from sole.report.player import document, player
from sole.run import write_atomically


def write_score_page(
    path: Path, episodes: Sequence[Episode], scores: Sequence[EpisodeScore], title: str
) -> None:
    """Write one self-contained HTML page with a player for each episode.

    Pictures, style and script lie inside the file; it loads nothing. It follows the reader's light
    or dark setting. The slider, the play button, the arrow keys and the curve itself move in time.

    Args:
        path: The file; it appears only when it is whole.
        episodes: At least one; true progress is drawn where it is known.
        scores: One per episode, one step per frame.
        title: Heading of the page.

    Raises:
        ValueError: If there is no episode, or the lengths differ.
    """
    if not episodes:
        raise ValueError("score page: expected at least one episode, got none")
    players = [
        player(episode, score, _heading(episode, score))
        for episode, score in zip(episodes, scores, strict=True)
    ]
    model_ids = sorted({score.model_id for score in scores})
    body = (
        f"<h1>{html.escape(title)}</h1>"
        f'<p class="lead">Judged by {html.escape(", ".join(model_ids))} from pictures and the '
        f"instruction.</p>{''.join(players)}"
        "<footer>Progress in percent: 0 is the start, 100 is done, below 0 is worse than the "
        "start. Arrow keys step, space plays.</footer>"
    )
    write_atomically(path, document(title, body))


def _heading(episode: Episode, score: EpisodeScore) -> str:
    known = score.judged_progress[np.isfinite(score.judged_progress)]
    ends = f"ends at {round(float(known[-1]))}%" if known.size else "no progress could be read"
    return f"{episode.task} — {ends}"
