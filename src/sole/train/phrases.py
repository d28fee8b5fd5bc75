"""Teach nano its own phrases: ``python -m sole.train.phrases --model MODEL --data DATASET``.

The model thinks through episodes it was trained on; what usually follows what is written beside its
weights, and replies take a third of the passes from then on. The words stay the same: a phrase is
only a guess that the model checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from sole.config import Config, parse_config
from sole.console import progress_bar, run_module, stdout
from sole.data.episode import Episode
from sole.data.lerobot_reader import open_dataset, read_episodes
from sole.models.nano.reader import NanoReader
from sole.models.nano.writing import Phrases
from sole.protocol.prompt import write_reply
from sole.rewarders.sole import Decoding, SoleRewardModel

_TOGETHER = 16


class PhrasesConfig(Config):
    """Learn a nano checkpoint's phrases from what it writes about training episodes."""

    model: Path
    """Folder of the checkpoint; the file goes there."""
    data: list[Path] = Field(min_length=1)
    """Data sets it was trained on."""
    episodes: int = Field(96, gt=0)
    """Episodes of them, drawn evenly."""
    seed: int = Field(0, ge=0)
    """Which ones."""
    threads: int = Field(1, gt=0)
    """CPU threads."""


def main(argv: Sequence[str]) -> int:
    """Learn and save; print how many phrases there are."""
    config = parse_config(PhrasesConfig, argv, "python -m sole.train.phrases")
    phrases = learn_phrases(config)
    phrases.save(config.model)
    stdout.print(f"{len(phrases)} phrases in {config.model}")
    return 0


def learn_phrases(config: PhrasesConfig) -> Phrases:
    """Let the model think through episodes, and count what follows what.

    Raises:
        ModelError: If there is no checkpoint.
        DataError: If a data set cannot be read.
    """
    torch.set_num_threads(config.threads)
    reader = NanoReader(config.model)
    model = SoleRewardModel(reader, Decoding(think=True, from_zero_weight=0.0))
    replies: list[list[int]] = []
    episodes = _drawn(config)
    with progress_bar("thinking", total=config.episodes) as advance:
        while batch := list(islice(episodes, _TOGETHER)):
            for score in model.score(batch):
                replies += [
                    _tokens(reader, step.reasoning, step.progress)
                    for step in score.steps
                    if step.reasoning and step.progress is not None
                ]
            advance(len(batch))
    return Phrases.learn(replies)


def _drawn(config: PhrasesConfig) -> Iterator[Episode]:
    places = [(folder, i) for folder in config.data for i in range(open_dataset(folder).n_episodes)]
    order = np.random.default_rng(config.seed).permutation(len(places))[: config.episodes]
    for k in sorted(order):
        folder, index = places[k]
        yield from read_episodes(folder, [index])


def _tokens(reader: NanoReader, reasoning: str, progress: float) -> list[int]:
    reply = write_reply(reasoning, round(progress)).removeprefix("<think>")
    ids = reader.tokenizer.encode(reply, add_special_tokens=False)
    return [*ids, reader.tokenizer.eos_token_id]


if __name__ == "__main__":
    run_module(main, "phrases")
