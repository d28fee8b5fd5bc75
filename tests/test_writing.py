"""Replies written in few passes: word for word what transformers' own greedy search writes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_nano import moment
from tiny import make_tiny_nano
from transformers import LogitsProcessor, LogitsProcessorList

from sole import samples
from sole.config import parse_config
from sole.data.episode import make_example_episode
from sole.data.lerobot import EpisodeWriter
from sole.data.readers import read_episode
from sole.errors import ModelError
from sole.models.base import Question
from sole.models.nano.reader import WEIGHTS, NanoReader
from sole.models.nano.writing import FILE_NAME, Phrases, Reply, Writing
from sole.rewarders.sole import Decoding, SoleRewardModel
from sole.train import phrases as phrases_module
from sole.train.phrases import PhrasesConfig, learn_phrases
from sole.train.phrases import main as learn_main

NEVER = 10**6
FREE = Writing(Phrases(), NEVER, range(8, 209), NEVER, 24)
TOKENS = st.lists(st.integers(0, 5), max_size=12)


class NumbersOnly(LogitsProcessor):
    """The rule of an answer, in transformers' words."""

    def __init__(self, writing: Writing):
        self.writing = writing

    def __call__(self, input_ids, scores):
        numbers = slice(self.writing.numbers.start, self.writing.numbers.stop)
        allowed = torch.full_like(scores, -torch.inf)
        allowed[:, numbers] = scores[:, numbers]
        opened = input_ids[:, -1:] == self.writing.answer_token
        return torch.where(opened, allowed, scores)


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> NanoReader:
    reader = NanoReader(make_tiny_nano(tmp_path_factory.mktemp("tiny")))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # numbers so large that every word depends on those before
        for weights in reader.model.decoder.layers.parameters():
            if weights.ndim == 2:
                weights.normal_(0, 0.2, generator=generator)
    return reader


@pytest.fixture(scope="module")
def inputs(reader):
    seen = reader.see([moment(k) for k in range(4)])
    questions = [
        Question("open the drawer", seen[0], seen[1], seen[0], 20),
        Question("push", seen[0], seen[2]),
        Question("close the small drawer on the left", seen[2], seen[3], seen[1], -7),
    ]
    return reader._inputs(questions, "<think>")


def one_by_one(reader: NanoReader, inputs, writing: Writing) -> list[list[int]]:
    """What transformers writes, one token a pass."""
    out = reader.model.generate(
        **inputs,
        max_new_tokens=writing.max_tokens,
        do_sample=False,
        eos_token_id=writing.end_token,
        pad_token_id=0,
        logits_processor=LogitsProcessorList([NumbersOnly(writing)]),
    )
    replies = out[:, inputs["input_ids"].shape[1] :].tolist()
    ends = [r.index(writing.end_token) if writing.end_token in r else len(r) for r in replies]
    return [r[:end] for r, end in zip(replies, ends, strict=True)]


@pytest.fixture(scope="module")
def free(reader, inputs) -> list[list[int]]:
    """What it writes without rules: a random model knows no tags, so a test picks its own."""
    return one_by_one(reader, inputs, FREE)


@pytest.mark.parametrize("n_guesses", [0, 1, 5])
@pytest.mark.parametrize("learned", ["nothing", "own replies", "nonsense"])
def test_guessed_replies_are_those_of_greedy_search(reader, inputs, free, n_guesses, learned):
    writing = replace(FREE, answer_token=free[0][4], end_token=free[2][9])
    expected = one_by_one(reader, inputs, writing)
    vocab = reader.model.config.text_config.vocab_size
    phrases = {
        "nothing": Phrases(),
        "own replies": Phrases.learn([[*r, writing.end_token] for r in expected]),
        "nonsense": Phrases({(token,): (token * 7 + 3) % vocab for token in range(vocab)}),
    }[learned]
    writing = replace(writing, phrases=phrases, n_guesses=n_guesses)
    replies = writing.write(reader.model, inputs)
    assert [reply.tokens for reply in replies] == expected
    assert len({len(tokens) for tokens in expected}) > 1, "all end together: the test is too easy"


def test_answer_is_read_where_the_number_stands(reader, inputs, free):
    writing = replace(FREE, answer_token=free[0][4])
    for phrases in (Phrases(), Phrases.learn(one_by_one(reader, inputs, writing))):
        writing = replace(writing, phrases=phrases)
        [reply, *_] = writing.write(reader.model, inputs)
        where = reply.tokens.index(writing.answer_token)
        whole = {name: value[:1] for name, value in inputs.items()}
        written = torch.tensor([reply.tokens[: where + 1]])
        whole["input_ids"] = torch.cat([whole["input_ids"], written], 1)
        whole["attention_mask"] = torch.cat([whole["attention_mask"], torch.ones_like(written)], 1)
        with torch.inference_mode():
            logits = reader.model(**whole).logits[0, -1]
        assert reply.answer_logits is not None
        torch.testing.assert_close(reply.answer_logits, logits, rtol=1e-4, atol=1e-4)
        assert reply.tokens[where + 1] in writing.numbers


