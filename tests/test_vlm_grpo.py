"""GRPO on vision-language models: rewards as TRL calls them, and runs of a tiny model."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_vlm import make_tiny_qwen3

from sole.config import load_preset
from sole.data.episode import make_example_episode
from sole.errors import ConfigError, ModelError
from sole.models.hf.loading import open_model
from sole.models.hf.network import Network
from sole.train.rlvr import main
from sole.train.verify import Known, RewardWeights, judge_reply
from sole.train.vlm_collate import count_features
from sole.train.vlm_config import VlmRlvrConfig
from sole.train.vlm_grpo import (
    arguments,
    replies,
    reward_functions,
    rounds_done,
    train,
    uses_vllm,
)
from sole.train.vlm_path import write_episodes

PRESETS = Path(__file__).parents[1] / "presets"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_tiny_qwen3(tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vlm") / "data"
    write_episodes(folder)
    return folder


def config(folder, data, run, **changes) -> VlmRlvrConfig:
    settings = {
        "geometry": "nano", "steps": 2, "prompts_per_step": 2, "group_size": 2, "device": "cpu",
        "device_batch": 4, "max_new_tokens": 5, "learning_rate": 1e-3, "show_every": 2,
        "gradient_checkpointing": False,
    }  # fmt: skip
    return VlmRlvrConfig(model=str(folder), data=(data,), run_dir=run, **{**settings, **changes})


def test_the_rewards_of_a_reply_add_up_to_its_verdict(folder):
    network = Network(open_model(str(folder), None, "cpu", "float32"), str(folder))
    episode = make_example_episode(3)
    assert episode.truth is not None
    facts = (episode.truth.facts[0],) * 3
    known = [Known(40.0, 20.0, 21, facts), Known(40.0, None, None, None)]
    texts = ["<think>the gripper is open.</think><answer>35%</answer>", "no idea"]
    ids = [network.tokenizer(t + "<|im_end|>rest")["input_ids"] for t in texts]
    assert replies(network, ids) == texts
    weights, extra = RewardWeights(), {}
    found = [
        term(completion_ids=ids, known=known, index=[3, 4], log_extra=extra.__setitem__)
        for term in reward_functions(network, weights)
    ]
    assert extra == {"index": [3, 4]}
    factors = [1.0, 1.0, weights.truth, weights.direction]
    for row in range(2):
        total = sum(f * (terms[row] or 0.0) for f, terms in zip(factors, found, strict=True))
        assert total == pytest.approx(judge_reply(texts[row], known[row], weights).reward)
    assert [terms[1] for terms in found] == [0.0, 0.0, None, None]


@pytest.mark.slow
def test_a_run_logs_rewards_divergence_and_replies_with_their_pictures(folder, data, tmp_path):
    run = tmp_path / "run"
    out = train(config(folder, data, run, updates_per_step=2))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert {"reward", "rewards/form/mean", "rewards/accuracy/mean"} <= set(lines[0])
    told = [json.loads(line) for line in (run / "completions.jsonl").read_text().splitlines()]
    assert {line["step"] for line in told} == {1, 2}
    page = (run / told[0]["page"]).read_text()
    assert page.count("data:image/png;base64,") == 2
    before, after = (load_file(f / "model.safetensors") for f in (folder, out))
    assert set(before) == set(after)
    assert all(torch.isfinite(tensor).all() for tensor in after.values())


@pytest.fixture
def brief(tmp_path) -> Path:
    """A model whose replies have different lengths: it often ends one early."""
    folder = make_tiny_qwen3(tmp_path / "brief")
    end = Network(open_model(str(folder), None, "cpu", "float32"), str(folder)).ends
    tensors = load_file(folder / "model.safetensors")
    drawn = torch.Generator().manual_seed(0)
    tensors["lm_head.weight"][min(end)] = 0.55 * torch.randn(32, generator=drawn)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.slow
def test_the_loss_of_a_round_does_not_depend_on_the_device_batch(
    brief, data, tmp_path, monkeypatch
):
    def worth(completion_ids, index, **rest):
        rest["log_extra"]("index", index)
        return [sum(ids) % 7 / 7 for ids in completion_ids]

    monkeypatch.setattr("sole.train.vlm_grpo.reward_functions", lambda *_: [worth] * 4)
    runs = {n: tmp_path / str(n) for n in (4, 2, 1)}
    for n, run in runs.items():
        train(config(brief, data, run, device_batch=n, updates_per_step=2, learning_rate=1e-4))
    whole, *cut = (_lines(run) for run in runs.values())
    lengths = ("completions/min_length", "completions/max_length")
    assert len({whole[0][name] for name in lengths}) == 2
    assert any(line["loss"] for line in whole)
    for parts in cut:
        for name in ("reward", *lengths, "loss", "grad_norm"):
            asked, found = ([x[name] for x in lines if name in x] for lines in (whole, parts))
            assert found == pytest.approx(asked, rel=1e-3, abs=1e-6), name


@pytest.mark.slow
def test_a_continued_run_ends_like_an_unbroken_one(folder, data, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    words = ["--model", str(folder), "--data", str(data), "--geometry", "nano", "--device", "cpu",
             "--prompts-per-step", "2", "--group-size", "2", "--max-new-tokens", "5",
             "--checkpoint-every", "1", "--learning-rate", "1e-3", "--lora-rank", "2",
             "--steps", "4", "--updates-per-step", "2"]  # fmt: skip
    assert main([*words, "--run-dir", str(whole)]) == 0
    assert main([*words, "--run-dir", str(broken)]) == 0
    _cut_off(broken, 6)
    assert main([*words, "--run-dir", str(broken)]) == 0
    assert _rewards(broken) == _rewards(whole)
    assert (broken / "completions.jsonl").read_text() == (whole / "completions.jsonl").read_text()
    one, two = (load_file(run / "model" / "model.safetensors") for run in (whole, broken))
    assert all(torch.equal(one[name], two[name]) for name in one)


def _cut_off(run: Path, step: int) -> None:
    """Leave what a kill after ``step`` would have left."""
    for path in (run / "checkpoints").glob("checkpoint-*"):
        if int(path.name.rpartition("-")[2]) > step:
            (path / "trainer_state.json").unlink()


def _lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _rewards(run: Path) -> list:
    return [(x["step"], x.get("reward"), x["loss"], x["kl"]) for x in _lines(run)]


def test_replies_of_one_round_make_equal_parts(tmp_path):
    made = arguments(config("m", "d", tmp_path, device_batch=1), n_devices=2)
    assert (made.gradient_accumulation_steps, made.steps_per_generation) == (2, 2)
    with pytest.raises(ConfigError, match="prompts_per_step x group_size"):
        arguments(config("m", "d", tmp_path, device_batch=3), n_devices=1)


def test_replies_are_logged_by_rounds_and_checkpoints_named_by_steps(tmp_path):
    twice = config("m", "d", tmp_path, updates_per_step=2)
    assert rounds_done(twice, Path("checkpoint-6")) == 3
    assert rounds_done(twice, None) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "/no/such/folder"}, "model /no/such/folder"),
        ({"device_batch": 3}, "multiple of 3"),
        ({"vllm": "yes"}, "not installed"),
    ],
)
def test_a_wrong_setting_is_noticed_before_the_data_are_read(
    folder, data, tmp_path, monkeypatch, changes, said
):
    def never(*_):
        raise AssertionError("the data were read")

    monkeypatch.setattr("sole.train.vlm_sft.read_episodes", never)
    asked = config(folder, data, tmp_path / "run").model_copy(update=changes)
    with pytest.raises(ConfigError, match=said):
        train(asked)


def test_a_layout_whose_tokens_are_not_its_features_is_refused(folder, data, tmp_path, monkeypatch):
    def miscounted(*given):
        return {**count_features(*given), (96, 193): 7}  # one view, no middle column

    monkeypatch.setattr("sole.train.vlm_sft.count_features", miscounted)
    with pytest.raises(ModelError, match="makes 7 features"):
        train(config(folder, data, tmp_path / "run"))
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_reference_is_of_the_revision_that_is_trained(tmp_path):
    made = arguments(config("m", "d", tmp_path, revision="v1.0"), n_devices=1)
    assert made.model_init_kwargs == {"revision": "v1.0"}


def test_vllm_is_used_where_it_is_installed_and_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert uses_vllm(config("m", "d", tmp_path, vllm="yes"))
    assert not uses_vllm(config("m", "d", tmp_path))  # no GPU
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="not installed"):
        uses_vllm(config("m", "d", tmp_path, vllm="yes"))


def test_the_preset_is_a_valid_configuration():
    preset = VlmRlvrConfig.model_validate(load_preset(PRESETS / "paper-rlvr.toml"))
    assert preset.kl_weight > 0
