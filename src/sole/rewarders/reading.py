"""Reading answers: the shares of fixed answers, fields of a JSON reply, a spread-out choice."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np


def answer_shares(logprobs: Sequence[float]) -> np.ndarray:
    """Probability of each answer, given that it is one of them: float64, sums to 1.

    Example:
        >>> answer_shares(np.log([0.3, 0.1])).round(6).tolist()
        [0.75, 0.25]
    """
    scores = np.asarray(logprobs, dtype=np.float64)
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def mean_and_spread(shares: np.ndarray, values: Sequence[float]) -> tuple[float, float]:
    """Expectation and standard deviation of ``values`` under ``shares``.

    Example:
        >>> mean_and_spread(np.array([0.5, 0.5]), [0.0, 100.0])
        (50.0, 50.0)
    """
    mean = float(shares @ np.asarray(values, float))
    return mean, float(np.sqrt(shares @ (np.asarray(values, float) - mean) ** 2))


def read_field(text: str, name: str) -> str | None:
    """What a JSON object inside a reply says under ``name``; None if it does not, or twice.

    Models wrap their JSON in prose and fences and forget quotes, so only the field is looked for.

    Example:
        >>> read_field('I think so. ```{"done": "yes"}```', "done")
        'yes'
        >>> read_field('{"done": yes} or {"done": no}', "done") is None
        True
    """
    said = re.findall(rf'["\']?{re.escape(name)}["\']?\s*:\s*["\']?([\w.+%-]+)', text)
    return said[0] if len(set(said)) == 1 else None


def before_field(text: str, name: str) -> str:
    """The words before the JSON object that holds ``name``: the model's reasoning.

    Example:
        >>> before_field('The drawer is open. {"done": "yes"}', "done")
        'The drawer is open.'
    """
    start = text.find(name)
    words = text[: text.rfind("{", 0, start)] if "{" in text[:start] else text[: max(start, 0)]
    return words.replace("```json", "").replace("```", "").strip()


def spread_frames(n_frames: int, most: int) -> np.ndarray:
    """Indices of at most ``most`` of the frames, evenly spread, the first and last among them.

    Example:
        >>> spread_frames(9, 3).tolist(), spread_frames(2, 16).tolist()
        ([0, 4, 8], [0, 1])
    """
    if n_frames <= most:
        return np.arange(n_frames)
    return np.unique(np.linspace(0, n_frames - 1, most).round().astype(int))