def test_right_guesses_save_passes(reader, inputs, free, monkeypatch):
    passes = []
    usual = Writing._pass
    monkeypatch.setattr(
        Writing, "_pass", lambda self, *args: (passes.append(1), usual(self, *args))[1]
    )
    counts = []
    for phrases in (Phrases(), Phrases.learn(free)):
        passes.clear()
        replace(FREE, phrases=phrases).write(reader.model, inputs)
        counts.append(len(passes))
    assert counts[0] == 23
    assert counts[1] < counts[0]


@given(st.lists(TOKENS, max_size=6), TOKENS, st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_a_guess_is_what_most_often_followed(replies, written, n):
    guesses = Phrases.learn(replies).guess(written, n)
    assert len(guesses) <= n
    tokens = list(written)
    for guess in guesses:
        assert guess == _most_common_next(replies, tokens)
        tokens.append(guess)
    if len(guesses) < n:
        assert _most_common_next(replies, tokens) is None


def _most_common_next(replies, written):
    for length in range(min(4, len(written)), 0, -1):
        context = written[len(written) - length :]
        follow = [
            r[i] for r in replies for i in range(length, len(r)) if r[i - length : i] == context
        ]
        if follow:
            return min(set(follow), key=lambda token: (-follow.count(token), token))
    return None


def test_the_command_that_the_phrases_module_names_is_one():
    named = (phrases_module.__doc__ or "").split("``")[1]
    words = named.removeprefix("python -m sole.train.phrases ").split()
    assert parse_config(PhrasesConfig, words, "phrases").model == Path("MODEL")


def test_saved_phrases_come_back_and_damage_is_told(tmp_path):
    phrases = Phrases.learn([[1, 2, 3], [4, 2, 5]])
    phrases.save(tmp_path)
    assert Phrases.load(tmp_path).guess([1, 2], 1) == phrases.guess([1, 2], 1) == [3]
    (tmp_path / FILE_NAME).write_text("[[1, ")
    with pytest.raises(ModelError, match="damaged"):
        Phrases.load(tmp_path)
    assert len(Phrases.load(tmp_path / "elsewhere")) == 0


def test_shipped_model_writes_the_same_in_a_third_of_the_passes(monkeypatch):
    passes, usual = [], Writing._pass
    monkeypatch.setattr(
        Writing, "_pass", lambda self, *args: (passes.append(1), usual(self, *args))[1]
    )
    episode = read_episode("open the drawer", both=samples.path(), max_side_px=96)
    views = {name: frames[:6] for name, frames in episode.views.items()}
    short = type(episode)(views=views, task=episode.task, fps=episode.fps)
    reader = NanoReader(WEIGHTS)
    assert len(reader._writing.phrases) > 100
    model = SoleRewardModel(reader, Decoding(think=True))
    [quick] = model.score([short])
    n_quick = len(passes)
    reader._writing = replace(reader._writing, phrases=Phrases())
    [slow] = model.score([short])
    assert n_quick < (len(passes) - n_quick) / 3
    assert [s.reasoning for s in quick.steps] == [s.reasoning for s in slow.steps]
    np.testing.assert_allclose(quick.judged_progress, slow.judged_progress, atol=1e-3)


def test_phrases_are_learned_from_a_data_set(tmp_path, capsys, monkeypatch):
    with EpisodeWriter(tmp_path / "data", 10.0) as writer:
        for seed in range(3):
            writer.add(make_example_episode(n_frames=4, seed=seed))
    folder = make_tiny_nano(tmp_path / "model")
    words = NanoReader(folder).tokenizer
    told = words.encode("the gripper moved closer.</think><answer>7%</answer>")
    said = Reply(told, torch.arange(len(words)) == words.convert_tokens_to_ids("7"))

    def say(self, model, inputs):
        return [said] * len(inputs["input_ids"])

    monkeypatch.setattr(Writing, "write", say)
    config = PhrasesConfig(model=folder, data=[tmp_path / "data"], episodes=2)
    assert learn_phrases(config).guess(told[:2], 2) == told[2:4]
    assert learn_main(["--model", str(folder), "--data", str(tmp_path / "data")]) == 0
    assert "phrases" in capsys.readouterr().out
    assert Phrases.load(folder).guess(told[:2], 2) == told[2:4]
