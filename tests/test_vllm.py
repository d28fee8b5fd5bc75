"""A vLLM engine in this process: the same answers as transformers, through vLLM's own calls."""

import sys
from dataclasses import replace

import fake_vllm
import numpy as np
import pytest
from tiny_vlm import make_tiny_qwen3

from sole import cli
from sole.data.episode import make_example_episode
from sole.errors import ConfigError
from sole.models.backend import ask_user
from sole.models.base import Question
from sole.models.hf.backend import TransformersBackend
from sole.models.hf.reader import TransformersReader
from sole.models.vllm.backend import VllmBackend, VllmReader, open_engine
from sole.protocol.composite import Geometry
from sole.rewarders.check import check_reward_model
from sole.rewarders.load import load_reward_model

SMALL = Geometry(tile_px=28, separator_px=0, resize_factor=28)
CANDIDATES = (" True", " False", "ANSWER: 5", "5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(make_tiny_qwen3(tmp_path_factory.mktemp("qwen3")))


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm)
    monkeypatch.setattr(fake_vllm.LLM, "made", [])
    return fake_vllm


def picture(seed, width=64):
    return np.random.default_rng(seed).integers(0, 256, (64, width, 3), dtype=np.uint8)


def prompts():
    return [
        ask_user([picture(0), picture(1, 96), "Is it open?"]),
        ask_user([picture(2), "It is open: "], chat=False),
        ask_user(["Is a drawer a thing?"]),
    ]


def small(reader, **settings):
    """Small pictures, and replies of a few tokens: the made-up engine has no cache."""
    reader.preset = replace(reader.preset, geometry=SMALL, max_new_tokens=4, **settings)
    return reader


def question(reader, previous=None):
    rng = np.random.default_rng(7)
    views = [{n: rng.integers(0, 256, (40, 48, 3), np.uint8) for n in ("external", "wrist")}
             for _ in range(3)]  # fmt: skip
    first, middle, last = reader.see(views)
    return Question("push the puck", first, last, *([middle, previous] if previous else []))


def test_log_probabilities_and_words_are_those_of_transformers(folder):
    here = TransformersBackend(folder, device="cpu")
    there = VllmBackend(open_engine(folder, None, {}))
    np.testing.assert_allclose(
        there.logprobs(prompts(), CANDIDATES), here.logprobs(prompts(), CANDIDATES), atol=1e-4
    )
    wanted = here.generate(prompts(), max_new_tokens=5)
    assert there.generate(prompts(), max_new_tokens=5) == wanted
    assert there.model_id == f"{here.model_id}/vllm"
    assert there.logprobs([], CANDIDATES).shape == (0, 4)


def test_an_engine_that_only_gives_the_whole_vocabulary_says_the_same(folder, vllm, monkeypatch):
    chosen = VllmBackend(open_engine(folder, None, {})).logprobs(prompts(), CANDIDATES)
    fields = tuple(n for n in vllm.SamplingParams.__struct_fields__ if n != "logprob_token_ids")
    monkeypatch.setattr(vllm.SamplingParams, "__struct_fields__", fields)
    whole = VllmBackend(open_engine(folder, None, {})).logprobs(prompts(), CANDIDATES)
    assert vllm.LLM.made[1].calls[0][1][0].logprobs == -1
    np.testing.assert_array_equal(chosen, whole)


def test_the_sole_question_is_read_as_with_transformers(folder):
    here = small(TransformersReader(folder, device="cpu"))
    there = small(VllmReader(open_engine(folder, None, {}), folder))
    (one,) = here.ask([question(here, previous=40)], think=False)
    (other,) = there.ask([question(there, previous=40)], think=False)
    assert other.progress == pytest.approx(one.progress, abs=1e-3)
    assert other.spread == pytest.approx(one.spread, abs=1e-3)
    assert other.success_probability == pytest.approx(one.success_probability, abs=1e-5)


def test_a_number_takes_as_many_requests_as_the_tree_of_answers_has_inner_nodes(folder, vllm):
    reader = small(VllmReader(open_engine(folder, None, {}), folder))
    reader.ask([question(reader)], think=False)
    (asked, params), = vllm.LLM.made[0].calls  # fmt: skip
    starts = {tuple(p["prompt_token_ids"][: len(asked[0]["prompt_token_ids"]) - 1]) for p in asked}
    assert len(starts) <= len(asked) < 60
    assert all(p.max_tokens == 1 and len(p.logprob_token_ids) <= 128 for p in params)
    assert [len(p["multi_modal_data"]["image"]) for p in asked] == [1] * len(asked)


def test_published_draws_with_the_published_settings_and_a_seed_of_its_own(folder, vllm):
    model = load_reward_model(f"vllm:{folder}:published", think="always", seed=3)
    small(model.reader)
    episode = make_example_episode(3, 40, truth=False)
    first, again = (model.score([episode])[0] for _ in range(2))
    assert first == again
    params = [p for _, some in vllm.LLM.made[0].calls for p in some]
    assert {(p.temperature, p.top_k, p.top_p, p.max_tokens) for p in params} == {(1.0, 50, 0.9, 4)}
    assert len({p.seed for p in params}) >= 2
    assert model.model_id.endswith("/published/s3/vllm/think/z0/e1")


def test_a_reward_model_in_an_engine_keeps_the_contract(folder):
    model = load_reward_model(f"vllm:{folder}?max_model_len=4096", from_zero_weight=0.0)
    small(model.reader)
    check_reward_model(model, [make_example_episode(n, 24, seed=n, truth=False) for n in (2, 3)])


def test_settings_and_methods_reach_the_engine(folder, vllm):
    model = load_reward_model(
        f"topreward-odds:vllm:{folder}?max_model_len=4096&tensor_parallel_size=2"
    )
    assert vllm.LLM.made[0].max_model_len == 4096
    assert model.score([make_example_episode(2, 24)])[0].steps[1].progress is not None


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("vllm:nowhere", {}, "no such folder"),
        ("vllm:lab/judge?speed=9", {}, "no setting 'speed'"),
        ("vllm:lab/judge?max_model_len=two", {}, "max_model_len from"),
        ("gvl:vllm:lab/judge:published", {}, "belongs to the SOLE question"),
        ("vllm:lab/judge", {"device": "cpu"}, "chooses its own device"),
        ("vllm:lab/judge:published", {}, "always thinks"),
    ],
)
def test_a_wrong_name_is_refused(name, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_reward_model(name, **options)


def test_without_vllm_one_line_says_how_to_install_it(folder, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "vllm", None)
    np.save(tmp_path / "film.npy", make_example_episode(2, 24).views["external"])
    flags = ["--task", "open the drawer", "--model", f"vllm:{folder}"]
    assert cli.main(["score", str(tmp_path / "film.npy"), *flags]) == 2
    said = capsys.readouterr().err
    line = said.strip().splitlines()[-1]  # transformers may have warned before
    assert "Traceback" not in said
    assert "pip install 'vllm>=0.11'" in line
