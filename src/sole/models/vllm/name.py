"""``vllm:MODEL``: which model a vLLM engine in this process runs, and with how much of the GPU."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from sole.errors import ConfigError
from sole.models.hf.names import ModelName, parse_name
from sole.models.setting import Range, read_setting

PREFIX = "vllm:"
EXAMPLE = "vllm:Qwen/Qwen3-VL-8B-Instruct"
INSTALL = "pip install 'vllm>=0.11'"
_RANGES: dict[str, Range] = {
    "tensor_parallel_size": (1, 64, int),
    "gpu_memory_utilization": (0.05, 1.0, float),
    "max_model_len": (512, 1_000_000, int),
}


@dataclass(frozen=True)
class EngineName:
    """A model and how its engine is started.

    Attributes:
        model: Folder or name on Hugging Face, revision and preset.
        settings: For ``vllm.LLM``.
    """

    model: ModelName
    settings: dict[str, Any] = field(default_factory=dict)


def parse_engine_name(name: str) -> EngineName:
    """Take a name apart; ``?max_model_len=8192&gpu_memory_utilization=0.8`` may follow it.

    Raises:
        ConfigError: If it names no model, or a setting is unknown or out of range.

    Example:
        >>> found = parse_engine_name("vllm:lab/judge@v2:published?max_model_len=4096")
        >>> found.model.where, found.model.revision, found.model.preset, found.settings
        ('lab/judge', 'v2', 'published', {'max_model_len': 4096})
    """
    rest, _, query = name.removeprefix(PREFIX).partition("?")
    model = parse_name(rest)
    if not model.is_folder and not model.is_hub_name:
        raise ConfigError(
            f"model {name}: there is no such folder; expected one, or ORGANISATION/MODEL on "
            f"Hugging Face, such as {EXAMPLE}"
        )
    pairs = parse_qsl(query, keep_blank_values=True)
    return EngineName(model, {key: read_setting(name, key, text, _RANGES) for key, text in pairs})
