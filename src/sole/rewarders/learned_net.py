"""The networks behind :mod:`sole.rewarders.learned`: a frozen eye, words, and a small head.

The eye is that of nano (:mod:`sole.models.nano.encoder`), never trained here. Its map of each
picture is averaged within the cells of a coarse grid, so that a head sees roughly where things are.
The instruction is a trained bag of word embeddings, far less than ReWiND's MiniLM: a word that no
training sentence held says nothing. Instead of ReWiND's transformer of 16 places there is a GRU, so
an episode may have any length and a session keeps one vector.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file
from torch import Tensor, nn

from sole.checkpoint import save_tensors
from sole.models.base import check_moment
from sole.models.nano.encoder import TileEncoder, load_imagenet
from sole.protocol.composite import fit_tile
from sole.run import write_atomically

TILE_PX = 96
_WEIGHTS = "model.safetensors"
_VOCABULARY = "vocabulary.json"
_NANO_PREFIX = "encoder."
_N_SPECIAL = 2
_UNKNOWN = 1
_LEAST_SPREAD = 1e-3

Eye = Literal["imagenet", "nano"]


class LearnedConfig(BaseModel):
    """What ``config.json`` of a saved folder says."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model_type: Literal["sole_rewind", "sole_classifier"]
    """Which of the two heads."""
    views: tuple[Literal["external", "wrist"], ...] = Field(min_length=1)
    """Views the head was trained on, in this order; an episode must have them all."""
    eye: Eye
    """Where the weights of the eye come from; they are in the folder."""
    grid: int = Field(ge=1, le=6)
    """Features are averaged within grid x grid cells of a picture."""
    hidden_size: int = Field(gt=0)
    """Width of the head."""
    word_size: int = Field(gt=0)
    """Width of a word's embedding."""

    @property
    def n_features(self) -> int:
        """Features of one moment, all views together."""
        return len(self.views) * TileEncoder.out_channels * self.grid**2


class Vocabulary:
    """Words of the training instructions; 0 is padding, 1 any other word.

    Example:
        >>> words = Vocabulary(["drawer", "open"])
        >>> words.encode("Open the drawer!")
        [3, 1, 2]
    """

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        self._ids = {word: i + _N_SPECIAL for i, word in enumerate(self.words)}

    @classmethod
    def of(cls, sentences: Iterable[str]) -> Vocabulary:
        """All words of these sentences, sorted."""
        return cls(sorted({word for sentence in sentences for word in _words(sentence)}))

    def __len__(self) -> int:
        return len(self.words) + _N_SPECIAL

    def encode(self, sentence: str) -> list[int]:
        """Ids of the words, at least one."""
        return [self._ids.get(word, _UNKNOWN) for word in _words(sentence)] or [_UNKNOWN]

    def batch(self, sentences: Sequence[str]) -> Tensor:
        """Ids ``(B, L)``, shorter sentences padded."""
        ids = [self.encode(sentence) for sentence in sentences]
        longest = max(len(row) for row in ids)
        return torch.tensor([row + [0] * (longest - len(row)) for row in ids])


def _words(sentence: str) -> list[str]:
    return re.findall(r"\w+", sentence.lower())


class FrozenEye(nn.Module):
    """Pictures to features: the map of nano's eye, averaged within the cells of a grid."""

    def __init__(self, grid: int):
        super().__init__()
        self.encoder = TileEncoder()
        self.grid = grid
        self.requires_grad_(False)
        self.eval()
        self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def forward(self, pictures: Sequence[np.ndarray], max_batch: int = 32) -> Tensor:
        """Features ``(N, 112 grid^2)`` float32 of uint8 RGB pictures ``(H, W, 3)``."""
        tiles = np.stack([fit_tile(p, TILE_PX).transpose(2, 0, 1) for p in pictures])
        device = self.encoder.stem.weight.device
        parts = torch.from_numpy(tiles).to(device).split(max_batch)
        maps = [nn.functional.adaptive_avg_pool2d(self.encoder(p), self.grid) for p in parts]
        return torch.cat(maps).flatten(1).clone()

    def digest(self) -> str:
        """Ten hex digits that tell these weights and this grid from any other."""
        told = hashlib.sha256(str(self.grid).encode())
        for name, part in sorted(self.state_dict().items()):
            told.update(name.encode())
            told.update(part.cpu().numpy().tobytes())
        return told.hexdigest()[:10]


def make_eye(source: Eye, grid: int) -> FrozenEye:
    """An eye with the ImageNet weights that nano began with, or with those nano ended with.

    Raises:
        ModelError: If the ImageNet weights are not installed.
    """
    eye = FrozenEye(grid)
    if source == "imagenet":
        load_imagenet(eye.encoder)
    else:
        from sole.models.nano.reader import WEIGHTS

        shipped = load_file(WEIGHTS / _WEIGHTS)
        mine = {k: v.float() for k, v in shipped.items() if k.startswith(_NANO_PREFIX)}
        eye.load_state_dict(mine)
    return eye


