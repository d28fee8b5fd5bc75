"""Supervised training of vision-language models: examples, collating, and runs of tiny ones."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_vlm import make_tiny_llava, make_tiny_qwen2_5, make_tiny_qwen3
from tiny_vlm_more import make_tiny_internvl, make_tiny_smolvlm
from transformers.models.smolvlm import processing_smolvlm

from sole.cli import main
from sole.config import load_preset
from sole.data.episode import make_example_episode
from sole.errors import ConfigError, ModelError
from sole.models.hf.loading import open_model
from sole.models.hf.network import Network
from sole.models.hf.reader import TransformersReader
from sole.protocol.composite import NANO, SOLE_R1_8B, compose
from sole.protocol.prompt import parse_reply
from sole.run import Run
from sole.train.episodes import prepare
from sole.train.examples import ExampleSettings
from sole.train.vlm_collate import IGNORED, Collator, count_features, layouts
from sole.train.vlm_config import VlmRlvrConfig, VlmSftConfig, asked_model
from sole.train.vlm_examples import VlmExamples
from sole.train.vlm_grpo import train as train_by_rewards
from sole.train.vlm_model import (
    check_devices,
    check_same_weights,
    newest_checkpoint,
    weights_hash,
)
from sole.train.vlm_path import write_episodes
from sole.train.vlm_sft import RunLog, run_through, train

MAKERS = {
    "qwen3": make_tiny_qwen3, "qwen2_5": make_tiny_qwen2_5, "llava": make_tiny_llava,
    "smolvlm": make_tiny_smolvlm, "internvl": make_tiny_internvl,
}  # fmt: skip
PRESETS = Path(__file__).parents[1] / "presets"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(autouse=True)
def _number_words(monkeypatch):
    """SmolVLM's processor asks for a package that it needs for videos alone."""
    if processing_smolvlm.num2words is None:
        monkeypatch.setattr(processing_smolvlm, "num2words", str)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vlm") / "data"
    write_episodes(folder)
    return folder


def examples(seed=0, weights=(), geometry=NANO, **changes) -> VlmExamples:
    sources = [list(prepare([make_example_episode(8, 96, seed=s)])) for s in range(2)]
    sources = [[replace(e, task=f"task {k}") for e in part] for k, part in enumerate(sources)]
    settings = ExampleSettings(episodes_per_batch=1, moments_per_episode=1, **changes)
    return VlmExamples(sources, weights, settings, geometry, seed)


def network(folder) -> Network:
    return Network(open_model(str(folder), None, "cpu", "float32"), str(folder))


def test_an_example_depends_on_its_number_and_the_seed_alone():
    one, two = examples(), examples()
    two[3], one[5]
    np.testing.assert_array_equal(one[7].picture, two[7].picture)
    assert (one[7].messages, one[7].reply) == (two[7].messages, two[7].reply)
    assert any(one[k].reply != examples(seed=1)[k].reply for k in range(5))


def test_the_picture_is_the_one_a_reader_composes():
    kept = next(iter(prepare([make_example_episode(4, 96, seed=0)], 96)))
    moments = [{"external": t[0], "wrist": t[1]} for t in kept.tiles.transpose(0, 1, 3, 4, 2)]
    episode = make_example_episode(4, 96, seed=0)
    seen = [{name: film[t] for name, film in episode.views.items()} for t in range(4)]
    for geometry in (NANO, SOLE_R1_8B):
        ours, theirs = (compose(m[0], m[1], m[2], geometry) for m in (moments, seen))
        np.testing.assert_array_equal(ours, theirs)


def test_a_question_about_space_and_time_shows_two_moments_and_asks_for_no_progress():
    made = [examples(think_share=1.0, question_share=1.0)[k] for k in range(6)]
    for one in made:
        words = one.messages[-1]["content"][1]["text"]
        assert "Answer with one of" in words
        assert "progress" not in words
        assert one.reasoned
        assert one.reply.split("<answer>")[1].removesuffix("</answer>") in words.lower()
    assert {one.picture.shape[1] for one in made} == {193}  # two columns, as read from zero


def test_the_question_speaks_of_as_many_columns_as_the_picture_has():
    made = examples(from_zero_share=0.4, unstated_share=0.5, single_view_share=0.0)
    widths = {True: 290, False: 193}
    kinds = set()
    for k in range(30):
        words = made[k].messages[-1]["content"][1]["text"]
        middle = "shown in the middle" in words
        assert made[k].picture.shape[1] == widths[middle]
        kinds.add((middle, "progress for the previous" in words))
    assert kinds == {(True, True), (True, False), (False, False)}


