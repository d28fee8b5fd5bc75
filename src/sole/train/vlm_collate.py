"""Examples become tensors: every picture whole, every picture token counted, no prompt cut."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sole.data.episode import VIEW_NAMES
from sole.errors import ModelError
from sole.models.hf.network import Network
from sole.protocol.composite import Geometry, compose
from sole.train.vlm_examples import VlmExample, VlmExamples

IGNORED = -100
FAST_OPENING = "<think></think><answer>"


class Collator:
    """Makes the batch of some indices: ids padded on the right, labels on the reply alone.

    Args:
        examples: Where example ``index`` comes from.
        network: Writes questions as its readers do: same template, same processor.
        features: How many features the model makes of a picture, by the picture's height and width
            (:func:`count_features`).
        max_tokens: Longest example; a longer one is an error, because cutting it would cut a
            picture or an answer.
    """

    def __init__(
        self,
        examples: VlmExamples,
        network: Network,
        features: Mapping[tuple[int, int], int],
        max_tokens: int | None = None,
    ):
        self._examples, self._network = examples, network
        self._features, self._max_tokens = features, max_tokens
        self._image_token = image_token(network)

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, Tensor]:
        """Collate rows that name examples by ``index``.

        Raises:
            ModelError: If the tokens of a picture are not as many as its features, or an example is
                too long.
        """
        return join([self.one(self._examples[row["index"]]) for row in rows], self._network.pad)

    def one(self, example: VlmExample) -> dict[str, Tensor]:
        """The model's inputs for one example, a batch of one, with ``labels``."""
        text = self._network.write(example.messages)
        asked = self._network.see(text, [example.picture])
        self._check(asked["input_ids"], example.picture)
        said, targets = self._reply(example)
        inputs = _with_reply(asked, said)
        length = inputs["input_ids"].shape[1]
        if self._max_tokens is not None and length > self._max_tokens:
            raise ModelError(
                f"max_tokens {self._max_tokens}: an example has {length} tokens and is not cut; "
                "raise it, or choose a model that makes fewer tokens of a picture"
            )
        labels = torch.full((1, length), IGNORED)
        labels[0, length - len(targets) :] = torch.tensor(targets)
        return {**inputs, "labels": labels}

    def check_picture(self, picture: np.ndarray, messages: Sequence[Mapping[str, Any]]) -> None:
        """Ask about a picture.

        Raises:
            ModelError: If its tokens are not as many as its features.
        """
        asked = self._network.see(self._network.write(messages), [picture])
        self._check(asked["input_ids"], picture)

    def _check(self, ids: Tensor, picture: np.ndarray) -> None:
        found = int((ids == self._image_token).sum())
        expected = self._features.get((picture.shape[0], picture.shape[1]))
        if found != expected:
            raise ModelError(
                f"{self._network.identity}: the processor writes {found} picture tokens for a "
                f"picture of {picture.shape[1]} x {picture.shape[0]}, the model makes {expected} "
                "features of it; expected as many"
            )

    def _reply(self, example: VlmExample) -> tuple[list[int], list[int]]:
        """Tokens of the reply with its end, and which of them are learned."""
        tokenizer = self._network.tokenizer
        ids: list[int] = tokenizer(example.reply, add_special_tokens=False)["input_ids"]
        end = tokenizer.eos_token_id
        ids = [*ids, end if end in self._network.ends else min(self._network.ends)]
        n_given = 0 if example.reasoned else _n_opening(tokenizer, ids)
        return ids, [IGNORED] * n_given + ids[n_given:]


def _n_opening(tokenizer: Any, ids: Sequence[int]) -> int:
    """Tokens that lie wholly within the opening of a fast reply, which readers give."""
    n = 0
    while len(_text(tokenizer, ids[: n + 1])) <= len(FAST_OPENING):
        n += 1
    return n


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def image_token(network: Network) -> int:
    """The token that stands once for each feature of a picture.

    Raises:
        ModelError: If the model names none.
    """
    config = network.model.config
    for name in ("image_token_id", "image_token_index"):
        found = getattr(config, name, None)
        if found is not None:
            return int(found)
    raise ModelError(
        f"{network.identity}: a {config.model_type} names no image token in its configuration; "
        "expected image_token_id, as Qwen-VL, SmolVLM, InternVL and LLaVA have it"
    )


