"""One step of GRPO on nano: draw replies, compare them within their group, learn (DeepSeekMath).

Group-relative policy optimisation (Shao et al. 2024, arXiv 2402.03300): several replies to one
question, advantage = (reward - mean) / standard deviation of the group, the clipped ratio of PPO,
and a penalty for leaving the frozen supervised model (Schulman's k3 estimate of the divergence).

Why not TRL's GRPOTrainer (tried with 1.16): it makes its reference model from transformers' own
classes, where nano is not, and calls the processor with arguments that nano's gives itself. It
hands a model only the picture inputs that it knows by name, and nano's ``tile_mask`` (absent view,
absent column) is not among them. It scores replies over the whole vocabulary, while nano's reply
admits only numbers after ``<answer>``. And it reads the picture again for each reply, where here
a question is read once for all of its replies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sole.models.nano import SoleNanoForConditionalGeneration
from sole.models.nano.modeling import N_NUMBERS
from sole.train.examples import Example

THINK = "<think>"
FAST = "<think></think><answer>"
_MIN_SPREAD = 1e-4


@dataclass(frozen=True)
class Questions:
    """Prompts of one step, ready for the model: ``P`` rows, padded on the left.

    Attributes:
        opening: How every reply begins; it belongs to the prompt. The fast one leaves only the
            number to be said, as the reader's single forward pass does.
        input_ids, attention_mask: ``(P, L)``.
        tile_maps: ``(P, 6, C, h, w)``, without gradient: the eye stays as it is.
        tile_mask: ``(P, 6)`` bool.
    """

    opening: str
    input_ids: Tensor
    attention_mask: Tensor
    tile_maps: Tensor
    tile_mask: Tensor

    @property
    def max_new_tokens(self) -> int | None:
        """1 where the number alone is left to be said."""
        return 1 if self.opening == FAST else None


@dataclass(frozen=True)
class Replies:
    """Drawn replies, ``N = P * group`` rows, those of one question together.

    Attributes:
        ids: ``(N, T)`` what was drawn, the end token included, then padding.
        mask: ``(N, T)`` bool, True where a token was drawn.
        texts: The whole reply, from ``<think>`` on.
    """

    ids: Tensor
    mask: Tensor
    texts: list[str]


@dataclass(frozen=True)
class Clipping:
    """What holds the model near the one it was: per update, and over the whole run.

    Attributes:
        clip: Largest relative change of a token's probability that still pays, per batch.
        kl_weight: Weight of the divergence from the frozen reference.
    """

    clip: float = 0.2
    kl_weight: float = 0.04


class NanoPolicy:
    """Nano as a policy over replies: draws them, and says how likely they are.

    Args:
        model: The network.
        tokenizer: Its words.
        temperature: At which replies are drawn; 0 takes the likeliest.
    """

    def __init__(self, model: SoleNanoForConditionalGeneration, tokenizer, temperature: float):  # noqa: ANN001
        self.model = model
        self._tokenizer = tokenizer
        self._temperature = temperature
        self._answer = tokenizer.convert_tokens_to_ids("<answer>")
        first: int = model.config.first_number_token_id
        self._no_number = torch.ones(model.config.text_config.vocab_size, dtype=torch.bool)
        self._no_number[first : first + N_NUMBERS] = False

    def draw(
        self, questions: Questions, group: int, max_new_tokens: int, generator: torch.Generator
    ) -> Replies:
        """Draw ``group`` replies to each question; the questions are read once."""
        eos, pad = self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        with torch.no_grad():
            past, logits = self._read(questions, group)
            last = questions.input_ids[:, -1].repeat_interleave(group)
            attention = questions.attention_mask.repeat_interleave(group, dim=0)
            going = torch.ones(len(last), dtype=torch.bool)
            drawn: list[Tensor] = []
            masks: list[Tensor] = []
            for _ in range(questions.max_new_tokens or max_new_tokens):
                token = self._choose(self._allowed(logits, last), generator)
                last = torch.where(going, token, pad)
                drawn.append(last)
                masks.append(going)
                going = going & (last != eos)
                if not going.any() or len(drawn) == questions.max_new_tokens:
                    break
                attention = torch.cat([attention, masks[-1][:, None].to(attention.dtype)], 1)
                out = self.model(
                    input_ids=last[:, None], attention_mask=attention, past_key_values=past
                )
                logits = out.logits[:, -1]
        ids, mask = torch.stack(drawn, 1), torch.stack(masks, 1)
        return Replies(ids, mask, self._texts(questions.opening, ids, mask))

    def logprobs(self, questions: Questions, replies: Replies) -> Tensor:
        """Log-probability of each token of the replies, ``(N, T)``, differentiable."""
        before, logits = self._reread(questions, replies)
        scores = self._allowed(logits, before).float() / (self._temperature or 1.0)
        chosen = scores.log_softmax(-1).gather(-1, replies.ids[..., None])[..., 0]
        return torch.where(replies.mask, chosen, 0.0)

    @torch.no_grad()
    def expectations(self, questions: Questions, replies: Replies) -> Tensor:
        """The progress that each reply's place for the number expects, ``(N,)``; NaN without one.

        This is what a rewarder reads at temperature 1, which newly trained weights have; the number
        that was said is one draw of it.
        """
        before, logits = self._reread(questions, replies)
        shares = self.model.number_logits(logits).float().softmax(-1)
        expected = shares @ torch.arange(-100.0, 101.0)
        opened = (before == self._answer) & replies.mask
        where = opened.float().argmax(1)
        return torch.where(opened.any(1), expected[torch.arange(len(where)), where], torch.nan)

    def _reread(self, questions: Questions, replies: Replies) -> tuple[Tensor, Tensor]:
        """The token before each drawn one ``(N, T)``, and the logits there ``(N, T, V)``."""
        group = len(replies.ids) // len(questions.input_ids)
        past, first = self._read(questions, group)
        logits = first[:, None]
        if replies.ids.shape[1] > 1:
            attention = questions.attention_mask.repeat_interleave(group, dim=0)
            out = self.model(
                input_ids=replies.ids[:, :-1],
                attention_mask=torch.cat([attention, replies.mask[:, :-1].to(attention.dtype)], 1),
                past_key_values=past,
            )
            logits = torch.cat([logits, out.logits], dim=1)
        before = questions.input_ids[:, -1:].repeat_interleave(group, dim=0)
        return torch.cat([before, replies.ids[:, :-1]], dim=1), logits

    def _read(self, questions: Questions, group: int) -> tuple[Any, Tensor]:
        """The cache and the next-token logits after each question, repeated for its group."""
        out = self.model(
            input_ids=questions.input_ids,
            attention_mask=questions.attention_mask,
            tile_maps=questions.tile_maps,
            tile_mask=questions.tile_mask,
            logits_to_keep=1,
            use_cache=True,
        )
        assert out.past_key_values is not None
        if group > 1:
            out.past_key_values.batch_repeat_interleave(group)
        return out.past_key_values, out.logits[:, -1].repeat_interleave(group, dim=0)

    def _allowed(self, logits: Tensor, before: Tensor) -> Tensor:
        """Rule out all but numbers after ``<answer>``, as the reader does."""
        opened = (before == self._answer)[..., None]
        return logits.masked_fill(opened & self._no_number, -torch.inf)

    def _choose(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        if self._temperature == 0:
            return logits.argmax(-1)
        shares = (logits.float() / self._temperature).softmax(-1)
        return torch.multinomial(shares, 1, generator=generator)[:, 0]

    def _texts(self, opening: str, ids: Tensor, mask: Tensor) -> list[str]:
        closing = "%</answer>" if opening == FAST else ""
        eos = self._tokenizer.eos_token_id
        texts = []
        for row, drawn in zip(ids, mask, strict=True):
            tokens = [t for t in row[drawn].tolist() if t != eos]
            text = self._tokenizer.decode(tokens, skip_special_tokens=False)
            texts.append(opening + text + closing)
        return texts


def ask(
    model: SoleNanoForConditionalGeneration,
    tokenizer,  # noqa: ANN001
    tiles: np.ndarray,
    examples: Sequence[Example],
    openings: Sequence[str],
) -> list[Questions]:
    """Turn examples into questions, once for each opening; their tiles are encoded once."""
    with torch.no_grad():
        maps = model.encode_tiles(torch.from_numpy(tiles).flatten(0, 1))
    index = torch.tensor([example.tile_index for example in examples])
    asked = []
    for opening in openings:
        texts = [example.prompt + opening for example in examples]
        encoded = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        asked.append(
            Questions(
                opening,
                encoded["input_ids"],
                encoded["attention_mask"],
                maps[index.clamp(min=0)],
                index >= 0,
            )
        )
    return asked


def group_advantages(rewards: Tensor, group: int) -> Tensor:
    """Rewards less their group's mean, over its standard deviation; 0 where all are alike.

    Args:
        rewards: ``(N,)``, those of one question together.
        group: Replies to one question.

    Example:
        >>> group_advantages(torch.tensor([1.0, 3.0, 5.0, 5.0]), 2).tolist()
        [-1.0, 1.0, 0.0, 0.0]
    """
    grouped = rewards.reshape(-1, group)
    apart = grouped - grouped.mean(1, keepdim=True)
    spread = apart.square().mean(1, keepdim=True).sqrt()
    return torch.where(spread > _MIN_SPREAD, apart / spread.clamp(min=_MIN_SPREAD), 0.0).flatten()


def grpo_loss(
    logprobs: Tensor,
    old: Tensor,
    reference: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clipping: Clipping,
) -> tuple[Tensor, dict[str, float]]:
    """Clipped policy loss plus the KL penalty, a mean over all drawn tokens.

    Args:
        logprobs: ``(N, T)`` of the model now.
        old: The same when it drew the replies.
        reference: The same of the frozen model.
        advantages: ``(N,)``.
        mask: ``(N, T)`` True where a token was drawn.
        clipping: Clip range and weight of the penalty.

    Returns:
        The loss, and its parts for the log: ``kl`` in nats a token, ``clipped`` as a share.
    """
    ratio = (logprobs - old).exp()
    bounded = ratio.clamp(1 - clipping.clip, 1 + clipping.clip)
    gain = advantages[:, None]
    policy = -torch.minimum(ratio * gain, bounded * gain)
    further = reference - logprobs
    divergence = further.exp() - further - 1  # k3: never negative, unbiased
    drawn = mask.sum()
    loss = ((policy + clipping.kl_weight * divergence) * mask).sum() / drawn
    out_of_range = ((ratio - 1).abs() > clipping.clip) & mask
    parts = {
        "kl": float((divergence.detach() * mask).sum() / drawn),
        "clipped": float(out_of_range.sum() / drawn),
    }
    return loss, parts


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What still learns."""
    return [p for p in model.parameters() if p.requires_grad]