def test_replies_hold_the_true_progress_with_and_without_reasoning():
    made = [examples(think_share=0.5)[k] for k in range(20)]
    assert {one.reasoned for one in made} == {True, False}
    for one in made:
        reply = parse_reply(one.reply)
        assert reply.progress == round(one.known.true_progress)
        assert bool(reply.reasoning) == one.reasoned


def test_an_episode_of_one_view_is_shown_and_spoken_of_as_one():
    whole = make_example_episode(8, 96)
    for name in whole.views:
        one = list(prepare([replace(whole, views={name: whole.views[name]})]))
        settings = ExampleSettings(episodes_per_batch=1, moments_per_episode=1, think_share=0.0)
        two = VlmExamples([list(prepare([whole]))], (), settings, NANO, 0)
        made = VlmExamples([one], (), settings, NANO, 0)
        heights = {made[k].picture.shape[0] for k in range(8)}
        assert len(heights) == 1
        assert heights.pop() < max(two[k].picture.shape[0] for k in range(8))
        assert any(made[k].messages != two[k].messages for k in range(8))


def test_sources_are_drawn_from_by_their_weights():
    only = examples(weights=(0.0, 1.0), mismatch_share=0.0)
    assert {only[k].task for k in range(10)} == {"task 1"}
    with pytest.raises(ConfigError, match="weights"):
        examples(weights=(1.0,))


def make_collator(folder, **changes) -> Collator:
    model = network(folder)
    made = examples(think_share=0.5, single_view_share=0.3)
    features = count_features(model, layouts(NANO, 96), made[0].messages)
    return Collator(made, model, {**features, **changes.pop("features", {})}, **changes)


@pytest.mark.parametrize("name", MAKERS)
def test_the_loss_covers_the_reply_and_nothing_before_it(folders, name):
    collator = make_collator(folders[name])
    batch = collator([{"index": k} for k in range(6)])
    tokenizer = collator._network.tokenizer
    for row in range(6):
        example = collator._examples[row]
        wanted = batch["labels"][row] != IGNORED
        said = tokenizer.decode(batch["labels"][row][wanted])
        if example.reasoned:
            assert said == example.reply + "<|im_end|>"
        else:
            assert (example.reply + "<|im_end|>").endswith(said)
            assert len(said) <= len("-100%</answer><|im_end|>")
        assert "%</answer>" in said
        assert (batch["attention_mask"][row][wanted] == 1).all()


@pytest.mark.parametrize("name", MAKERS)
def test_joined_examples_have_the_loss_of_single_ones(folders, name):
    collator = make_collator(folders[name])
    rows = [{"index": k} for k in range(4)]
    model = collator._network.model
    with torch.no_grad():
        logits = model(**{k: v for k, v in collator(rows).items() if k != "labels"}).logits
        for place, row in enumerate(rows):
            alone = collator([row])
            labels = alone.pop("labels")
            single = model(**alone).logits[0]
            wanted = labels[0] != IGNORED
            together = logits[place, : len(wanted)]
            assert torch.allclose(together[wanted], single[wanted], atol=1e-3)


def test_a_picture_whose_tokens_are_not_its_features_is_refused(folders):
    collator = make_collator(
        folders["qwen3"], features={(193, 290): 7, (193, 193): 7, (96, 290): 7}
    )
    with pytest.raises(ModelError, match="makes 7 features"):
        collator([{"index": k} for k in range(4)])


def test_a_long_example_is_refused_and_not_cut(folders):
    collator = make_collator(folders["qwen3"], max_tokens=80)
    with pytest.raises(ModelError, match="not cut"):
        collator([{"index": 0}])


def config(folder, data, run, **changes) -> VlmSftConfig:
    settings = {
        "geometry": "nano", "steps": 3, "batch_size": 4, "log_every": 1, "checkpoint_every": 2,
        "learning_rate": 1e-2, "device": "cpu", "gradient_checkpointing": False,
    }  # fmt: skip
    return VlmSftConfig(model=str(folder), data=(data,), run_dir=run, **{**settings, **changes})


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines]


