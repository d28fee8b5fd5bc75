"""A model that answers free questions, by its name; only what the name needs is imported."""

from __future__ import annotations

from pathlib import Path

from sole.errors import ConfigError
from sole.models.api.address import EXAMPLE, PREFIX, parse_address
from sole.models.backend import Backend
from sole.models.hf.names import model_type, parse_name
from sole.models.vllm.name import PREFIX as VLLM_PREFIX
from sole.models.vllm.name import parse_engine_name

NANO_TYPE = "sole_nano"


def open_backend(name: str, *, device: str = "auto", max_batch: int = 8) -> Backend:
    """Open the vision-language model that ``name`` stands for.

    Args:
        name: A folder, ``ORGANISATION/MODEL`` on Hugging Face with ``@REVISION`` or not, or a model
            behind an address, ``openai:http://HOST:PORT/v1#MODEL``. ``vllm:`` before a folder or
            name runs it with vLLM in this process.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        max_batch: Prompts answered together.

    Raises:
        ConfigError: If the name is none, or the model answers its own question only (nano).
        ModelError: If the model cannot be downloaded or loaded.
    """
    if name.startswith(PREFIX):
        return _open_address(name, device)
    if name.startswith(VLLM_PREFIX):
        return _open_vllm(name, device)
    parts = parse_name(name)
    if name == "nano" or (parts.is_folder and model_type(Path(parts.where)) == NANO_TYPE):
        raise ConfigError(
            f"model {name}: nano answers its own question about progress only; expected a general "
            "vision-language model, such as Qwen/Qwen3-VL-2B-Instruct"
        )
    if parts.preset:
        raise ConfigError(
            f"model {name}: :{parts.preset} belongs to the SOLE question; leave it out"
        )
    if not parts.is_folder and not parts.is_hub_name:
        raise ConfigError(
            f"model {name}: there is no such folder; expected one, ORGANISATION/MODEL on Hugging "
            f"Face, such as Qwen/Qwen3-VL-2B-Instruct, or {EXAMPLE}"
        )
    # Imported only now: torch and transformers take seconds.
    from sole.models.hf.backend import TransformersBackend

    return TransformersBackend(
        parts.where, revision=parts.revision, device=device, max_batch=max_batch
    )


def _open_address(name: str, device: str) -> Backend:
    address = parse_address(name)
    if device != "auto":
        raise ConfigError(f"model {name}: runs elsewhere, where device {device} is not ours to set")
    try:
        from sole.models.api.backend import OpenAIBackend
    except ImportError as error:
        needs = f"model {name}: needs httpx: pip install 'sole-rewards[client]'"
        raise ConfigError(needs) from error
    return OpenAIBackend(address)


def _open_vllm(name: str, device: str) -> Backend:
    parts = parse_engine_name(name)
    if parts.model.preset:
        raise ConfigError(
            f"model {name}: :{parts.model.preset} belongs to the SOLE question; leave it out"
        )
    check_vllm_device(name, device)
    from sole.models.vllm.backend import VllmBackend, open_engine

    engine = open_engine(parts.model.where, parts.model.revision, parts.settings)
    return VllmBackend(engine)


def check_vllm_device(name: str, device: str) -> None:
    """Raise ConfigError if vLLM is to run on a device of our choice."""
    if device not in {"auto", "cuda"}:
        raise ConfigError(f"model {name}: vLLM chooses its own device, so leave out {device}")