class LearnedHead(nn.Module):
    """What both heads share: features brought to one scale, and words that steer what counts."""

    mean: Tensor
    spread: Tensor

    def __init__(self, config: LearnedConfig, n_words: int, n_inputs: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.n_features))
        self.register_buffer("spread", torch.ones(config.n_features))
        self.words = nn.EmbeddingBag(n_words, config.word_size, mode="mean", padding_idx=0)
        self.look = nn.Linear(n_inputs, config.hidden_size)
        self.steer = nn.Linear(config.word_size, 2 * config.hidden_size)
        self.drop = nn.Dropout(0.1)

    def fit_scale(self, features: Sequence[Tensor]) -> None:
        """Take mean and spread of the features from the training set, each ``(T, F)``."""
        n = sum(len(part) for part in features)
        mean = sum(part.double().sum(0) for part in features) / n
        squares = sum((part.double() - mean).square().sum(0) for part in features) / n
        self.mean.copy_(torch.as_tensor(mean))
        self.spread.copy_(torch.as_tensor(squares).sqrt().clamp(min=_LEAST_SPREAD))

    def scaled(self, features: Tensor) -> Tensor:
        """Features with mean 0 and spread 1 over the training set."""
        return (features - self.mean) / self.spread

    def steered(self, inputs: Tensor, words: Tensor) -> Tensor:
        """``(B, T, H)``: what is seen, scaled and shifted by the instruction (FiLM)."""
        scale, shift = self.steer(self.words(words))[:, None].chunk(2, -1)
        return torch.relu(self.look(self.drop(inputs)) * (1 + scale) + shift)


RewindState = tuple[Tensor, Tensor | None]


class RewindHead(LearnedHead):
    """Features and words to progress, frame after frame: a GRU, so each frame knows the past."""

    def __init__(self, config: LearnedConfig, n_words: int):
        super().__init__(config, n_words, 2 * config.n_features)
        size = config.hidden_size
        self.past = nn.GRU(size, size, batch_first=True)
        self.read = nn.Sequential(nn.Linear(2 * size, size), nn.ReLU(), nn.Linear(size, 1))

    def forward(
        self, features: Tensor, words: Tensor, state: RewindState | None = None
    ) -> tuple[Tensor, RewindState]:
        """Logits ``(B, T)`` of the progress, and what the next frames need.

        Args:
            features: ``(B, T, F)``.
            words: ``(B, L)`` from :meth:`Vocabulary.batch`.
            state: The first frame and the memory, from the call before; None at the start.
        """
        scaled = self.scaled(features)
        first, memory = (scaled[:, :1], None) if state is None else state
        seen = self.steered(torch.cat([scaled, scaled - first], -1), words)
        known, memory = self.past(seen, memory)
        return self.read(torch.cat([known, seen], -1)).squeeze(-1), (first, memory)


class ClassifierHead(LearnedHead):
    """Features of one moment and words to success; no memory."""

    def __init__(self, config: LearnedConfig, n_words: int):
        super().__init__(config, n_words, config.n_features)
        size = config.hidden_size
        self.read = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 1))

    def forward(
        self, features: Tensor, words: Tensor, state: RewindState | None = None
    ) -> tuple[Tensor, None]:
        """Logits ``(B, T)`` of success."""
        return self.read(self.steered(self.scaled(features), words)).squeeze(-1), None


def make_head(config: LearnedConfig, n_words: int) -> RewindHead | ClassifierHead:
    """A fresh head of the configured kind."""
    kind = RewindHead if config.model_type == "sole_rewind" else ClassifierHead
    return kind(config, n_words)


class LearnedNetwork:
    """Eye, head and words together, as they are saved and asked.

    Args:
        config: Sizes and views.
        vocabulary: The words.
        eye: With its weights.
        head: With its weights.
    """

    def __init__(
        self,
        config: LearnedConfig,
        vocabulary: Vocabulary,
        eye: FrozenEye,
        head: RewindHead | ClassifierHead,
    ):
        self.config, self.vocabulary = config, vocabulary
        self.eye, self.head = eye, head.eval()

    def see(self, moments: Sequence[Mapping[str, np.ndarray]]) -> Tensor:
        """Features ``(N, F)`` of moments, each view name -> uint8 RGB ``(H, W, 3)``.

        Raises:
            ValueError: If a view is missing or a picture is wrong.
        """
        for moment in moments:
            check_moment(moment)
            if missing := [name for name in self.config.views if name not in moment]:
                raise ValueError(
                    f"expected the views {', '.join(self.config.views)}, on which the model was "
                    f"trained; {missing[0]} is missing"
                )
        rows = [self.eye([m[name] for m in moments]) for name in self.config.views]
        return torch.cat(rows, 1)

    @torch.inference_mode()
    def ask(
        self, features: Tensor, task: str, state: RewindState | None = None
    ) -> tuple[np.ndarray, RewindState | None]:
        """Progress or success in [0, 1], ``(T,)``, of frames in order, and the state after them."""
        words = self.vocabulary.batch([task]).to(features.device)
        logits, after = self.head(features[None], words, state)
        return logits[0].sigmoid().cpu().numpy().astype(np.float64), after

    def save(self, folder: Path) -> None:
        """Write weights and vocabulary, then config.json, which makes the folder a model."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"eye.{k}": v for k, v in self.eye.state_dict().items()}
        tensors |= {f"head.{k}": v for k, v in self.head.state_dict().items()}
        save_tensors(folder / _WEIGHTS, tensors)
        write_atomically(folder / _VOCABULARY, json.dumps({"words": self.vocabulary.words}))
        write_atomically(folder / "config.json", self.config.model_dump_json(indent=2))


def read_network(folder: Path, device: str = "cpu") -> LearnedNetwork:
    """What :meth:`LearnedNetwork.save` wrote.

    Raises:
        OSError, ValueError, KeyError, RuntimeError, SafetensorError: If a file is missing or
            damaged.
    """
    config = LearnedConfig.model_validate_json((folder / "config.json").read_text())
    vocabulary = Vocabulary(json.loads((folder / _VOCABULARY).read_text())["words"])
    tensors = load_file(folder / _WEIGHTS)
    eye, head = FrozenEye(config.grid), make_head(config, len(vocabulary))
    for name, part in (("eye.", eye), ("head.", head)):
        mine = {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}
        part.load_state_dict(mine)
        part.to(device)
    return LearnedNetwork(config, vocabulary, eye, head)