def layouts(geometry: Geometry, kept_px: int) -> list[np.ndarray]:
    """One picture of each shape that questions have: one or two views, two or three columns."""
    rng = np.random.default_rng(0)
    frame = rng.integers(1, 256, (kept_px, kept_px, 3), np.uint8)
    pictures = []
    for names in (VIEW_NAMES, VIEW_NAMES[:1]):
        moment: dict[str, np.ndarray] = dict.fromkeys(names, frame)
        pictures += [compose(moment, middle, moment, geometry) for middle in (moment, None)]
    return pictures


@torch.no_grad()
def count_features(
    network: Network, pictures: Iterable[np.ndarray], messages: Sequence[Mapping[str, Any]]
) -> dict[tuple[int, int], int]:
    """How many features the model really makes of each picture, by height and width.

    Measured once before training: afterwards the model may be spread over several GPUs.

    Args:
        network: The model.
        pictures: One of each shape.
        messages: Any question with one picture; some processors take no picture without a text.

    Raises:
        ModelError: If the model has no such part.
    """
    model = network.model
    look = getattr(model, "get_image_features", None)
    if look is None:
        raise ModelError(
            f"{network.identity}: a {model.config.model_type} has no get_image_features, by which "
            "the features of a picture are counted; expected a model like Qwen-VL or LLaVA"
        )
    taken = set(inspect.signature(look).parameters)
    text, counts = network.write(messages), {}
    for picture in pictures:
        asked = network.batch([network.see(text, [picture])], [()])
        found = look(**{name: value for name, value in asked.items() if name in taken})
        counts[picture.shape[0], picture.shape[1]] = _n_vectors(found)
    return counts


def _n_vectors(found: Any) -> int:
    features = getattr(found, "pooler_output", found)
    parts = [features] if isinstance(features, Tensor) else list(features)
    return sum(part.numel() // part.shape[-1] for part in parts)


def join(rows: Sequence[Mapping[str, Tensor]], pad: int) -> dict[str, Tensor]:
    """One batch: tokens padded on the right; pictures one after the other.

    Args:
        rows: Batches of one.
        pad: Token that fills up shorter texts.
    """
    longest = max(row["input_ids"].shape[1] for row in rows)
    fill = {"input_ids": pad, "labels": IGNORED}
    padded: list[dict[str, Tensor]] = []
    for row in rows:
        missing = longest - row["input_ids"].shape[1]
        names = [n for n, t in row.items() if t.shape == row["input_ids"].shape]
        longer = {
            n: torch.nn.functional.pad(row[n], (0, missing), value=fill.get(n, 0)) for n in names
        }
        padded.append({**row, **longer})
    return {name: _cat([row[name] for row in padded]) for name in padded[0]}


def _cat(parts: Sequence[Tensor]) -> Tensor:
    """Along the first axis; where others differ (pictures in pieces), zeros fill them up."""
    sizes = [max(part.shape[k] for part in parts) for k in range(1, parts[0].dim())]
    out = []
    for part in parts:
        missing = [size - have for size, have in zip(sizes, part.shape[1:], strict=True)]
        widths = [w for amount in reversed(missing) for w in (0, amount)]
        out.append(torch.nn.functional.pad(part, widths) if any(missing) else part)
    return torch.cat(out)


def _with_reply(asked: Mapping[str, Tensor], reply: Sequence[int]) -> dict[str, Tensor]:
    """Append the reply's tokens: attended to, and text (type 0)."""
    values = {"input_ids": list(reply), "attention_mask": [1] * len(reply)}
    longer = dict(asked)
    for name, tensor in asked.items():
        if tensor.shape == asked["input_ids"].shape and not tensor.is_floating_point():
            added = torch.tensor([values.get(name, [0] * len(reply))], dtype=tensor.dtype)
            longer[name] = torch.cat([tensor, added], dim=1)
    return longer
