"""A model of transformers as a backend: exact probabilities, plain text, batches, templates."""

import numpy as np
import pytest
import torch
from tiny_vlm import TEMPLATE, make_tiny_llava, make_tiny_qwen3

from sole.errors import ConfigError, ModelError
from sole.models.backend import Prompt, ask_user
from sole.models.hf.backend import TransformersBackend

MAKERS = {"qwen3": make_tiny_qwen3, "llava": make_tiny_llava}
CANDIDATES = (" True", " False", "ANSWER: 5", "5")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def backends(folders):
    return {name: TransformersBackend(str(f), device="cpu") for name, f in folders.items()}


def picture(seed: int, width: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (56, width, 3), dtype=np.uint8)


def prompts() -> list[Prompt]:
    return [
        ask_user([picture(0), picture(1, 90), "Is it open?"]),
        ask_user(["Before:", picture(2), "Is the drawer open now?"]),
        ask_user([picture(3), picture(1), "It is open: "], chat=False),
        ask_user(["Is a drawer a thing?"]),
    ]


@torch.inference_mode()
def brute_force(backend, prompt: Prompt, candidate: str) -> float:
    """The candidate's log-probability, all read at once without a cache."""
    network = backend.network
    ids = network.tokenizer(candidate, add_special_tokens=False)["input_ids"]
    question = backend._see(prompt)
    logits = network.model(**network.batch([question], [ids])).logits[0].log_softmax(-1)
    start = question["input_ids"].shape[1]
    return sum(float(logits[start + k - 1, token]) for k, token in enumerate(ids))


@pytest.mark.parametrize("name", MAKERS)
def test_log_probabilities_equal_brute_force(backends, name):
    found = backends[name].logprobs(prompts(), CANDIDATES)
    expected = [[brute_force(backends[name], p, c) for c in CANDIDATES] for p in prompts()]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.all(found < 0)
    assert len(set(found.round(3).ravel())) == found.size


@pytest.mark.parametrize("name", MAKERS)
def test_batches_and_little_memory_change_nothing(folders, backends, name):
    frugal = TransformersBackend(str(folders[name]), device="cpu", max_batch=1, max_rows=1)
    one, other = (b.logprobs(prompts(), CANDIDATES) for b in (frugal, backends[name]))
    np.testing.assert_allclose(one, other, atol=1e-4)
    replies = [b.generate(prompts(), max_new_tokens=5) for b in (frugal, backends[name])]
    assert replies[0] == replies[1]
    assert all(0 < reply.n_tokens <= 5 and reply.error is None for reply in replies[0])


def test_nothing_asked_is_nothing_answered(backends):
    assert backends["llava"].generate([], max_new_tokens=5) == []
    assert backends["llava"].logprobs([], CANDIDATES).shape == (0, 4)


def test_plain_text_holds_the_pictures_as_the_template_marks_them(backends):
    network = backends["qwen3"].network
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    assert network.picture_mark() == mark
    tokens = backends["qwen3"]._see(prompts()[2])["input_ids"][0]
    pads = network.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    text = network.tokenizer.decode([t for t in tokens.tolist() if t != pads])
    assert text == "<|vision_start|><|vision_end|>" * 2 + "It is open: "


def test_a_template_that_moves_pictures_cannot_continue_plain_text(folders):
    backend = TransformersBackend(str(folders["qwen3"]), device="cpu")
    backend.network.processor.chat_template = TEMPLATE.replace("PICTURE", "")
    with pytest.raises(ModelError, match="cannot continue a text with pictures"):
        backend.logprobs(prompts()[2:3], CANDIDATES)


def test_a_candidate_of_no_token_is_refused(backends):
    with pytest.raises(ModelError, match="as nothing"):
        backends["llava"].logprobs(prompts(), ["True", ""])


def test_memory_settings_below_one_are_refused(folders):
    with pytest.raises(ConfigError, match=">= 1"):
        TransformersBackend(str(folders["llava"]), device="cpu", max_batch=0)
