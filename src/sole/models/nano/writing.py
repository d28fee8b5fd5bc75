"""Greedy replies in few passes: common phrases are guessed, and the model checks the guesses.

The most likely words come out, exactly as one token a pass would write them; a guess that the model
would not have written is thrown away. Speculative decoding (Leviathan et al. 2023, arXiv
2211.17192) with a table of phrases for a draft model (as in Adaptive N-gram Parallel Decoding,
arXiv 2404.08698): nano's sentences repeat each other, and a pass over five tokens costs little
more than one over one.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache

from sole.errors import ModelError
from sole.models.nano.modeling import SoleNanoForConditionalGeneration

LONGEST_CONTEXT = 4
FILE_NAME = "phrases.json"


class Phrases:
    """Which token commonly follows the last few.

    Args:
        follows: The next token by the last 1 to 4 tokens; the longest known context decides.

    Example:
        >>> phrases = Phrases.learn([[1, 2, 3, 4], [9, 2, 3, 5], [9, 2, 3, 5]])
        >>> phrases.guess([1, 2], 2), phrases.guess([2], 2)
        ([3, 4], [3, 5])
    """

    def __init__(self, follows: Mapping[tuple[int, ...], int] | None = None):
        self._follows = dict(follows or {})

    def __len__(self) -> int:
        return len(self._follows)

    @classmethod
    def learn(cls, replies: Iterable[Sequence[int]]) -> Phrases:
        """Count what follows what; of equally common tokens the smaller one is taken."""
        counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for reply in replies:
            for end in range(1, len(reply)):
                for start in range(max(0, end - LONGEST_CONTEXT), end):
                    counts[tuple(reply[start:end])][reply[end]] += 1
        phrases = cls()
        # Shorter contexts first: a longer one is kept only where it says something else.
        for context in sorted(counts, key=lambda c: (len(c), c)):
            token = min(counts[context].items(), key=lambda item: (-item[1], item[0]))[0]
            if phrases._next(context) != token:
                phrases._follows[context] = token
        return phrases

    def guess(self, written: Sequence[int], n: int) -> list[int]:
        """Up to ``n`` tokens that may follow; fewer where nothing is known."""
        tokens = list(written[-LONGEST_CONTEXT:])
        guesses: list[int] = []
        while len(guesses) < n and (token := self._next(tokens)) is not None:
            guesses.append(token)
            tokens.append(token)
        return guesses

    def _next(self, tokens: Sequence[int]) -> int | None:
        for length in range(min(LONGEST_CONTEXT, len(tokens)), 0, -1):
            token = self._follows.get(tuple(tokens[-length:]))
            if token is not None:
                return token
        return None

    def save(self, folder: Path) -> None:
        """Write them beside a model's weights."""
        rows = [[*context, token] for context, token in sorted(self._follows.items())]
        (folder / FILE_NAME).write_text(json.dumps(rows, separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Phrases:
        """Read those beside a model's weights; none is no error, only slower.

        Raises:
            ModelError: If the file is damaged.
        """
        path = folder / FILE_NAME
        if not path.exists():
            return cls()
        try:
            rows = json.loads(path.read_text())
            return cls({tuple(map(int, context)): int(token) for *context, token in rows})
        except (ValueError, TypeError) as error:
            raise ModelError(f"{path}: is damaged ({error}); delete it or learn it anew") from error


@dataclass
class Reply:
    """What the model wrote after the prompt.

    Attributes:
        tokens: Up to the end token, which is not among them, or as many as were allowed.
        answer_logits: ``(vocab,)`` where the number stands after the answer's tag, or None.
    """

    tokens: list[int] = field(default_factory=list)
    answer_logits: Tensor | None = None
    ended: bool = False


@dataclass(frozen=True)
class Writing:
    """How replies are written.

    Attributes:
        phrases: Where guesses come from.
        answer_token: After it only a number may come: training scores numbers among numbers alone.
        numbers: The tokens of numbers.
        end_token: Ends a reply.
        max_tokens: Longest reply.
        n_guesses: Tokens guessed at a time; more of them cost more where they are wrong.
    """

    phrases: Phrases
    answer_token: int
    numbers: range
    end_token: int
    max_tokens: int = 96
    n_guesses: int = 4

    @torch.inference_mode()
    def write(
        self, model: SoleNanoForConditionalGeneration, inputs: Mapping[str, Tensor]
    ) -> list[Reply]:
        """Continue each prompt greedily; ``inputs`` are padded on the left.

        Rows share their passes. A guess that was refused stays in the cache, masked: rows need not
        keep step.
        """
        replies = [Reply() for _ in inputs["input_ids"]]
        mask = inputs["attention_mask"]
        cache = DynamicCache(config=model.config.text_config)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model(
            **inputs, position_ids=positions, past_key_values=cache, logits_to_keep=1
        ).logits
        self._accept(replies, inputs["input_ids"][:, -1:], [[] for _ in replies], logits)
        running = [i for i, reply in enumerate(replies) if not reply.ended]
        mask = _keep(cache, mask, running)
        while running:
            rows = [replies[i] for i in running]
            mask = self._pass(model, rows, mask, cache)
            kept = [k for k, row in enumerate(rows) if not row.ended]
            mask, running = _keep(cache, mask, kept), [running[k] for k in kept]
        return replies

    def _pass(
        self,
        model: SoleNanoForConditionalGeneration,
        rows: Sequence[Reply],
        mask: Tensor,
        cache: DynamicCache,
    ) -> Tensor:
        """Extend each reply by one token and as many guesses as are right; the cache's new mask."""
        guesses = [
            self.phrases.guess(r.tokens, min(self.n_guesses, self.max_tokens - len(r.tokens) - 1))
            for r in rows
        ]
        width = 1 + max(map(len, guesses))
        fed = [[r.tokens[-1], *g] for r, g in zip(rows, guesses, strict=True)]
        ids = torch.tensor([f + [0] * (width - len(f)) for f in fed], device=mask.device)
        shown = torch.tensor(
            [[1] * len(f) + [0] * (width - len(f)) for f in fed], device=mask.device
        )
        positions = mask.sum(1, keepdim=True) + torch.arange(width, device=mask.device)
        logits = model(
            input_ids=ids,
            attention_mask=torch.cat([mask, shown], 1),
            position_ids=positions,
            past_key_values=cache,
        ).logits
        accepted = self._accept(rows, ids, guesses, logits)
        right = torch.arange(width)[None] <= torch.tensor(accepted)[:, None]
        return torch.cat([mask, right.to(mask)], 1)

    def _accept(
        self, rows: Sequence[Reply], fed: Tensor, guesses: Sequence[list[int]], logits: Tensor
    ) -> list[int]:
        """Add what the model would have written; how many guesses of each row were right."""
        accepted: list[int] = []
        for i, row_choices in enumerate(self._choices(fed, logits)):
            n_right = _n_equal(guesses[i], row_choices)
            self._extend(rows[i], row_choices[: n_right + 1], logits[i])
            accepted.append(n_right)
        return accepted

    def _choices(self, fed: Tensor, logits: Tensor) -> list[list[int]]:
        best = logits.argmax(-1)
        numbers = logits[..., self.numbers.start : self.numbers.stop].argmax(-1)
        opened = fed == self.answer_token
        return torch.where(opened, numbers + self.numbers.start, best).tolist()

    def _extend(self, row: Reply, tokens: Sequence[int], logits: Tensor) -> None:
        for k, token in enumerate(tokens):
            last = row.tokens[-1] if row.tokens else None
            if last == self.answer_token and row.answer_logits is None:
                row.answer_logits = logits[k]
            row.ended = token == self.end_token or len(row.tokens) + 1 == self.max_tokens
            if token != self.end_token:
                row.tokens.append(token)
            if row.ended:
                return


def _n_equal(guesses: Sequence[int], choices: Sequence[int]) -> int:
    for n, (guess, choice) in enumerate(zip(guesses, choices, strict=False)):
        if guess != choice:
            return n
    return len(guesses)


def _keep(cache: DynamicCache, mask: Tensor, rows: Sequence[int]) -> Tensor:
    """Drop the rows that have ended from the cache and its mask."""
    if rows and len(rows) < len(mask):
        chosen = torch.tensor(rows, device=mask.device)
        cache.batch_select_indices(chosen)
        return mask[chosen]
    return mask
