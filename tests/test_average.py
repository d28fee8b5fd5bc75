"""The mean of two checkpoints."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_tiny_nano

from sole.errors import ConfigError, ModelError
from sole.models.nano.reader import NanoReader
from sole.train.average import main, mean_weights


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[Path]:
    return [make_tiny_nano(tmp_path_factory.mktemp("tiny"), seed) for seed in (0, 1)]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_mean_lies_between_the_two_and_opens(two, tmp_path, share):
    (two[1] / "phrases.json").write_text("{}")
    out = tmp_path / "mean"
    assert main([*map(str, two), "--out", str(out), "--share", str(share)]) == 0
    first, second, mean = (load_file(f / "model.safetensors") for f in (*two, out))
    for name, tensor in mean.items():
        wanted = (1 - share) * first[name].double() + share * second[name].double()
        torch.testing.assert_close(tensor, wanted.to(tensor.dtype), rtol=0, atol=0)
    assert any((first[n] != second[n]).any() for n in mean)
    assert not (out / "phrases.json").exists()
    (two[1] / "phrases.json").unlink()
    assert NanoReader(out).model_id.startswith("nano-")


def test_checkpoints_that_do_not_fit_are_refused_and_nothing_is_overwritten(two, tmp_path):
    with pytest.raises(ConfigError, match="differ in 1 tensors, first w"):
        mean_weights({"w": torch.zeros(2)}, {"w": torch.zeros(3)}, 0.5)
    with pytest.raises(ConfigError, match="differ in"):
        main(["nano", str(two[0]), "--out", str(tmp_path / "mean")])
    with pytest.raises(ModelError, match="no checkpoint"):
        main([str(tmp_path), str(two[0]), "--out", str(tmp_path / "mean")])
    other = tmp_path / "other"
    shutil.copytree(two[1], other)
    changed = json.loads((other / "config.json").read_text())
    changed["text_config"]["rope_theta"] = 7.0
    (other / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match="differ in text_config"):
        main([str(two[0]), str(other), "--out", str(tmp_path / "mean")])
    (other / "tokenizer.json").unlink()  # like a checkpoint of a training
    with pytest.raises(ModelError, match="expected finished models"):
        main([str(two[0]), str(other), "--out", str(tmp_path / "mean")])
    assert not (tmp_path / "mean").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        main([*map(str, two), "--out", str(tmp_path / "full")])
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