def test_batch_times_accumulation_is_what_counts(folders, data, tmp_path):
    runs = {n: config(folders["qwen3"], data, tmp_path / str(n), device_batch=n) for n in (4, 1)}
    models = [load_file(train(one) / "model.safetensors") for one in runs.values()]
    whole, parts = (losses(tmp_path / str(n)) for n in (4, 1))
    assert whole == pytest.approx(parts, rel=1e-4)
    assert whole[2] < whole[0]
    for name, tensor in models[0].items():
        assert torch.allclose(tensor, models[1][name], atol=2e-2), name


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(folders, data, tmp_path):
    asked = ["--model", str(folders["qwen3"]), "--data", str(data), "--geometry", "nano",
             "--device", "cpu", "--steps", "2", "--batch-size", "4", "--log-every", "1",
             "--learning-rate", "1e-2", "--run-dir"]  # fmt: skip
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = subprocess.run(
        [*launch, "-m", "sole.cli", "sft", *asked, str(tmp_path / "two")],
        check=False, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote") == 1
    assert main(["sft", *asked, str(tmp_path / "one")]) == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    assert len(losses(tmp_path / "two")) == 2


@pytest.mark.slow
def test_adapters_are_merged_into_a_model_that_readers_open(folders, data, tmp_path):
    folder = folders["llava"]
    out = train(config(folder, data, tmp_path / "run", lora_rank=2, steps=2))
    reader = TransformersReader(str(out), device="cpu")
    before, after = (load_file(f / "model.safetensors") for f in (folder, out))
    assert set(before) == set(after)
    moved = [n for n in before if not torch.equal(before[n], after[n])]
    assert any("q_proj" in name for name in moved)
    assert not any("embed_tokens" in name for name in moved)
    assert reader.n_parameters > 0
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.slow
def test_the_part_that_sees_can_be_kept_as_it_is(folders, data, tmp_path):
    out = train(config(folders["qwen2_5"], data, tmp_path / "r", train_vision=False, steps=1))
    before, after = (load_file(f / "model.safetensors") for f in (folders["qwen2_5"], out))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any("visual" in name for name in moved)


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.slow
def test_a_broken_off_and_resumed_training_ends_like_an_unbroken_one(
    folders, data, tmp_path, monkeypatch
):
    def asked(name):
        settings = {"steps": 6, "batch_size": 2, "lora_rank": 2, "gradient_checkpointing": True}
        return config(folders["qwen3"], data, tmp_path / name, **settings)

    def stop(self, args, state, control, **_):
        if state.global_step == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "on_step_end", stop)
        with pytest.raises(Killed):
            train(asked("broken"))
    for run in ("broken", "whole"):
        train(asked(run))
    one, two = (tmp_path / run for run in ("whole", "broken"))
    assert losses(one) == losses(two)
    assert len(losses(one)) == 6
    weights = [load_file(run / "model" / "model.safetensors") for run in (one, two)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_does_not_go_on_from_other_first_weights(data, tmp_path, monkeypatch):
    folder, run = make_tiny_qwen3(tmp_path / "m"), tmp_path / "run"
    train(config(folder, data, run, steps=1, batch_size=1))
    monkeypatch.setattr("sole.train.vlm_sft.read_episodes", _never)
    with pytest.raises(AssertionError, match="were read"):  # the same weights may go on
        train(config(folder, data, run, steps=1, batch_size=1))
    kept = (run / "data.json").read_text()
    make_tiny_qwen3(folder, seed=1)
    with pytest.raises(ConfigError, match="are not those that the run began with"):
        train(config(folder, data, run, steps=1, batch_size=1))
    assert (run / "data.json").read_text() == kept


def test_the_hash_is_of_weights_and_configuration(tmp_path):
    folder = make_tiny_qwen3(tmp_path / "m")
    found = {weights_hash(str(folder))}
    (folder / "README.md").write_text("words")
    found.add(weights_hash(str(folder)))
    assert len(found) == 1
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert weights_hash(str(folder)) not in found


def test_grpo_too_refuses_other_first_weights(data, tmp_path):
    folder, run = make_tiny_qwen3(tmp_path / "m"), tmp_path / "run"
    asked = VlmRlvrConfig.model_validate(
        {"model": str(folder), "data": (data,), "run_dir": run, "device": "cpu"}
    )
    Run(run, asked, {"model_sha256": weights_hash(str(folder))})
    check_same_weights(asked)
    make_tiny_qwen3(folder, seed=1)
    with pytest.raises(ConfigError, match="are not those that the run began with"):
        train_by_rewards(asked)


def test_a_model_of_the_hub_and_a_run_of_before_have_no_hash(tmp_path):
    assert weights_hash("org/model") is None
    asked = config(make_tiny_qwen3(tmp_path / "m"), "d", tmp_path / "run")
    Run(asked.run_dir, asked, {})
    check_same_weights(asked)


def test_a_half_written_checkpoint_is_none(tmp_path):
    for step, names in ((2, ["trainer_state.json"]), (4, [])):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text("{}")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoints" / "checkpoint-2"


def test_parts_that_cannot_be_equal_are_refused(folders, data, tmp_path):
    with pytest.raises(ConfigError, match="multiple of 3"):
        train(config(folders["qwen3"], data, tmp_path / "run", device_batch=3))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "/no/such/folder"}, "model /no/such/folder"),
        ({"weights": (1.0, 2.0)}, "expected 1 numbers"),
        ({"lora_rank": 2, "train_vision": False}, "--lora-target"),
        ({"lora_rank": 2, "lora_target": ".*q_porj"}, "fits the whole name of no layer"),
        ({"lora_rank": 2, "lora_target": "("}, "no pattern"),
        ({"export": Path(__file__)}, "is no folder"),
    ],
)
def test_a_wrong_setting_is_noticed_before_the_data_are_read(
    folders, data, tmp_path, monkeypatch, changes, said
):
    monkeypatch.setattr("sole.train.vlm_sft.read_episodes", _never)
    asked = config(folders["qwen3"], data, tmp_path / "run").model_copy(update=changes)
    with pytest.raises(ConfigError, match=said):
        train(asked)


