"""What a model said while it learned: replies with their pictures, for people and for programs."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sole.run import write_atomically
from sole.train.verify import Known, Verdict

_STYLE = (
    "body{font:14px sans-serif;margin:2em;max-width:70em}td,th{padding:.2em .6em;text-align:left;"
    "vertical-align:top;border-top:1px solid #ddd}img{image-rendering:pixelated}"
)
_TERMS = ("reward", "form", "accuracy", "truth", "direction")


@dataclass(frozen=True)
class Shown:
    """One question with its replies.

    Attributes:
        task: The instruction.
        picture: uint8 RGB ``(H, W, 3)``: what was asked about.
        known: The truth.
        replies: Whole replies.
        verdicts: One for each reply.
    """

    task: str
    picture: np.ndarray
    known: Known
    replies: Sequence[str]
    verdicts: Sequence[Verdict]


class CompletionLog:
    """Writes ``completions.jsonl``, a line a reply, and ``completions/step_N.html`` with pictures.

    Args:
        folder: Of the run.
        step: Where the run goes on; what was logged later belongs to work that a kill has undone.
    """

    def __init__(self, folder: Path, step: int):
        self._lines = folder / "completions.jsonl"
        self._pages = folder / "completions"
        self._pages.mkdir(exist_ok=True)
        kept = [line for line in self._read() if json.loads(line)["step"] <= step]
        write_atomically(self._lines, "".join(line + "\n" for line in kept))

    def add(self, step: int, shown: Sequence[Shown]) -> None:
        """Log one step."""
        page = f"completions/step_{step:08d}.html"
        with self._lines.open("a") as file:
            for one in shown:
                file.writelines(json.dumps(line) + "\n" for line in _records(step, page, one))
        body = "".join(_section(one) for one in shown)
        text = (
            f"<!doctype html><meta charset=utf-8><title>Step {step}</title><style>{_STYLE}</style>"
        )
        write_atomically(self._pages / Path(page).name, f"{text}<h1>Step {step}</h1>{body}")

    def _read(self) -> list[str]:
        if not self._lines.exists():
            return []
        whole, _, _cut_off = self._lines.read_text().rpartition("\n")
        return whole.splitlines()


def composite_of_tiles(tiles: np.ndarray, index: Sequence[int]) -> np.ndarray:
    """The picture of one question: ``(n, 3, H, W)`` tiles at the six places, -1 black.

    Example:
        >>> composite_of_tiles(np.zeros((2, 3, 4, 4), np.uint8), [0, -1, 1, 0, -1, 1]).shape
        (8, 12, 3)
    """
    blank = np.zeros_like(tiles[0])
    placed = [tiles[place] if place >= 0 else blank for place in index]
    rows = [np.concatenate(placed[start : start + 3], axis=-1) for start in (0, 3)]
    return np.concatenate(rows, axis=-2).transpose(1, 2, 0)


def _records(step: int, page: str, one: Shown) -> list[dict]:
    known = {"task": one.task, "true_progress": one.known.true_progress, "stated": one.known.stated}
    return [
        {"step": step, "page": page, **known, "reply": reply, **asdict(verdict)}
        for reply, verdict in zip(one.replies, one.verdicts, strict=True)
    ]


def _section(one: Shown) -> str:
    file = io.BytesIO()
    Image.fromarray(one.picture).save(file, "PNG")
    picture = base64.b64encode(file.getvalue()).decode()
    stated = "nothing" if one.known.stated is None else f"{one.known.stated}%"
    head = "".join(f"<th>{name}</th>" for name in (*_TERMS, "reply"))
    rows = "".join(map(_row, one.replies, one.verdicts))
    return (
        f"<h2>{html.escape(one.task)}</h2><p>true {one.known.true_progress:.0f}%, stated {stated}; "
        "columns: first, previous, current</p>"
        f'<img alt="what was asked about" src="data:image/png;base64,{picture}">'
        f"<table><tr>{head}</tr>{rows}</table>"
    )


def _row(reply: str, verdict: Verdict) -> str:
    values = (getattr(verdict, name) for name in _TERMS)
    cells = "".join(f"<td>{'-' if v is None else f'{v:.2f}'}</td>" for v in values)
    return f"<tr>{cells}<td>{html.escape(reply)}</td></tr>"
