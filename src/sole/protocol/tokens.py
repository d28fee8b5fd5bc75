"""How many tokens a question takes in a Qwen3-VL, counted exactly, without the model.

Pictures: both sides are rounded to multiples of ``patch * merge`` pixels, and each square of that
side is one token (the image processor of Qwen3-VL). Words: the tokenizer first cuts a text into
pieces by a fixed expression and then each piece into tokens by itself, so the counts of pieces add
up. The file beside this module holds the counts of the pieces that our prompts are made of, taken
from Qwen's published vocabulary; other words need the model's own tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from sole.errors import BadInputError
from sole.protocol.composite import smart_resize

CountText = Callable[[str], int]
_FILE = "qwen_pieces.json"


@dataclass(frozen=True)
class VisionGeometry:
    """How a model cuts pictures into tokens.

    Attributes:
        patch_px: Side of a patch.
        merge: Patches that are merged in each direction.
        min_pixels, max_pixels: Bounds of a picture's area after rounding.
    """

    patch_px: int
    merge: int
    min_pixels: int = 65_536
    max_pixels: int = 16_777_216

    def picture_tokens(self, height_px: int, width_px: int) -> int:
        """Tokens of one picture, without the two marks around it.

        Example:
            >>> QWEN3_VL.picture_tokens(384, 384), QWEN3_VL.picture_tokens(784, 1176)
            (144, 888)
        """
        factor = self.patch_px * self.merge
        height, width = smart_resize(height_px, width_px, factor, self.min_pixels, self.max_pixels)
        return (height // factor) * (width // factor)


QWEN3_VL = VisionGeometry(patch_px=16, merge=2)
"""Of all sizes of Qwen3-VL, and so of SOLE-R1-8B."""


def count_pieces(text: str) -> int:
    """Tokens of a text that is made of the pieces in our file.

    Raises:
        BadInputError: If it holds another piece.

    Example:
        >>> count_pieces("progress is 40%.")
        6
    """
    known = _pieces()
    return sum(_count(piece, known) for piece in split_pieces(text))


def split_pieces(text: str) -> list[str]:
    """Cut a text where Qwen's tokenizer does before it looks words up.

    Example:
        >>> split_pieces("Open it: 40%.")
        ['Open', ' it', ':', ' ', '4', '0', '%.']
    """
    pieces: list[str] = []
    for part in _SINGLE.split(text):
        pieces += [part] if _SINGLE.fullmatch(part) else _SPLIT.findall(part)
    return pieces


#: Words that Qwen3's vocabulary holds as tokens of their own, whatever stands beside them.
_SINGLE = re.compile(r"(</?think>)")
_OTHER = r"(?:[^\s\w]|_)"  # neither blank nor letter nor digit
_SPLIT = re.compile(
    rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|(?:[^\r\n\w]|_)?[^\W\d_]+|\d| ?{_OTHER}+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _count(piece: str, known: Mapping[str, int]) -> int:
    if piece not in known:
        raise BadInputError(
            f"tokens: {piece!r} is not among the words whose tokens are known here; name a model "
            "whose tokenizer counts them (--model)"
        )
    return known[piece]


@lru_cache(maxsize=1)
def _pieces() -> dict[str, int]:
    counts: dict[str, int] = json.loads(
        resources.files("sole.protocol").joinpath(_FILE).read_text()
    )
    return counts


@dataclass(frozen=True)
class Counted:
    """The tokens of one question, as spans in order.

    Attributes:
        spans: (what makes it this span, how many tokens); two questions share a beginning as far
            as their spans are equal.
    """

    spans: tuple[tuple[object, int], ...]

    @property
    def n_tokens(self) -> int:
        """All tokens."""
        return sum(n for _, n in self.spans)

    def n_shared(self, other: Counted) -> int:
        """Tokens of the common beginning, span by span."""
        shared = 0
        for one, another in zip(self.spans, other.spans, strict=False):
            if one != another:
                break
            shared += one[1]
        return shared


def count_question(
    messages: Sequence[Mapping[str, Any]],
    images: Sequence[np.ndarray],
    *,
    vision: VisionGeometry = QWEN3_VL,
    count_text: CountText = count_pieces,
    open_reply: bool = True,
) -> Counted:
    r"""Count a question as Qwen's chat template writes it.

    Every message is ``<|im_start|>role\n``, its parts, ``<|im_end|>\n``; a picture has a mark on
    either side. Marks and role names are one token each, line ends too.

    Args:
        messages: Chat form.
        images: Their pictures, uint8 RGB ``(H, W, 3)``.
        vision: How pictures are cut.
        count_text: Tokens of a text without marks.
        open_reply: With the three tokens that open the model's reply.
    """
    pictures = iter(images)
    spans: list[tuple[object, int]] = []
    for message in messages:
        spans.append((("begins", message["role"]), 3))
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "text":
                spans.append((part["text"], count_text(part["text"])))
            else:
                picture = next(pictures)
                n_tokens = vision.picture_tokens(*picture.shape[:2]) + 2
                digest = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
                spans.append(((picture.shape, digest), n_tokens))
        spans.append(("ends", 2))
    if open_reply:
        spans.append((("begins", "assistant"), 3))
    return Counted(tuple(spans))


def prefilled(questions: Sequence[Counted], *, after: Sequence[Counted], block: int) -> list[int]:
    """Tokens that a model reads anew for each question, with a prefix cache of whole blocks.

    Args:
        questions: In the order they are asked.
        after: What the cache holds once each was answered: the question and its reply.
        block: Tokens in a block of the cache (16 in vLLM); what does not fill one is read again.

    Returns:
        For each question its tokens less those of the longest beginning in the cache.
    """
    counts = []
    for k, question in enumerate(questions):
        shared = max((question.n_shared(held) for held in after[:k]), default=0)
        # At least one token is always read, or there would be nothing to continue from.
        counts.append(question.n_tokens - min(shared, question.n_tokens - 1) // block * block)
    return counts
