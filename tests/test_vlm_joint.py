"""GRPO and supervised training in one run of a tiny vision-language model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_vlm import make_tiny_llava, make_tiny_qwen3
from tiny_vlm_more import make_tiny_internvl

from sole.models.hf.loading import open_model
from sole.train.rlvr import main
from sole.train.vlm_collate import IGNORED
from sole.train.vlm_config import VlmRlvrConfig
from sole.train.vlm_grpo import arguments, train
from sole.train.vlm_joint import summed_loss
from sole.train.vlm_path import write_episodes

MAKERS = {"qwen3": make_tiny_qwen3, "llava": make_tiny_llava, "internvl": make_tiny_internvl}


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
        "device_batch": 2, "max_new_tokens": 5, "learning_rate": 1e-2, "show_every": 99,
        "gradient_checkpointing": False, "sft_weight": 0.5,
    }  # fmt: skip
    return VlmRlvrConfig(model=str(folder), data=(data,), run_dir=run, **{**settings, **changes})


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def alike_rewards(*_):
    def nothing(completion_ids, index, **rest):
        rest["log_extra"]("index", index)
        return [0.0] * len(completion_ids)

    return [nothing] * 4


@pytest.mark.parametrize("name", MAKERS)
def test_the_loss_is_that_of_the_models_own_numbers(name, tmp_path):
    model = open_model(str(MAKERS[name](tmp_path)), None, "cpu", "float32").model
    ids = torch.randint(300, 400, (2, 9), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[0, :6], labels[1, :4], labels[1, 7:] = IGNORED, IGNORED, IGNORED
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    with torch.no_grad():
        wanted = model(**batch).loss * 6
        assert summed_loss(model, batch) == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.slow
def test_where_rewards_say_nothing_the_supervised_loss_falls(folder, data, tmp_path, monkeypatch):
    monkeypatch.setattr("sole.train.vlm_grpo.reward_functions", alike_rewards)
    run = tmp_path / "run"
    train(config(folder, data, run, steps=4, kl_weight=0.0, temperature=0.7))
    losses = [line["sft_loss"] for line in lines(run)]
    assert [line["loss"] for line in lines(run)] == pytest.approx([0.5 * x for x in losses])
    assert len(losses) == 4
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_how_a_joint_step_is_cut_into_parts_changes_nothing(folder, data, tmp_path):
    for n in (4, 1):
        train(config(folder, data, tmp_path / str(n), device_batch=n, kl_weight=0.1))
    whole, parts = lines(tmp_path / "4"), lines(tmp_path / "1")
    for name in ("reward", "sft_loss", "loss", "grad_norm"):
        assert [x[name] for x in whole] == pytest.approx(
            [x[name] for x in parts], rel=1e-3, abs=1e-5
        )
    assert whole[1]["sft_loss"] != whole[0]["sft_loss"]


@pytest.mark.slow
def test_without_a_weight_no_supervised_example_is_made(folder, data, tmp_path, monkeypatch):
    monkeypatch.setattr("sole.train.vlm_grpo.joint_trainer", None)
    monkeypatch.setattr("sole.train.vlm_grpo.supervised_examples", None)
    train(config(folder, data, tmp_path / "run", sft_weight=0.0, steps=1))
    assert "sft_loss" not in lines(tmp_path / "run")[0]


@pytest.mark.slow
def test_a_continued_joint_run_ends_like_an_unbroken_one(folder, data, tmp_path):
    settings = {"steps": 4, "updates_per_step": 2, "lora_rank": 2, "checkpoint_every": 1}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(config(folder, data, whole, **settings))
    train(config(folder, data, broken, **settings))
    (broken / "checkpoints" / "checkpoint-8" / "trainer_state.json").unlink()
    train(config(folder, data, broken, **settings))
    for name in ("step", "reward", "loss", "sft_loss"):
        assert [x.get(name) for x in lines(broken)] == [x.get(name) for x in lines(whole)]
    one, two = weights(whole), weights(broken)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3", "llava"])
def test_two_processes_have_the_supervised_losses_of_one(name, data, tmp_path):
    asked = ["--model", str(MAKERS[name](tmp_path / "m")), "--data", str(data), "--geometry",
             "nano", "--device", "cpu", "--steps", "2", "--prompts-per-step", "2",
             "--group-size", "2", "--max-new-tokens", "3", "--learning-rate", "1e-2",
             "--sft-weight", "1", "--kl-weight", "0", "--truth-weight", "0", "--direction-weight",
             "0", "--run-dir"]  # fmt: skip
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone",
              "--nproc-per-node", "2"]  # fmt: skip
    done = subprocess.run(
        [*launch, "-m", "sole.cli", "rlvr", *asked, str(tmp_path / "two")],
        check=False, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert main([*asked, str(tmp_path / "one")]) == 0
    two, one = lines(tmp_path / "two"), lines(tmp_path / "one")
    assert [x["reward"] for x in one] == [0.0, 0.0]  # so that other replies make no other step
    for name in ("sft_loss", "grad_norm"):
        assert [x[name] for x in two] == pytest.approx([x[name] for x in one], rel=1e-3)
    assert one[1]["sft_loss"] != one[0]["sft_loss"]


def test_a_joint_step_leaves_the_buffers_of_its_first_pass_alone(tmp_path):
    joint, alone = (
        arguments(config("m", "d", tmp_path, sft_weight=weight), n_devices=1) for weight in (1, 0)
    )
    assert joint.ddp_broadcast_buffers is False
    assert alone.ddp_broadcast_buffers is None
