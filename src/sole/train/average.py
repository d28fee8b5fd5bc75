"""The mean of two nano checkpoints: ``python -m sole.train.average MODEL TUNED --out FOLDER``.

Between a model and what further training made of it lies one that has kept more of what the first
knew and still has most of what is new (Wortsman et al. 2022, arXiv 2109.01903, WiSE-FT).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sole.config import Config, parse_config
from sole.console import run_module, stdout
from sole.errors import ConfigError, ModelError
from sole.models.nano.reader import WEIGHTS
from sole.run import make_folder, write_atomically

_WEIGHTS, _TOKENIZER, _CONFIG = "model.safetensors", "tokenizer.json", "config.json"
#: Of a configuration, what says nothing about the network.
_NOT_COMPARED = {"transformers_version", "readout_temperature", "dtype", "_name_or_path"}
#: Learned of one model's replies, so they are not the mean's: sole.train.phrases makes new ones.
_PHRASES = "phrases.json"


class AverageConfig(Config):
    """Write the weighted mean of two nano checkpoints of one architecture and vocabulary."""

    models: Annotated[tuple[Path, Path], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL TUNED")]
    """Folders of finished models; `nano` is the shipped one. Other files are the second's."""
    out: Path
    """Folder of the new checkpoint."""
    share: float = Field(0.5, ge=0, le=1)
    """Share of the second."""


def main(argv: Sequence[str]) -> int:
    """Average, write, say where."""
    config = parse_config(AverageConfig, argv, "python -m sole.train.average")
    average(config)
    stdout.print(f"wrote {config.out}; it has no phrases yet (sole.train.phrases)", markup=False)
    return 0


def average(config: AverageConfig) -> Path:
    """Write the mean; return its folder.

    Raises:
        ConfigError: If the two do not fit, or the folder cannot be made or holds something.
        ModelError: If one is no checkpoint.
    """
    first, second = (WEIGHTS if str(m) == "nano" else m for m in config.models)
    weights, others = _read(first), _read(second)
    mean = mean_weights(weights, others, config.share)
    _check_alike(first, second)
    make_folder(config.out)
    if any(config.out.iterdir()):
        raise ConfigError(f"{config.out}: is not empty; choose another --out")
    for path in sorted(second.glob("*.json*")) + sorted(second.glob("*.jinja")):
        if path.name not in {_PHRASES, _CONFIG}:
            shutil.copy(path, config.out / path.name)
    # A temperature that was fitted is one model's, not the mean's.
    settings = {**json.loads((second / _CONFIG).read_text()), "readout_temperature": 1.0}
    write_atomically(config.out / _CONFIG, json.dumps(settings, indent=2, sort_keys=True) + "\n")
    save_file(mean, config.out / _WEIGHTS, metadata={"format": "pt"})
    return config.out


def mean_weights(
    first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """``(1 - share) * first + share * second``, computed in double precision.

    Raises:
        ConfigError: If names, shapes or types differ.

    Example:
        >>> one, other = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 2.0])}
        >>> mean_weights(one, other, 0.25)
        {'w': tensor([1.5000, 2.0000])}
    """
    kinds = [{k: (v.shape, v.dtype) for k, v in one.items()} for one in (first, second)]
    if kinds[0] != kinds[1]:
        odd = sorted(k for k in kinds[0] | kinds[1] if kinds[0].get(k) != kinds[1].get(k))
        raise ConfigError(f"average: the checkpoints differ in {len(odd)} tensors, first {odd[0]}")
    return {
        name: ((1 - share) * one.double() + share * second[name].double()).to(one.dtype)
        for name, one in first.items()
    }


def _check_alike(first: Path, second: Path) -> None:
    """Weights of one shape may still be of two networks, or of two vocabularies."""
    try:
        words = [(folder / _TOKENIZER).read_bytes() for folder in (first, second)]
        shapes = [json.loads((folder / _CONFIG).read_text()) for folder in (first, second)]
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{error}; expected finished models, such as RUN/model of sole sft"
        ) from error
    if words[0] != words[1]:
        raise ConfigError(f"{first}, {second}: have different vocabularies")
    one, other = ({k: v for k, v in s.items() if k not in _NOT_COMPARED} for s in shapes)
    if differ := sorted(k for k in one | other if one.get(k) != other.get(k)):
        raise ConfigError(f"{first}, {second}: differ in {', '.join(differ)}")


def _read(folder: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(folder / _WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder}: no checkpoint of nano ({error})") from error


if __name__ == "__main__":
    run_module(main, "average")
