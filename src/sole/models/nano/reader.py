"""nano behind :class:`sole.models.base.Reader`: frames are encoded once, questions are batched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoTokenizer

from sole.errors import ModelError
from sole.models.base import Answer, Question, check_moment
from sole.models.nano.configuration import N_COLUMNS, SoleNanoConfig
from sole.models.nano.modeling import N_NUMBERS, N_TILES, SoleNanoForConditionalGeneration
from sole.models.nano.tokenizer import IMAGE
from sole.models.nano.writing import Phrases, Reply, Writing
from sole.protocol.composite import fit_tile
from sole.protocol.prompt import NANO, write_messages
from sole.protocol.readout import read_expectation

WEIGHTS = Path(__file__).parent / "weights"
SUCCESS_ABOVE = 97
_FAST_REPLY = "<think></think><answer>"
_ROWS = ("external", "wrist")


@dataclass(frozen=True)
class SeenMoment:
    """Maps of one moment's views: ``(2, C, h, w)`` and which of the two rows exist."""

    maps: Tensor
    rows: tuple[bool, bool]


class NanoReader:
    """Loads nano and answers progress questions.

    Args:
        folder: A checkpoint folder; None for the weights that ship in the package.
        device: Where to run, for example ``cpu`` or ``cuda``.
        max_batch: Questions per forward pass.

    Raises:
        ModelError: If there is no checkpoint in ``folder``.
    """

    def __init__(self, folder: Path | None = None, device: str = "cpu", max_batch: int = 64):
        folder = WEIGHTS if folder is None else folder
        weights = folder / "model.safetensors"
        if not weights.exists():
            raise ModelError(
                f"no nano weights in {folder}: expected {weights.name}; see `sole doctor`"
            )
        transformers.utils.logging.disable_progress_bar()
        self.model = SoleNanoForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.model.to(torch.device(device))  # type: ignore[arg-type]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.size_mb = weights.stat().st_size / 1e6
        self.model_id = f"nano-{hashlib.sha256(weights.read_bytes()).hexdigest()[:10]}"
        self._temperature = self.model.config.readout_temperature
        if self._temperature != 1:
            self.model_id += f"-t{self._temperature:g}"
        self._max_batch = max_batch
        first = self.model.config.first_number_token_id
        self._writing = Writing(
            phrases=Phrases.load(folder),
            answer_token=self.tokenizer.convert_tokens_to_ids("<answer>"),
            numbers=range(first, first + N_NUMBERS),
            end_token=self.tokenizer.eos_token_id,
        )

    @property
    def n_parameters(self) -> int:
        """How many numbers were learned."""
        return sum(p.numel() for p in self.model.parameters())

    @torch.inference_mode()
    def see(self, views: Sequence[Mapping[str, np.ndarray]]) -> list[SeenMoment]:
        """Encode moments; a view that is missing is marked absent."""
        tiles = np.zeros((len(views), len(_ROWS), *self._tile_shape), np.uint8)
        for i, moment in enumerate(views):
            check_moment(moment)
            for row, name in enumerate(_ROWS):
                if name in moment:
                    tiles[i, row] = fit_tile(moment[name], self._tile_shape[1]).transpose(2, 0, 1)
        maps = [self.model.encode_tiles(part) for part in self._flat(tiles).split(self._max_batch)]
        joined = torch.cat(maps).unflatten(0, (len(views), len(_ROWS)))
        rows = [tuple(name in moment for name in _ROWS) for moment in views]
        # Copies: a view of the batch would keep all of it alive as long as one session lasts.
        return [SeenMoment(joined[i].clone(), rows[i]) for i in range(len(views))]  # type: ignore[arg-type]

    @torch.inference_mode()
    def ask(self, questions: Sequence[Question], *, think: bool) -> list[Answer]:
        """Answer each question; the batch's order and size do not change the answers."""
        answers: list[Answer] = []
        for start in range(0, len(questions), self._max_batch):
            part = questions[start : start + self._max_batch]
            answers += self._reason(part) if think else self._read(part)
        return answers

    @property
    def _tile_shape(self) -> tuple[int, int, int]:
        config: SoleNanoConfig = self.model.config  # type: ignore[assignment]
        return (3, config.tile_px, config.tile_px)

    def _flat(self, tiles: np.ndarray) -> Tensor:
        return torch.from_numpy(tiles).flatten(0, 1).to(self.model.device)

    def _read(self, questions: Sequence[Question]) -> list[Answer]:
        inputs = self._inputs(questions, _FAST_REPLY)
        logits = self.model(**inputs, logits_to_keep=1).logits[:, -1]
        return [self._answer(row, _FAST_REPLY, 1) for row in logits]

    def _reason(self, questions: Sequence[Question]) -> list[Answer]:
        inputs = self._inputs(questions, "<think>")
        return [self._answer_of(reply) for reply in self._writing.write(self.model, inputs)]

    def _answer_of(self, written: Reply) -> Answer:
        reply = "<think>" + self.tokenizer.decode(written.tokens, skip_special_tokens=False)
        if written.answer_logits is None:
            return Answer(None, None, None, reply, len(written.tokens))
        return self._answer(written.answer_logits, reply, len(written.tokens))

    def _answer(self, logits: Tensor, reply: str, n_tokens: int) -> Answer:
        numbers = self.model.number_logits(logits).float().cpu().numpy() / self._temperature
        mean, spread = read_expectation(numbers)
        shares = np.exp(numbers - numbers.max())
        success = shares[SUCCESS_ABOVE + 101 :].sum() / shares.sum()
        if reply == _FAST_REPLY:
            reply = f"{reply}{round(float(mean))}%</answer>"
        return Answer(float(mean), float(spread), float(success), reply, n_tokens)

    def _inputs(self, questions: Sequence[Question], reply: str) -> dict[str, Tensor]:
        texts = [
            prompt_text(
                self.tokenizer, q.task, q.previous_progress, self.model.config.n_image_tokens
            )
            + reply
            for q in questions
        ]
        encoded = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        maps, mask = zip(*(self._columns(q) for q in questions), strict=True)
        device = self.model.device
        return {
            "input_ids": encoded["input_ids"].to(device),
            "attention_mask": encoded["attention_mask"].to(device),
            "tile_maps": torch.stack(maps),
            "tile_mask": torch.tensor(mask, device=device),
        }

    def _columns(self, question: Question) -> tuple[Tensor, list[bool]]:
        shown: list[SeenMoment | None] = [question.first, question.previous, question.current]
        blank = torch.zeros_like(question.current.maps)
        maps = torch.stack([blank if s is None else s.maps for s in shown], dim=1)
        rows = range(len(_ROWS))
        mask = [s is not None and s.rows[row] for row in rows for s in shown]
        assert len(mask) == N_TILES and len(shown) == N_COLUMNS
        return maps.flatten(0, 1), mask


def prompt_text(tokenizer, task: str, previous_progress: int | None, n_image_tokens: int) -> str:  # noqa: ANN001
    """The text before the reply, picture placeholders expanded; training uses the same.

    nano knows lower-case words only, so the instruction is lowered.
    """
    messages = write_messages(NANO, task.lower(), _ROWS, previous_progress)
    return _expanded(tokenizer, messages, n_image_tokens)


def question_text(tokenizer, text: str, n_image_tokens: int) -> str:  # noqa: ANN001
    """The same for any other question about two pictures, the first and the current one."""
    content = [{"type": "image"}, {"type": "text", "text": text.lower()}]
    return _expanded(tokenizer, [{"role": "user", "content": content}], n_image_tokens)


def _expanded(tokenizer, messages: list[dict[str, Any]], n_image_tokens: int) -> str:  # noqa: ANN001
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    # The picture comes before all words, so the first placeholder is the template's own.
    return text.replace(IMAGE, IMAGE * n_image_tokens, 1)
