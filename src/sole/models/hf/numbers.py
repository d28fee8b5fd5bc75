"""Probabilities of all 201 answers of a model whose tokenizer writes a number in several tokens.

The answers ``-100%</answer>`` to ``100%</answer>`` are tokenised together with what stands before
them, because a tokenizer may join a sign to the bracket in front of it (``>-``). Their tokens form
a tree. An answer's probability is the product of the model's token probabilities, each over the
whole vocabulary, along its branch down to the token that no other answer shares; what follows it is
the same words in every answer. The 201 products are then normalised. Nothing is sampled, pruned or
approximated.

The question is read once. The branches (about twenty for a tokenizer of single digits) continue
from copies of its cache, all in one forward pass or in parts when memory is short.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sole.errors import ModelError
from sole.protocol.readout import PROGRESS_VALUES


@dataclass(frozen=True)
class NumberTree:
    """The 201 answers after one reply, as tokens.

    Attributes:
        shared: Tokens with which the reply and all answers begin.
        branches: Tokens after ``shared`` to be read by the model, one row each; no row begins
            another. Empty when the first token after ``shared`` already tells all answers apart.
        steps: For each answer its tokens that count, as (branch, tokens of it read before, token).
    """

    shared: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    steps: tuple[tuple[tuple[int, int, int], ...], ...]


def grow_tree(tokenizer: Any, reply: str) -> NumberTree:
    """Tokenise every answer after ``reply``.

    Args:
        tokenizer: Of the model.
        reply: What the model has said, up to and with ``<answer>``.

    Raises:
        ModelError: If the tokenizer writes two answers alike, so that they cannot be told apart.
    """
    texts = [f"{reply}{value}%</answer>" for value in PROGRESS_VALUES]
    answers = [tuple(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return _tree(answers, _lengths_told_apart(answers), _n_common(min(answers), max(answers)))


def whole_tree(tokenizer: Any, candidates: Sequence[str]) -> NumberTree:
    """Tokenise candidates, of which every token counts and none is taken for granted.

    Args:
        tokenizer: Of the model.
        candidates: What the reply may begin with.

    Raises:
        ModelError: If a candidate has no token.
    """
    found = tokenizer(list(candidates), add_special_tokens=False)["input_ids"]
    if not all(found):
        raise ModelError("candidates: the tokenizer writes one of them as nothing")
    answers = [tuple(ids) for ids in found]
    return _tree(answers, [len(answer) for answer in answers], 0)


def _tree(answers: Sequence[tuple[int, ...]], lengths: Sequence[int], n_shared: int) -> NumberTree:
    counts = [range(n_shared, n) for n in lengths]
    ordered = sorted({a[n_shared:k] for a, ks in zip(answers, counts, strict=True) for k in ks})
    # Sorted, a path is directly before those that continue it.
    branches = [p for p, q in zip(ordered, [*ordered[1:], ()], strict=True) if q[: len(p)] != p]
    row_of = {
        branch[:k]: row for row, branch in enumerate(branches) for k in range(len(branch) + 1)
    }
    steps = tuple(
        tuple((row_of.get(a[n_shared:k], 0), k - n_shared, a[k]) for k in ks)
        for a, ks in zip(answers, counts, strict=True)
    )
    return NumberTree(answers[0][:n_shared], tuple(branches), steps)


@torch.inference_mode()
def number_logits(
    model: Any, inputs: Mapping[str, Tensor], trees: Sequence[NumberTree], max_rows: int
) -> np.ndarray:
    """Logarithms of the products, not normalised.

    Args:
        model: Of transformers, with a cache.
        inputs: Questions of equal length without padding, each followed by its tree's ``shared``.
        trees: One for each question.
        max_rows: Cache copies in one forward pass; at least the number of questions are used.

    Returns:
        float64 ``(len(trees), answers)``; all trees have equally many, such as the 201 integers.
    """
    _forget_positions(model)
    out = model(**inputs, use_cache=True, logits_to_keep=1)
    read = _read_branches(model, out.past_key_values, trees, max_rows, inputs["input_ids"].device)
    start = out.logits[:, -1].float().log_softmax(-1).cpu().numpy()
    found = np.zeros((len(trees), len(trees[0].steps)))
    for i, tree in enumerate(trees):
        for place, steps in enumerate(tree.steps):
            for row, depth, token in steps:
                scores = start[i] if depth == 0 else read[i][row][depth - 1]
                found[i, place] += scores[token]
    return found


def _forget_positions(model: Any) -> None:
    """Qwen-VL keeps where the last picture ended, and would use it for a question without one."""
    for module in model.modules():
        if getattr(module, "rope_deltas", None) is not None:
            module.rope_deltas = None


def _read_branches(
    model: Any, cache: Any, trees: Sequence[NumberTree], max_rows: int, device: torch.device
) -> list[list[np.ndarray]]:
    """Log-probabilities after each token of each branch, by question and branch."""
    read: list[list[np.ndarray]] = [[] for _ in trees]
    for part in _parts(trees, max(1, max_rows // len(trees))):
        repeated = copy.deepcopy(cache)
        repeated.batch_repeat_interleave(part.shape[1])
        # No mask: nothing in front is padding, and padding behind a branch is seen by itself only.
        logits = model(
            input_ids=part.flatten(0, 1).to(device), past_key_values=repeated, use_cache=True
        ).logits
        scores = logits.float().log_softmax(-1).cpu().numpy()
        for i, rows in enumerate(scores.reshape(*part.shape, -1)):
            read[i].extend(rows)
    return read


def _parts(trees: Sequence[NumberTree], n_branches: int) -> Iterator[Tensor]:
    """Branches of all questions ``(questions, branches, tokens)``, some at a time, zero-padded."""
    most = max(len(tree.branches) for tree in trees)
    for start in range(0, most, n_branches):
        rows = [tree.branches[start : start + n_branches] for tree in trees]
        n_rows = max(len(r) for r in rows)
        part = torch.zeros(len(trees), n_rows, max(len(b) for r in rows for b in r)).long()
        for i, branches in enumerate(rows):
            for k, branch in enumerate(branches):
                part[i, k, : len(branch)] = torch.tensor(branch)
        yield part


def _lengths_told_apart(answers: Sequence[tuple[int, ...]]) -> list[int]:
    """For each answer, how many of its tokens it takes until no other answer begins the same."""
    order = sorted(range(len(answers)), key=answers.__getitem__)
    needed = [0] * len(answers)
    for i, j in itertools.pairwise(order):
        n = _n_common(answers[i], answers[j]) + 1
        if n > min(len(answers[i]), len(answers[j])):
            raise ModelError(
                f"tokenizer: writes {PROGRESS_VALUES[i]}% and {PROGRESS_VALUES[j]}% alike; this "
                "model cannot be read as a distribution: use the preset NAME:published"
            )
        needed[i], needed[j] = max(needed[i], n), max(needed[j], n)
    return needed


def _n_common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((k for k, (a, b) in pairs if a != b), min(len(one), len(other)))
