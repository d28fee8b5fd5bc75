"""Supervised training: examples, and kill-and-resume equality at tiny size."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from sole.config import parse_config
from sole.data.episode import make_example_episode
from sole.data.lerobot import EpisodeWriter
from sole.errors import ConfigError, DataError
from sole.models.nano.reader import WEIGHTS, NanoReader
from sole.models.nano.tokenizer import train_tokenizer
from sole.protocol.prompt import parse_reply
from sole.run import Run, write_atomically
from sole.train import rlvr, rlvr_nano, sft, vlm_grpo, vlm_sft
from sole.train.episodes import keep_on_disk, prepare
from sole.train.examples import (
    ExampleSampler,
    ExampleSettings,
    _chain,
    _stated,
    ask_about,
    augment,
    number_label,
)
from sole.train.fit import RewindConfig
from sole.train.instructions import Instructions
from sole.train.rlvr import RlvrConfig
from sole.train.run_dir import about_data, check_run_dir, check_same_data
from sole.train.sft import SftConfig, _chances, batch_loss, make_model, train
from sole.train.vlm_config import VlmRlvrConfig, VlmSftConfig

TOKENIZER = train_tokenizer(["Task: push the puck to the goal."] * 3, 600)


def tiny() -> SftConfig:
    return SftConfig(data=(), run_dir=Path(), hidden_size=32, n_layers=1, pretrained_encoder=False)


def sampler(**changes) -> ExampleSampler:
    episodes = list(prepare([make_example_episode(8, 96, seed=s) for s in range(3)]))
    settings = ExampleSettings(episodes_per_batch=2, moments_per_episode=3, **changes)
    return ExampleSampler(episodes, TOKENIZER, settings, seed=1, n_image_tokens=18)


def test_episodes_kept_on_disk_are_the_same_and_leave_no_file(tmp_path):
    made = list(prepare([make_example_episode(8, 96, seed=s) for s in range(3)]))
    kept = keep_on_disk(made, tmp_path)
    assert [one.task for one in kept] == [one.task for one in made]
    for one, other in zip(made, kept, strict=True):
        np.testing.assert_array_equal(one.tiles, other.tiles)
        assert isinstance(other.tiles, np.memmap)
    assert list(tmp_path.iterdir()) == []
    assert keep_on_disk([], tmp_path) == []


def test_questions_take_the_place_of_progress_in_batches_with_reasoning_only():
    asked = sampler(think_share=1.0, question_share=1.0)
    tiles, examples = asked.draw(0)
    assert {example.question is None for example in examples} == {False}
    assert len(tiles) == 2 * len(examples)
    for k, example in enumerate(examples):
        external, wrist = example.tile_index[:3], example.tile_index[3:]
        assert external[1] == wrist[1] == -1
        assert {one for one in (*external, *wrist) if one >= 0} <= set(range(4 * k, 4 * k + 4))
        assert example.question.text.lower() in example.prompt
    assert not asked.batch(0).number_labels.any()
    fast = sampler(think_share=0.0, question_share=1.0)
    assert all(example.question is None for example in fast.draw(0)[1])


def test_questions_change_nothing_in_batches_without_reasoning():
    none, half = (sampler(think_share=0.0, question_share=share) for share in (0.0, 0.5))
    assert [e.prompt for e in none.draw(3)[1]] == [e.prompt for e in half.draw(3)[1]]


def test_the_whole_answer_to_a_question_is_learned_and_no_number():
    batch = sampler(think_share=1.0, question_share=1.0).batch(0)
    learned = [row[row != -100] for row in batch.labels]
    texts = [TOKENIZER.decode(row, skip_special_tokens=False) for row in learned]
    replies = [e.reply for e in sampler(think_share=1.0, question_share=1.0).draw(0)[1]]
    assert texts == [f"{reply.removeprefix('<think>')}</s>" for reply in replies]
    model = make_model(tiny(), len(TOKENIZER), TOKENIZER)
    loss, parts = batch_loss(model, batch, 1.0, bf16=False)
    assert parts["number_loss"] == parts["mae"] == 0.0
    assert loss.item() == pytest.approx(parts["text_loss"])


def test_a_question_about_one_moment_is_shown_beside_the_start():
    episode = next(iter(prepare([make_example_episode(8, 96)])))
    rng = np.random.default_rng(0)
    asked = [one for _ in range(20) for one in ask_about(episode, 4, rng)]
    assert {len(one.frames) for one in asked} == {2}
    assert all(one.frames[0] == 0 for one in asked if "The first picture is the start" in one.text)
    assert len({one.text.split(".")[0] for one in asked}) > 2


@pytest.mark.parametrize("think", [0.0, 1.0])
def test_text_of_an_example_parses_back_to_its_label(think):
    batch = sampler(think_share=think).batch(0)
    for row in range(len(batch.input_ids)):
        ids = batch.input_ids[row][batch.attention_mask[row].bool()]
        reply = parse_reply(TOKENIZER.decode(ids).split("%.")[-1].split("goal.")[-1])
        number = int(
            TOKENIZER.convert_ids_to_tokens(
                int(batch.input_ids[row, batch.number_positions[row] + 1])
            )
        )
        assert reply.error is None
        assert reply.progress == number
        assert bool(reply.reasoning) == bool(think)
        expected = float(batch.number_labels[row] @ np.arange(-100.0, 101.0, dtype=np.float32))
        assert abs(expected - number) <= 3


def test_number_is_never_a_text_target():
    batch = sampler(think_share=1.0).batch(2)
    rows = range(len(batch.labels))
    assert all(batch.labels[row, batch.number_positions[row] + 1] == -100 for row in rows)


def test_episodes_are_drawn_by_their_chances():
    episodes = list(prepare([make_example_episode(8, 96, seed=s) for s in range(2)]))
    episodes[1] = replace(episodes[1], task="the other task")
    settings = ExampleSettings(episodes_per_batch=4, mismatch_share=0.0)
    only = ExampleSampler(
        episodes, TOKENIZER, settings, seed=1, n_image_tokens=18, chances=np.array([0.0, 1.0])
    )
    assert {e.task for step in range(5) for e in only.draw(step)[1]} == {"the other task"}
    with pytest.raises(ValueError, match="1 chances for 2 episodes"):
        ExampleSampler(episodes, TOKENIZER, settings, seed=1, n_image_tokens=18, chances=np.ones(1))


def test_weights_are_chances_of_whole_folders(tmp_path):
    data = (write_episodes(tmp_path / "one"), write_episodes(tmp_path / "two"))
    config = SftConfig(data=data, run_dir=tmp_path / "run", weights=(2.0, 1.0))
    np.testing.assert_allclose(_chances(config), [2 / 9] * 3 + [1 / 9] * 3)
    assert _chances(config.model_copy(update={"weights": ()})) is None
    with pytest.raises(ConfigError, match="expected 2 numbers"):
        train(config.model_copy(update={"weights": (1.0,)}))
    assert not config.run_dir.exists()


def test_batch_depends_on_seed_and_step_alone():
    one, two = sampler(), sampler()
    one.batch(5)
    np.testing.assert_array_equal(one.batch(7).tiles, two.batch(7).tiles)
    assert not np.array_equal(one.batch(7).input_ids, two.batch(8).input_ids)


def test_from_zero_examples_show_no_middle_column_and_state_no_number():
    batch = sampler(from_zero_share=1.0).batch(0)
    assert (batch.tile_index[:, [1, 4]] == -1).all()
    assert not any("previous" in TOKENIZER.decode(ids).lower() for ids in batch.input_ids)


def test_tiles_belong_to_the_example_they_are_shown_for():
    batch = sampler().batch(3)
    assert batch.tile_index.max() < len(batch.tiles)
    assert (batch.tile_index[:, 0] >= 0).all()
    assert (batch.tile_index[:, 2] > batch.tile_index[:, 0]).all()


@given(st.floats(-100, 100))
def test_only_success_is_labelled_above_97(progress):
    label = number_label(progress, 3.0)
    assert label.sum() == pytest.approx(1.0)
    assert (label[198:].sum() > 0.9) == (round(progress, 1) >= 100)


def test_augmentation_treats_all_frames_of_an_episode_alike():
    tiles = np.repeat(np.random.default_rng(0).integers(0, 255, (1, 2, 3, 96, 96), np.uint8), 3, 0)
    out = augment(tiles, np.random.default_rng(1), 4)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out[0], out[2])


def command(data: Path, run: Path) -> list[str]:
    return ["--data", str(data), "--run-dir", str(run), "--steps", "8", "--episodes-per-batch", "2",
            "--hidden-size", "32", "--n-layers", "1", "--vocab-size", "700",
            "--checkpoint-every", "2", "--threads", "1", "--no-bf16",
            "--no-pretrained-encoder"]  # fmt: skip


def write_episodes(folder: Path, env_name: str = "worlds/drawer-open") -> Path:
    with EpisodeWriter(folder, fps=10) as writer:
        for seed in range(3):
            episode = make_example_episode(6, 96, seed=seed)
            writer.add(replace(episode, suite=env_name.split("/")[0], env_name=env_name))
    return folder


def test_killed_and_resumed_training_ends_like_an_unbroken_one(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    data = write_episodes(tmp_path / "data")
    process = subprocess.Popen([sys.executable, "-m", "sole.cli", "sft", *command(data, broken)])
    for _ in range(5000):
        if list(broken.glob("checkpoints/step_*")):
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it had not ended by itself
    assert sft.main(command(data, whole)) == 0
    assert sft.main(command(data, broken)) == 0
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (whole, broken))
    assert all(np.array_equal(one[name].numpy(), two[name].numpy()) for name in one)
    assert _losses(whole) == _losses(broken)
    assert NanoReader(whole / "model").n_parameters > 0
    init = [*command(data, tmp_path / "more"), "--init", str(whole / "model"), "--steps", "1"]
    assert sft.main([*init, "--learning-rate", "1e-9"]) == 0
    more = load_file(tmp_path / "more" / "model" / "model.safetensors")
    assert all(np.allclose(one[name].numpy(), more[name].numpy(), atol=1e-3) for name in one)


def test_a_model_to_go_on_from_that_is_no_nano_is_refused_before_a_run_is_begun(tmp_path):
    config = SftConfig(data=(tmp_path / "data",), run_dir=tmp_path / "run", init=tmp_path / "it")
    with pytest.raises(ConfigError, match="no model in --init"):
        train(config)
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "model.safetensors").write_bytes(b"")
    (tmp_path / "it" / "config.json").write_text('{"model_type": "qwen3_vl"}')
    with pytest.raises(ConfigError, match="--model"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_the_weights_that_ship_can_be_gone_on_from_by_their_name(tmp_path):
    data = write_episodes(tmp_path / "data")
    config = SftConfig(
        data=(data,), run_dir=tmp_path / "run", init=Path("nano"), steps=1, episodes_per_batch=1,
        learning_rate=1e-9, think_share=0.0, threads=1,
    )  # fmt: skip
    before, after = (load_file(f / "model.safetensors") for f in (WEIGHTS, train(config)))
    assert all(np.allclose(before[name].float(), after[name].float(), atol=1e-3) for name in before)


def test_a_folder_to_draw_from_that_holds_no_episode_is_named(tmp_path, monkeypatch):
    counts = {"full": 3, "empty": 0}
    monkeypatch.setattr(
        "sole.train.sft.open_dataset",
        lambda folder: SimpleNamespace(n_episodes=counts[str(folder)]),
    )
    data = (Path("full"), Path("empty"))
    config = SftConfig(data=data, run_dir=tmp_path, weights=(1.0, 1.0))
    with pytest.raises(ConfigError, match="empty holds no episode"):
        _chances(config)
    chances = _chances(config.model_copy(update={"weights": (1.0, 0.0)}))
    assert chances is not None
    assert chances.sum() == pytest.approx(1.0)


def test_recordings_without_a_truth_are_refused_with_what_is_for_them(tmp_path):
    with EpisodeWriter(tmp_path / "data", fps=10) as writer:
        plain = make_example_episode(6, 96, truth=False)
        writer.add(replace(plain, suite="", env_name=""))
    with pytest.raises(DataError, match="sole fit"):
        train(SftConfig(data=(tmp_path / "data",), run_dir=tmp_path / "run"))


@pytest.mark.parametrize(
    ("setting", "said"), [("run_dir", "cannot be made"), ("export", "export .*file")]
)
@pytest.mark.parametrize("verb", [sft, rlvr])
def test_a_file_where_a_folder_is_to_come_is_refused_before_the_data_are_read(
    tmp_path, monkeypatch, verb, setting, said
):
    def never(*_):
        raise AssertionError("the data were read")

    monkeypatch.setattr("sole.train.sft.read_episodes", never)
    (tmp_path / "file").write_text("")
    places = {"run_dir": tmp_path / "run", setting: tmp_path / "file"}
    flags = [f"--{name.replace('_', '-')}={path}" for name, path in places.items()]
    flags += ["--data", str(write_episodes(tmp_path / "data"))]
    flags += ["--held-aside", "0"] if verb is rlvr else []
    with pytest.raises(ConfigError, match=said):
        verb.main(flags)


@pytest.mark.parametrize("kind", [SftConfig, RlvrConfig, RewindConfig, VlmSftConfig])
def test_a_seed_that_numpy_does_not_take_is_refused(kind, capsys):
    place = "--out=out" if kind is RewindConfig else "--run-dir=run"
    model = ["--model=m"] if kind is VlmSftConfig else []
    with pytest.raises(SystemExit, match="2"):
        parse_config(kind, ["--data=data", place, *model, "--seed=-1"], "sole")
    assert "seed" in capsys.readouterr().err


def test_a_held_out_task_is_not_trained_on_and_no_run_is_begun(tmp_path):
    data = write_episodes(tmp_path / "data", "metaworld/drawer-close")
    with pytest.raises(ConfigError, match=r"held out.*drawer-close"):
        train(SftConfig(data=(data,), run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_folder_of_another_verbs_run_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "config.json").write_text(RlvrConfig(data=(), run_dir=tmp_path).model_dump_json())
    (tmp_path / "metrics.jsonl").write_text('{"step": 99}\n')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="no run of sole sft"):
        train(SftConfig(data=(tmp_path,), run_dir=tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_goes_on_though_a_setting_has_been_added_since_it_began(tmp_path):
    config = SftConfig(data=(), run_dir=tmp_path)
    begun = config.model_dump(mode="json")
    del begun["weight_decay"]
    (tmp_path / "config.json").write_text(json.dumps(begun))
    check_run_dir(tmp_path, config, "sole sft", ())
    with pytest.raises(ConfigError, match="weight_decay"):
        check_run_dir(tmp_path, config.model_copy(update={"weight_decay": 0.5}), "sole sft", ())


def test_a_run_from_before_there_were_questions_is_not_continued_with_some(tmp_path):
    config = SftConfig(data=(), run_dir=tmp_path)
    begun = config.model_dump(mode="json")
    del begun["question_share"]
    (tmp_path / "config.json").write_text(json.dumps(begun))
    with pytest.raises(ConfigError, match="another question_share"):
        check_run_dir(tmp_path, config, "sole sft", ())
    check_run_dir(tmp_path, config.model_copy(update={"question_share": 0.0}), "sole sft", ())


@pytest.mark.parametrize("verb", [sft, rlvr_nano, vlm_sft, vlm_grpo])
def test_a_run_does_not_go_on_with_a_data_set_that_was_made_again(tmp_path, verb):
    data, run = write_episodes(tmp_path / "data"), tmp_path / "run"
    kind = {sft: SftConfig, rlvr_nano: RlvrConfig, vlm_sft: VlmSftConfig, vlm_grpo: VlmRlvrConfig}
    named = {"model": "org/name"} if verb in (vlm_sft, vlm_grpo) else {}
    config = kind[verb](data=(data,), run_dir=run, **named)
    about = about_data(config.data)
    assert about["folders"] == [str(data)]
    sha256 = hashlib.sha256((WEIGHTS / "model.safetensors").read_bytes()).hexdigest()
    Run(run, config, {**about, "init_sha256": sha256})
    with EpisodeWriter(data, fps=10, resume=True) as writer:
        writer.add(replace(make_example_episode(6, 96, seed=9), env_name="worlds/drawer-open"))
    with pytest.raises(ConfigError, match=r"data holds other episodes than those that the run"):
        verb.train(config)
    (run / "data.json").write_text(json.dumps({"init_sha256": sha256}))  # of before there were any
    check_same_data(run, config.data)


def test_a_run_that_was_killed_before_its_settings_were_written_can_be_begun_again(
    tmp_path, monkeypatch
):
    config = SftConfig(data=(), run_dir=tmp_path / "run")
    for last in ("data.json", "config.json"):

        def killed(path, text, last=last):
            path.with_name(f".{path.name}.tmp").write_text(text)
            if path.name == last:
                raise KeyboardInterrupt
            write_atomically(path, text)

        monkeypatch.setattr("sole.run.write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            Run(config.run_dir, config, {})
        check_run_dir(config.run_dir, config, "sole sft", ())


def _losses(folder: Path) -> list:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["number_loss"], line["text_loss"]) for line in lines[-1:]]


def test_a_mismatched_instruction_is_worth_nothing_and_said_to_be_another_task():
    episodes = [make_example_episode(8, 96, seed=s) for s in range(4)]
    kinds = [replace(e, env_name=f"fake/{s}", task=f"task {s}") for s, e in enumerate(episodes)]
    settings = ExampleSettings(mismatch_share=1.0, think_share=1.0, perturbed_share=0.0)
    made = ExampleSampler(list(prepare(kinds)), TOKENIZER, settings, seed=0, n_image_tokens=18)
    batch = made.batch(0)
    texts = [TOKENIZER.decode(ids) for ids in batch.input_ids]
    told = [bool("another task" in text) for text in texts]
    zero = (batch.number_labels.argmax(-1) == 100).tolist()
    assert sum(told) > len(told) / 2  # the rest drew an episode of their own kind
    assert all(z for z, t in zip(zero, told, strict=True) if t)


def test_a_sentence_of_ones_own_task_is_no_mismatch_whatever_task_it_was_drawn_from():
    said = [
        ("handle-press", "press the handle down"),
        ("handle-press", "lower the red handle"),
        ("handle-press-side", "press the blue handle down on the left"),
        ("handle-press-side", "press the side handle"),
    ]
    plain = next(iter(prepare([make_example_episode(8, 96)])))
    made = [replace(plain, kind=f"worlds/{kind}", task=task) for kind, task in said]
    drawn, rng = Instructions(made, 1.0), np.random.default_rng(0)
    shown = {drawn.draw(one, rng) for one in made[:2] for _ in range(200)}
    assert shown == {(made[0].task, False), (made[1].task, False), (made[3].task, True)}


def test_who_took_the_wrong_object_is_shown_under_no_other_sentence():
    plain = next(iter(prepare([make_example_episode(8, 96)])))
    made = [
        replace(plain, kind="worlds/drawer-open", task="open the drawer", policy="wrong_object"),
        replace(plain, kind="worlds/block-push", task="push the block", policy="expert"),
    ]
    drawn, rng = Instructions(made, 1.0), np.random.default_rng(0)
    assert {drawn.draw(made[0], rng) for _ in range(40)} == {("open the drawer", False)}
    assert ("open the drawer", True) in {drawn.draw(made[1], rng) for _ in range(40)}


def test_single_view_examples_show_one_row():
    batch = sampler(single_view_share=1.0, from_zero_share=0.0).batch(0)
    rows = batch.tile_index.reshape(-1, 2, 3) >= 0
    assert (rows.all(-1).sum(-1) == 1).all()
    assert (rows.any(-1).sum(-1) == 1).all()


@pytest.mark.parametrize("view", ["external", "wrist"])
def test_a_view_that_an_episode_has_not_is_never_shown(view):
    whole = make_example_episode(8, 96)
    episodes = list(prepare([replace(whole, views={view: whole.views[view]})]))
    settings = ExampleSettings(
        episodes_per_batch=2, think_share=0.5, question_share=0.3, single_view_share=0.5
    )
    made = ExampleSampler(episodes, TOKENIZER, settings, seed=1, n_image_tokens=18)
    index = np.concatenate([made.batch(step).tile_index for step in range(12)])
    there, absent = (index[:, :3], index[:, 3:])[:: 1 if view == "external" else -1]
    assert (there[:, [0, 2]] >= 0).all()
    assert (absent == -1).all()


def test_batches_of_two_views_are_what_they_were_before_episodes_knew_their_views():
    made = sampler(think_share=0.0, single_view_share=0.5)
    told = hashlib.sha256()
    for step in range(6):
        tiles, examples = made.draw(step)
        told.update(tiles.tobytes())
        told.update(str([example.tile_index for example in examples]).encode())
    assert told.hexdigest()[:16] == "12f09e4317f922f2"


def test_the_shares_of_what_is_stated_are_of_what_the_ones_before_left():
    settings = ExampleSettings(unstated_share=0.5, wild_share=0.4, perturbed_share=0.25)
    rng = np.random.default_rng(0)
    drawn = [_stated(90.0, settings, rng) for _ in range(8000)]
    assert np.mean([one is None for one in drawn]) == pytest.approx(0.5, abs=0.03)
    wild = np.mean([one is not None and one < 75 for one in drawn])
    assert wild == pytest.approx(0.5 * 0.4 * 115 / 141, abs=0.03)  # the others fell on 75 and more
    right = np.mean([one == 90 for one in drawn])
    assert right == pytest.approx(0.5 * 0.6 * 0.75, abs=0.03)


def test_moments_can_be_drawn_around_a_loss_of_progress():
    progress = np.zeros(40)
    progress[30:] = -20.0
    settings = ExampleSettings(regress_share=1.0, max_gap=1, moments_per_episode=2)
    for seed in range(20):
        moments = _chain(progress, settings, np.random.default_rng(seed))
        assert moments[0] <= 29 < moments[-1]


def test_the_answers_place_learns_that_only_a_number_comes_there():
    model = make_model(tiny(), len(TOKENIZER), TOKENIZER)
    batch = sampler(think_share=0.0).batch(0)
    batch_loss(model, batch, 1.0, bf16=False)[0].backward()
    weight = model.lm_head.weight.grad
    assert weight is not None
    assert weight[TOKENIZER.convert_tokens_to_ids(".")].abs().sum() > 0
