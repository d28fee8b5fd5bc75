"""Every reward model of the catalogue keeps the contract: batches, sessions, refusals.

What answers is made up where it is a large model; its own engine is tested where it is written
(test_hf, test_vllm, test_openai).
"""

import hashlib
from contextlib import ExitStack

import numpy as np
import pytest
from fake_backend import FakeBackend
from serving import serving
from tiny import make_tiny_nano

from sole.client import RemoteRewardModel
from sole.data.episode import make_example_episode
from sole.models.base import Answer, keep_pictures
from sole.models.spoken import SpokenReader
from sole.protocol import streaming
from sole.protocol.prompt import write_reply
from sole.rewarders.catalogue import CATALOGUE
from sole.rewarders.check import check_reward_model
from sole.rewarders.controls import Constant, Oracle, Ramp, RandomWalk
from sole.rewarders.learned import LearnedRewardModel
from sole.rewarders.learned_net import (
    LearnedConfig,
    LearnedNetwork,
    Vocabulary,
    make_eye,
    make_head,
)
from sole.rewarders.methods import QUESTIONS, make_question_model
from sole.rewarders.sole import Decoding, SoleRewardModel, load_sole
from sole.rewarders.vlmrm import VlmRmModel

SESSIONS = {"gvl:MODEL": "refused", "ramp": "runs", "oracle": "refused"}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(streaming, "TILE_PX", 8)


def draw(prompt, *more):
    """A number from 0 to 100 that depends on all that was asked."""
    digest = hashlib.blake2b(repr((prompt.messages, more)).encode(), digest_size=4)
    for image in prompt.images:
        digest.update(image.tobytes())
    return int.from_bytes(digest.digest(), "big") % 101


def backend():
    """Words that any method can read, and probabilities of any answer."""

    def reply(prompt):
        n = draw(prompt)
        lines = "\n".join(f"Frame {k}: a hand. Completion: {(n + k) % 101}%" for k in range(1, 40))
        return f"{write_reply('It moved.', n)}\n{lines}"

    return FakeBackend(reply, lambda prompt, candidate: (1 + draw(prompt, candidate)) / 102)


class MadeUpReader:
    """A reader with a spread, as the expectation over all answers has one."""

    model_id = "made-up"

    def see(self, views):
        return keep_pictures(views)

    def ask(self, questions, *, think):
        found = []
        for q in questions:
            seed = hashlib.blake2b(repr((q.task, q.previous_progress)).encode(), digest_size=4)
            seed.update(next(iter(q.current.views.values())).tobytes())
            n = int.from_bytes(seed.digest(), "big") % 101
            found.append(Answer(float(n), 3.0, n / 100, write_reply("", n), 1))
        return found


def learned(kind):
    config = LearnedConfig(model_type=kind, views=("external",), eye="nano", grid=1,
                           hidden_size=8, word_size=4)  # fmt: skip
    words = Vocabulary.of(["open the drawer"])
    network = LearnedNetwork(config, words, make_eye("nano", 1), make_head(config, len(words)))
    return LearnedRewardModel(network, kind)


def clip():
    def pictures(some):
        rows = np.array([p.reshape(-1, 3).mean(0) for p in some]) + np.array([1.0, 0.0, 0.0])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return VlmRmModel("made-up", pictures, lambda texts: np.eye(3)[: len(texts)])


def made(name, tmp_path, stack):
    """The reward model that an entry of the catalogue stands for."""
    sole_question = Decoding(think=True, from_zero_weight=0.0)
    makers = {
        "nano": lambda: load_sole(str(make_tiny_nano(tmp_path))),
        "MODEL or MODEL:robust": lambda: SoleRewardModel(MadeUpReader()),
        "vllm:MODEL": lambda: SoleRewardModel(MadeUpReader()),
        "Philip-MIT/SOLE-R1-8B:published": lambda: SoleRewardModel(MadeUpReader(), sole_question),
        "openai:http://HOST:PORT/v1#MODEL": lambda: SoleRewardModel(
            SpokenReader(backend()), sole_question
        ),
        "FOLDER of sole fit rewind": lambda: learned("sole_rewind"),
        "FOLDER of sole fit classifier": lambda: learned("sole_classifier"),
        "vlmrm:CLIP": clip,
        "http://HOST:PORT": lambda: stack.enter_context(
            RemoteRewardModel(stack.enter_context(serving(RandomWalk(0))).url)
        ),
        "ramp": Ramp,
        "random": RandomWalk,
        "constant:50": lambda: Constant(50),
        "oracle": Oracle,
    }
    for method in QUESTIONS:
        makers[f"{method}:MODEL"] = lambda method=method: make_question_model(method, backend())
    return makers[name]()


@pytest.mark.parametrize("name", [entry.name for entry in CATALOGUE])
def test_every_reward_model_keeps_the_contract(name, tmp_path):
    with ExitStack() as stack:
        model = made(name, tmp_path, stack)
        episodes = [make_example_episode(n, 16, seed=n) for n in (1, 4, 3)]
        check_reward_model(model, episodes, session=SESSIONS.get(name, "equals_score"))
        (entry,) = (entry for entry in CATALOGUE if entry.name == name)
        assert entry.running == (SESSIONS.get(name) != "refused")


@pytest.mark.parametrize("method", [m for m in QUESTIONS if not m.startswith(("gvl", "topreward"))])
def test_every_method_with_words_keeps_the_contract_too(method):
    model = make_question_model(method, backend(), think=True)
    check_reward_model(model, [make_example_episode(n, 16, seed=n) for n in (4, 3)])
