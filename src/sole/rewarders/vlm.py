"""A general vision-language model as a reward model: the SOLE question, asked of any of them."""

from __future__ import annotations

from sole.errors import ConfigError
from sole.models.base import Reader
from sole.models.hf.names import ModelName
from sole.models.hf.presets import PUBLISHED
from sole.models.opening import check_vllm_device
from sole.models.vllm.name import EngineName
from sole.rewarders.sole import Decoding, SoleRewardModel


def load_vlm(
    name: ModelName,
    *,
    think: bool,
    every: int = 1,
    seed: int = 0,
    device: str = "auto",
    from_zero_weight: float | None = None,
    max_batch: int = 8,
) -> SoleRewardModel:
    """Make the reward model of an image-text-to-text model.

    Args:
        name: Folder or name on Hugging Face, with revision and preset.
        think: Write reasoning at every scored frame; ``published`` knows nothing else.
        every: Score every this many frames.
        seed: Of the draws of ``published``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        from_zero_weight: Share of the read without an earlier number; None is the preset's own (0
            in ``published``, which asks no such question, else 0.25).
        max_batch: Questions in one batch.

    Raises:
        ConfigError: If there is no such model, or ``published`` is to be read in another way.
        ModelError: If the model cannot be downloaded or loaded.
    """
    weight = _weight(name, think, from_zero_weight)
    from sole.models.hf.reader import TransformersReader

    reader = TransformersReader(
        name.where,
        revision=name.revision,
        preset=name.reading,
        device=device,
        max_batch=max_batch,
        seed=seed,
    )
    return SoleRewardModel(reader, Decoding(think, weight, every))


def load_vllm(
    name: EngineName,
    *,
    think: bool,
    every: int = 1,
    seed: int = 0,
    device: str = "auto",
    from_zero_weight: float | None = None,
) -> SoleRewardModel:
    """The same with a vLLM engine in this process; see :func:`load_vlm`.

    Raises:
        ConfigError: If vLLM is not installed, or as :func:`load_vlm`.
        ModelError: If the model cannot be downloaded, or the engine does not start.
    """
    weight = _weight(name.model, think, from_zero_weight)
    check_vllm_device(f"vllm:{name.model.where}", device)
    from sole.models.vllm.backend import VllmReader, open_engine

    where = name.model.where
    engine = open_engine(where, name.model.revision, name.settings)
    reader: Reader = VllmReader(engine, where, preset=name.model.reading, seed=seed)
    return SoleRewardModel(reader, Decoding(think, weight, every))


def _weight(name: ModelName, think: bool, from_zero_weight: float | None) -> float:
    """Share of the question from zero; ``published`` has none, and always thinks."""
    published = name.reading == PUBLISHED.name
    if published and (not think or from_zero_weight):
        raise ConfigError(
            f"model {name.where}:{PUBLISHED.name}: the released protocol always thinks and asks no "
            "question from zero; add --think (sole serve: --think always) and "
            "--from-zero-weight 0, or leave out :published"
        )
    usual = 0.0 if published else Decoding.from_zero_weight
    return usual if from_zero_weight is None else from_zero_weight
