"""The path of the 8B model with a tiny one; and that its big sister has the released shape."""

import json

import pytest
import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from sole.errors import ConfigError
from sole.train.vlm_path import PathConfig, main, walk
from sole.train.vlm_shapes import SHAPES


def test_a_tiny_model_walks_the_path_of_the_large_one(tmp_path, capsys):
    out = tmp_path / "path"
    words = ["--out", str(out), "--device", "cpu", "--steps", "1", "--max-new-tokens", "4"]
    assert main([*words, "--lora-rank", "2"]) == 0
    told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if ":" in line]
    assert told == ["random model", "supervised steps", "GRPO steps", "reading"]
    replies = (out / "rlvr" / "completions.jsonl").read_text().splitlines()
    assert len(replies) == 2
    assert json.loads(replies[0])["reward"] is not None
    assert (out / "rlvr" / "model" / "model.safetensors").exists()
    assert not (out / "random").exists()


def test_the_large_shape_has_eight_billion_numbers():
    parts = SHAPES["8b"]
    rope = {"rope_type": "default", "rope_theta": 5e6, **parts["rope"]}
    config = Qwen3VLConfig(
        text_config={**parts["text"], "rope_parameters": rope}, vision_config=parts["vision"]
    )
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    assert 8.5e9 < sum(p.numel() for p in model.parameters()) < 9.0e9


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    with pytest.raises(ConfigError, match="exists"):
        walk(PathConfig(out=tmp_path))