def _never(*_, **__):
    raise AssertionError("the data were read")


@pytest.mark.parametrize(
    ("fault", "wanted"), [(torch.cuda.OutOfMemoryError, ModelError), (KeyboardInterrupt,) * 2]
)
def test_a_training_that_ends_early_leaves_no_bar_and_says_when_memory_was_full(
    tmp_path, monkeypatch, fault, wanted
):
    bars = []

    @contextmanager
    def bar(*_, **__):
        bars.append("shown")
        yield bars.append
        bars.append("gone")

    monkeypatch.setattr("sole.train.vlm_sft.progress_bar", bar)
    log = RunLog(Run(tmp_path, config("m", "d", tmp_path)), steps=3)

    class Trainer:
        def train(self, resume_from_checkpoint):
            log.on_train_begin(None, SimpleNamespace(global_step=0), None)
            raise fault

    with pytest.raises(wanted):
        run_through(Trainer(), log, None)
    assert bars == ["shown", "gone"]


def test_one_process_beside_several_gpus_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    asked = config("m", "d", tmp_path, device="auto")
    with pytest.raises(ConfigError, match="accelerate launch"):
        check_devices(asked, 1)
    check_devices(asked, 2)
    check_devices(asked.model_copy(update={"device": "cpu"}), 1)


@pytest.mark.parametrize(
    ("family", "module", "said"),
    [
        ("smolvlm", "smolvlm.processing_smolvlm.num2words", r"a smolvlm.*pip install num2words"),
        ("qwen3_vl", "qwen3_vl.processing_qwen3_vl.Qwen3VLProcessor.__init__", "a qwen3_vl.*CUDA"),
    ],
)
def test_a_family_without_its_packages_is_named_with_the_remedy(
    folders, monkeypatch, family, module, said
):
    def needs_torchvision(*_, **__):
        raise ImportError("this needs the torchvision library")

    name = {"smolvlm": "smolvlm", "qwen3_vl": "qwen3"}[family]
    value = None if module.endswith("num2words") else needs_torchvision
    monkeypatch.setattr(f"transformers.models.{module}", value)
    with pytest.raises(ModelError, match=said):
        open_model(str(folders[name]), None, "cpu", "float32")


def test_the_model_is_found_among_flags_and_in_a_preset(tmp_path):
    preset = tmp_path / "a.toml"
    preset.write_text('model = "org/name"')
    assert asked_model([str(preset), "--steps", "2"]) == "org/name"
    assert asked_model([str(preset), "--model=b/c"]) == "b/c"
    assert asked_model([]) == "nano"


def test_the_folder_of_a_nano_is_no_other_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "sole_nano"}')
    with pytest.raises(ConfigError, match="--init"):
        asked_model(["--model", str(tmp_path)])


def test_the_launch_file_has_only_settings_that_accelerate_knows():
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(PRESETS / "accelerate-fsdp.yaml"))
    assert found.num_processes == 8
    assert found.fsdp_config["fsdp_version"] == 2


def test_the_preset_has_the_published_figures():
    preset = VlmSftConfig.model_validate(load_preset(PRESETS / "paper-sft.toml"))
    assert (preset.learning_rate, preset.batch_size, preset.epochs) == (1e-5, 48, 1.0)
    assert preset.lora_rank == 0
