"""RLVR on nano: the GRPO step, a cold start that learns, and kill-and-resume equality."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny import make_tiny_nano

from sole.config import load_preset
from sole.data.episode import Truth, make_example_episode
from sole.data.lerobot import EpisodeWriter
from sole.errors import ConfigError
from sole.models.base import Question
from sole.models.nano.reader import NanoReader
from sole.train.episodes import prepare
from sole.train.examples import ExampleSampler, ExampleSettings
from sole.train.rlvr import RlvrConfig, check_run_dir, main
from sole.train.rlvr_nano import Trainer, supervised_settings, train
from sole.train.rlvr_step import (
    FAST,
    THINK,
    Clipping,
    NanoPolicy,
    Questions,
    ask,
    group_advantages,
    grpo_loss,
)
from sole.train.run_dir import nano_folder
from sole.train.sft import SftConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_tiny_nano(tmp_path_factory.mktemp("tiny") / "nano")


@pytest.fixture(scope="module")
def reader(folder) -> NanoReader:
    return NanoReader(folder)


def some_questions(reader, opening, n=3):
    episodes = list(prepare([make_example_episode(6, 96, seed=s) for s in range(n)]))
    settings = ExampleSettings(episodes_per_batch=n, moments_per_episode=1, think_share=0.0)
    sampler = ExampleSampler(episodes, reader.tokenizer, settings, seed=0, n_image_tokens=18)
    tiles, examples = sampler.draw(0)
    return ask(reader.model, reader.tokenizer, tiles, examples, [opening])[0]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_group_advantages_have_no_mean_and_unit_spread():
    rewards = torch.tensor([0.0, 1.0, 2.0, 5.0, 5.0, 5.0])
    advantages = group_advantages(rewards, 3)
    assert advantages[:3].mean().item() == pytest.approx(0.0, abs=1e-6)
    assert advantages[:3].square().mean().item() == pytest.approx(1.0, rel=1e-5)
    assert (advantages[3:] == 0).all()


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.floats(-5, 5))
def test_advantages_do_not_change_when_all_rewards_are_shifted(values, shift):
    one = group_advantages(torch.tensor(values, dtype=torch.float64), 4)
    two = group_advantages(torch.tensor(values, dtype=torch.float64) + shift, 4)
    if float(np.std(values)) > 1e-3:
        assert torch.allclose(one, two, atol=1e-6)


def test_loss_pays_no_further_than_the_clip_range():
    old = torch.zeros(1, 1)
    mask = torch.ones(1, 1, dtype=torch.bool)
    for ratio, gradient in ((1.1, True), (1.5, False)):
        now = torch.full((1, 1), math.log(ratio), requires_grad=True)
        loss, parts = grpo_loss(now, old, old, torch.ones(1), mask, Clipping(0.2, 0.0))
        loss.backward()
        assert bool((now.grad != 0).any()) is gradient
        assert parts["clipped"] == float(not gradient)


def test_penalty_is_zero_at_the_reference_and_positive_beside_it():
    mask = torch.ones(1, 2, dtype=torch.bool)
    here = torch.tensor([[-1.0, -2.0]])
    away = torch.tensor([[-1.5, -1.0]])
    for reference, positive in ((here, False), (away, True)):
        loss, parts = grpo_loss(here, here, reference, torch.zeros(1), mask, Clipping(0.2, 1.0))
        assert (parts["kl"] > 0) is positive
        assert loss.item() == pytest.approx(parts["kl"], abs=1e-6)


def test_padding_after_a_reply_changes_neither_loss_nor_gradient():
    now = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    padded = torch.tensor([[-1.0, -2.0, -9.0]], requires_grad=True)
    one = torch.ones(1, 2, dtype=torch.bool)
    two = torch.tensor([[True, True, False]])
    short = grpo_loss(now, now.detach(), now.detach() + 1, torch.ones(1), one, Clipping())[0]
    long = grpo_loss(padded, padded.detach(), padded.detach() + 1, torch.ones(1), two, Clipping())[
        0
    ]
    short.backward()
    long.backward()
    assert short.item() == pytest.approx(long.item())
    assert torch.allclose(now.grad[0], padded.grad[0, :2])
    assert padded.grad[0, 2] == 0


def test_a_replys_probability_with_the_shared_question_is_that_of_the_whole_text(reader):
    questions = some_questions(reader, THINK)
    policy = NanoPolicy(reader.model, reader.tokenizer, 1.0)
    replies = policy.draw(questions, 2, 7, generator())
    found = policy.logprobs(questions, replies)
    assert torch.allclose(found, _whole_text_logprobs(reader, questions, replies), atol=1e-4)


def _whole_text_logprobs(reader, questions, replies):
    ids = torch.cat([questions.input_ids.repeat_interleave(2, 0), replies.ids], 1)
    mask = torch.cat([questions.attention_mask.repeat_interleave(2, 0), replies.mask.long()], 1)
    with torch.no_grad():
        logits = reader.model(
            input_ids=ids, attention_mask=mask,
            tile_maps=questions.tile_maps.repeat_interleave(2, 0),
            tile_mask=questions.tile_mask.repeat_interleave(2, 0),
        ).logits  # fmt: skip
    start = questions.input_ids.shape[1] - 1
    opened = ids[:, start:-1] == reader.tokenizer.convert_tokens_to_ids("<answer>")
    numbers = torch.zeros(logits.shape[-1], dtype=torch.bool)
    first = reader.model.config.first_number_token_id
    numbers[first : first + 201] = True
    scores = logits[:, start:-1].masked_fill(opened[..., None] & ~numbers, -torch.inf)
    chosen = scores.log_softmax(-1).gather(-1, replies.ids[..., None])[..., 0]
    return torch.where(replies.mask, chosen, 0.0)


def test_a_fast_reply_is_one_number_and_expects_what_the_reader_reads(reader):
    episode = make_example_episode(4, 96, seed=5)
    moments = reader.see([{k: v[t] for k, v in episode.views.items()} for t in (0, 1, 2)])
    question = Question(episode.task, moments[0], moments[2], moments[1], 10)
    inputs = reader._inputs([question], FAST)
    policy = NanoPolicy(reader.model, reader.tokenizer, 1.0)
    asked = Questions(FAST, **inputs)
    replies = policy.draw(asked, 5, 64, generator())
    assert replies.ids.shape == (5, 1)
    assert all(text.startswith(FAST) and text.endswith("%</answer>") for text in replies.texts)
    read = reader.ask([question], think=False)[0].progress
    assert policy.expectations(asked, replies).tolist() == pytest.approx([read] * 5, abs=1e-3)


def test_replies_depend_on_the_seed_alone(reader):
    questions = some_questions(reader, THINK)
    policy = NanoPolicy(reader.model, reader.tokenizer, 1.0)
    one, two, other = (policy.draw(questions, 2, 6, generator(s)).texts for s in (1, 1, 2))
    assert one == two
    assert one != other


def toy_episodes():
    """Two tasks that stand still, one at 80 and one at -20 percent."""
    for seed, (task, level) in enumerate([("open it", 80.0), ("close it", -20.0)] * 2):
        episode = make_example_episode(4, 96, seed=seed)
        assert episode.truth is not None
        truth = Truth(np.full(4, level, np.float32), np.zeros(4, bool), episode.truth.facts)
        yield replace(episode, task=task, env_name=f"toy/{task}", truth=truth)


def test_rewards_grow_from_a_cold_start_on_a_toy_set(folder, tmp_path):
    config = RlvrConfig(
        data=(), run_dir=tmp_path, init=str(folder), steps=40, learning_rate=1e-2, modes=("fast",),
        prompts_per_step=2, fast_group_size=64, kl_weight=0.0, held_aside=0, tau=20.0,
        direction_weight=0.0, bf16=False,
    )  # fmt: skip
    trainer = Trainer(config, folder, list(prepare(toy_episodes())))
    rewards = [trainer.step(step)[0]["fast_reward"] for step in range(40)]
    assert np.mean(rewards[:5]) < 1.0  # of 2.0; form alone is worth 0.5
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.5


def test_no_reward_moves_the_eye(folder, tmp_path):
    config = RlvrConfig(
        data=(), run_dir=tmp_path, init=str(folder), steps=5, learning_rate=1e-2, held_aside=0,
        prompts_per_step=2, group_size=2, max_new_tokens=4, bf16=False,
    )  # fmt: skip
    trainer = Trainer(config, folder, list(prepare(toy_episodes())))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.step(0)
    moved = {k for k, v in trainer.model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert not any(name.startswith("encoder.") for name in moved)


def test_the_supervised_loss_can_be_trained_beside_the_rewards(folder, tmp_path):
    config = RlvrConfig(
        data=(), run_dir=tmp_path, init=str(folder), steps=5, held_aside=0, prompts_per_step=2,
        modes=("fast",), updates_per_step=1, sft_weight=1.0, bf16=False,
    )  # fmt: skip
    values = Trainer(config, folder, list(prepare(toy_episodes()))).step(0)[0]
    assert values["sft_number_loss"] > 0


def test_every_update_takes_supervised_examples_of_its_own(folder, tmp_path, monkeypatch):
    config = RlvrConfig(
        data=(), run_dir=tmp_path, init=str(folder), steps=5, held_aside=0, prompts_per_step=2,
        modes=("fast",), fast_group_size=2, updates_per_step=2, sft_weight=1.0, bf16=False,
    )  # fmt: skip
    trainer = Trainer(config, folder, list(prepare(toy_episodes())))
    drawn, batch = [], trainer._supervised.batch
    monkeypatch.setattr(trainer._supervised, "batch", lambda k: drawn.append(k) or batch(k))
    trainer.step(0)
    trainer.step(1)
    assert drawn == [0, 1, 2, 3]


def test_supervised_examples_beside_the_rewards_are_drawn_as_sole_sft_draws_them(tmp_path):
    config, usual = RlvrConfig(data=(), run_dir=tmp_path), SftConfig(data=(), run_dir=tmp_path)
    settings = supervised_settings(config, {})
    assert settings.think_share == usual.think_share
    assert settings.question_share == usual.question_share > 0
    assert supervised_settings(config, {"question_share": 0.0}).question_share == 0.0


@pytest.mark.slow
def test_the_joint_objective_lowers_its_loss_while_rewards_grow(folder, tmp_path):
    config = RlvrConfig(
        data=(), run_dir=tmp_path, init=str(folder), steps=40, learning_rate=1e-2, modes=("fast",),
        prompts_per_step=2, fast_group_size=64, kl_weight=0.0, held_aside=0, tau=20.0,
        direction_weight=0.0, sft_weight=0.3, bf16=False,
    )  # fmt: skip
    trainer = Trainer(config, folder, list(prepare(toy_episodes())))
    values = [trainer.step(step)[0] for step in range(40)]
    early, late = (
        {name: np.mean([v[name] for v in part]) for name in ("fast_reward", "sft_number_loss")}
        for part in (values[:5], values[-5:])
    )
    assert late["fast_reward"] > early["fast_reward"] + 0.5
    assert late["sft_number_loss"] < early["sft_number_loss"] - 0.5


def test_a_step_of_the_joint_objective_is_that_of_the_sum_of_both_gradients(
    folder, tmp_path, monkeypatch
):
    def gradients(weight):
        config = RlvrConfig(
            data=(), run_dir=tmp_path, init=str(folder), steps=5, held_aside=0, bf16=False,
            prompts_per_step=2, modes=("fast",), updates_per_step=1, sft_weight=weight,
        )  # fmt: skip
        trainer = Trainer(config, folder, list(prepare(toy_episodes())))
        with monkeypatch.context() as patch:
            patch.setattr("torch.nn.utils.clip_grad_norm_", lambda *_: torch.tensor(0.0))
            trainer.step(0)
        found = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
        return {name: grad.clone() for name, grad in found.items()}

    none, once, twice = (gradients(weight) for weight in (0.0, 1.0, 2.0))
    for name, grad in none.items():
        assert torch.allclose(twice[name] - once[name], once[name] - grad, atol=1e-4), name
    assert any(not torch.allclose(once[name], grad) for name, grad in none.items())


def command(data: Path, model: Path, run: Path) -> list[str]:
    return ["--data", str(data), "--run-dir", str(run), "--init", str(model), "--steps", "8",
            "--prompts-per-step", "2", "--group-size", "2", "--fast-group-size", "2",
            "--max-new-tokens", "6", "--checkpoint-every", "2", "--held-aside", "1",
            "--show-every", "3", "--learning-rate", "1e-3", "--threads", "1"]  # fmt: skip


def test_killed_and_resumed_training_ends_like_an_unbroken_one(folder, tmp_path):
    data, whole, broken = tmp_path / "data", tmp_path / "whole", tmp_path / "broken"
    with EpisodeWriter(data, fps=10) as writer:
        for seed in range(3):
            episode = make_example_episode(6, 96, seed=seed)
            writer.add(replace(episode, suite="worlds", env_name="worlds/drawer-open"))
    program = [sys.executable, "-m", "sole.cli", "rlvr", *command(data, folder, broken)]
    process = subprocess.Popen(program)
    for _ in range(10000):
        if list(broken.glob("checkpoints/step_*")):
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it had not ended by itself
    assert main(command(data, folder, whole)) == 0
    assert main(command(data, folder, broken)) == 0
    one, two = (load_file(run / "model" / "model.safetensors") for run in (whole, broken))
    assert all(np.array_equal(one[name].numpy(), two[name].numpy()) for name in one)
    assert _lines(whole / "metrics.jsonl") == _lines(broken / "metrics.jsonl")
    assert _lines(whole / "completions.jsonl") == _lines(broken / "completions.jsonl")
    assert NanoReader(whole / "model").n_parameters > 0
    _check_folder(whole)


def _lines(path: Path) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("wall_s", "step_s")} for line in lines]


def _check_folder(run: Path) -> None:
    names = {"config.json", "data.json", "git.json", "machine.json", "metrics.jsonl"}
    assert names <= {path.name for path in run.iterdir()}
    metrics = _lines(run / "metrics.jsonl")
    assert (metrics[0]["step"], metrics[0]["kind"]) == (0, "held_aside")
    assert (metrics[-1]["step"], metrics[-1]["kind"]) == (8, "held_aside")
    replies = _lines(run / "completions.jsonl")
    assert {line["step"] for line in replies} == {1, 3, 6, 8}
    page = (run / replies[0]["page"]).read_text()
    assert page.count("data:image/png;base64,") == 4  # two questions in each of two modes
    assert json.loads((run / "data.json").read_text())["n"] == 2


def test_the_folder_of_another_run_is_refused_and_left_as_it_is(tmp_path):
    theirs = tmp_path / "rl"
    theirs.mkdir()
    (theirs / "config.json").write_text('{"env": "metaworld/reach"}')
    (theirs / "metrics.jsonl").write_text('{"step": 99}\n')
    before = {path.name: path.read_bytes() for path in theirs.iterdir()}
    with pytest.raises(ConfigError, match="no run of sole rlvr"):
        check_run_dir(RlvrConfig(data=(), run_dir=theirs))
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == before


def test_a_folder_with_files_of_somebody_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        check_run_dir(RlvrConfig(data=(), run_dir=tmp_path))


def test_a_run_is_continued_with_its_own_settings_only(tmp_path):
    config = RlvrConfig(data=(), run_dir=tmp_path)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    check_run_dir(config.model_copy(update={"threads": 1}))
    with pytest.raises(ConfigError, match="tau"):
        check_run_dir(config.model_copy(update={"tau": 3.0}))


def test_a_run_does_not_go_on_from_other_weights_than_it_began_with(folder, tmp_path):
    config = RlvrConfig(data=(), run_dir=tmp_path, init=str(folder))
    (tmp_path / "config.json").write_text(config.model_dump_json())
    (tmp_path / "data.json").write_text('{"init_sha256": "of others"}')
    with pytest.raises(ConfigError, match="not those that the run began with"):
        train(config)


def test_the_preset_is_a_valid_configuration():
    preset = load_preset(Path(__file__).parents[1] / "presets" / "rlvr.toml")
    assert RlvrConfig.model_validate(preset).init == "nano"


def test_a_model_that_is_no_nano_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no model"):
        nano_folder(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="expected nano"):
        nano_folder(str(tmp_path))


def test_setting_every_episode_aside_is_noticed_before_they_are_read(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("the data were read")

    with EpisodeWriter(tmp_path / "data", fps=10) as writer:
        episode = make_example_episode(6, 96)
        writer.add(replace(episode, suite="worlds", env_name="worlds/drawer-open"))
    monkeypatch.setattr("sole.train.rlvr_nano.load_episodes", never)
    config = RlvrConfig(data=(tmp_path / "data",), run_dir=tmp_path / "run", held_aside=1)
    with pytest.raises(ConfigError, match="fewer than the 1 episodes"):
        train(config)
    assert not config.run_dir.exists()


def test_setting_every_episode_aside_is_refused(folder, tmp_path):
    config = RlvrConfig(data=(), run_dir=tmp_path, held_aside=4)
    with pytest.raises(ConfigError, match="held_aside"):
        Trainer(config, folder, list(prepare(toy_episodes())))
