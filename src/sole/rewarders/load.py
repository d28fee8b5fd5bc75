"""Reward models by name: what a flag or a preset says becomes a :class:`RewardModel`."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal

from sole.errors import ConfigError, ModelError
from sole.models.api.address import EXAMPLE, PREFIX
from sole.models.hf.names import ModelName, model_type, parse_name
from sole.models.opening import NANO_TYPE, open_backend
from sole.models.spoken import SpokenReader
from sole.models.vllm.name import PREFIX as VLLM_PREFIX
from sole.models.vllm.name import parse_engine_name
from sole.rewarders.base import RewardModel
from sole.rewarders.beside import UNCALIBRATED, calibrated_beside
from sole.rewarders.calibrated import Calibrated, load_calibration
from sole.rewarders.controls import Constant, Oracle, Ramp, RandomWalk
from sole.rewarders.learned import LEARNED_TYPES, load_learned
from sole.rewarders.methods import QUESTIONS, make_question_model
from sole.rewarders.sole import Decoding, SoleRewardModel
from sole.rewarders.vlmrm import NAME as VLMRM
from sole.rewarders.vlmrm import load_vlmrm

CHOICES = ("nano", "ramp", "random", "constant:50", "oracle")
THINKING = ("always", "fast", "auto")
Think = Literal["always", "fast", "auto"]


def load_reward_model(
    name: str,
    *,
    think: Think | bool = "fast",
    every: int = 1,
    seed: int = 0,
    calibration: Path | None = None,
    **options: Any,
) -> RewardModel:
    """Make the reward model that ``name`` stands for.

    Args:
        name: ``nano`` (the weights that ship), the folder of a checkpoint, a vision-language model
            on Hugging Face (``Qwen/Qwen3-VL-2B-Instruct``; ``@REVISION`` and ``:published`` may
            follow), the address of a ``sole serve`` (``http://...``; its token is taken from
            SOLE_TOKEN), or a control: ``ramp``, ``random``, ``constant:50`` (any percent),
            ``oracle``. Whether a folder is nano's, or one that ``sole fit`` wrote, says
            ``model_type`` in its config.json. Another
            question than that of SOLE comes before the model: ``gvl:Qwen/Qwen3-VL-2B-Instruct``,
            see :data:`sole.rewarders.methods.QUESTIONS`. ``openai:http://HOST:PORT/v1#MODEL`` is a
            model of an OpenAI-compatible endpoint, with a method before it or not; ``vllm:`` before
            a folder or a name of Hugging Face runs it with vLLM in this process.
        think: ``always`` writes reasoning at every scored frame, ``fast`` only reads numbers;
            ``auto`` is fast, and whoever shows a score to people asks ``model.thinking()``. True
            stands for ``always``, False for ``fast``.
        every: Score every this many frames; controls are free and ignore it.
        seed: Of the random walk, of the draws of ``:published`` and of the permutations of GVL; the
            others draw nothing.
        calibration: A file of ``sole calibrate``, made for this model with these settings; its
            numbers are then calibrated. None takes what lies beside the model, if anything does
            (:mod:`sole.rewarders.beside`); ``UNCALIBRATED`` takes nothing.
        options: Further settings of a model that looks (``device``, and ``from_zero_weight``, which
            belongs to the question of SOLE; the others have no such share and ignore it).

    Raises:
        ConfigError: If there is no such model (the message lists those there are), the folder
            holds no checkpoint, a server does not judge as asked, or the calibration is another
            model's.
        DataError: If the calibration cannot be read.
        ModelError: If the checkpoint cannot be loaded.
        ServerError: If the server cannot be reached.

    Example:
        >>> load_reward_model("constant:20").model_id
        'constant:20'
    """
    if isinstance(think, bool):
        think = "always" if think else "fast"
    if think not in THINKING:
        raise ConfigError(f"think: expected one of {', '.join(THINKING)}, got {think!r}")
    plain = calibration in (None, UNCALIBRATED)
    record = None if calibration is None or plain else load_calibration(calibration)
    model = _load(name, think, every, seed, **options)
    if record is not None:
        return Calibrated(model, record)
    return calibrated_beside(name, model) if calibration is None else model


def _load(name: str, think: str, every: int, seed: int, **options: Any) -> RewardModel:
    if name == "nano":
        return _load_sole(name, think=think == "always", every=every, **options)
    if name.startswith(("http://", "https://")):
        return _connect(name, think, every, **options)
    control = _control(name, seed)
    if control is not None:
        return control
    if name.startswith((PREFIX, VLLM_PREFIX)):
        return _load_engine(name, think=think == "always", every=every, seed=seed, **options)
    method, _, rest = name.partition(":")
    if method in (*QUESTIONS, VLMRM):
        return _load_method(
            method, rest, think=think == "always", every=every, seed=seed, **options
        )
    parts = parse_name(name)
    kind = model_type(Path(parts.where)) if parts.is_folder else None
    if kind in (NANO_TYPE, *LEARNED_TYPES) and (parts.revision or parts.preset):
        raise ConfigError(f"model {name}: a folder of {kind} has neither revisions nor presets")
    if kind in LEARNED_TYPES:
        return load_learned(Path(parts.where), every=every, **options)
    if kind == NANO_TYPE:
        return _load_sole(name, think=think == "always", every=every, **options)
    if parts.is_folder or parts.is_hub_name:
        return _load_vlm(parts, think=think == "always", every=every, seed=seed, **options)
    raise ConfigError(_unknown(name))


def _load_vlm(name: ModelName, **options: Any) -> RewardModel:
    # Imported only now: torch and transformers take seconds that the controls do not need.
    from sole.rewarders.vlm import load_vlm

    return load_vlm(name, **options)


def _load_engine(name: str, *, seed: int, **options: Any) -> RewardModel:
    if name.startswith(PREFIX):
        return _load_spoken(name, **options)
    engine = parse_engine_name(name)
    # Imported only now: torch, transformers and vLLM take seconds.
    from sole.rewarders.vlm import load_vllm

    return load_vllm(engine, seed=seed, **options)


def _load_method(
    method: str,
    model: str,
    *,
    think: bool,
    every: int,
    seed: int,
    from_zero_weight: float | None = None,
    **options: Any,
) -> RewardModel:
    if not model:
        raise ConfigError(
            f"model {method}: say which model is asked, such as {method}:Qwen/Qwen3-VL-2B-Instruct"
        )
    if method == VLMRM:
        return load_vlmrm(model, every=every, **options)
    backend = open_backend(model, **options)
    return make_question_model(method, backend, think=think, every=every, seed=seed)


def _load_spoken(
    name: str,
    *,
    think: bool,
    every: int,
    from_zero_weight: float | None = None,
    **options: Any,
) -> RewardModel:
    if not think or from_zero_weight:
        raise ConfigError(
            f"model {name}: is read in its words only, with no question from zero; add --think "
            "(sole serve: --think always) and --from-zero-weight 0"
        )
    backend = open_backend(name, **options)
    return SoleRewardModel(SpokenReader(backend), Decoding(True, 0.0, every))


def _connect(url: str, think: str, every: int, **options: Any) -> RewardModel:
    """Use a served model; what its server has decided must be what is asked for."""
    try:
        from sole.client import RemoteRewardModel
    except ImportError as error:
        needs = f"model {url}: needs httpx: pip install 'sole-rewards[client]'"
        raise ConfigError(needs) from error
    model = RemoteRewardModel(url, os.environ.get("SOLE_TOKEN"), every=every)
    for option, wanted in options.items():
        served = model.settings.get(option, "not to be chosen")
        of_a_control = option == "from_zero_weight" and not model.settings
        if served != wanted and not of_a_control:
            raise ConfigError(
                f"model {url}: {option} {wanted} was asked for, but there it is {served}"
            )
    way = "think" if think == "always" else "fast"
    if model.ways and way not in model.ways and think != "auto":
        raise ConfigError(f"model {url}: judges only this way: {', '.join(model.ways)}")
    return model.thinking() if think == "always" else model.fast()


def _load_sole(name: str, **options: Any) -> RewardModel:
    if name != "nano" and not (Path(name) / "model.safetensors").is_file():
        raise ConfigError(
            f"model {name}: no model.safetensors in this folder; expected a checkpoint as "
            "save_pretrained writes it (sole sft: the folder it names when it is done)"
        )
    # Imported only now: torch and transformers take seconds that the controls do not need.
    from safetensors import SafetensorError

    from sole.rewarders.sole import load_sole

    try:
        return load_sole(name, **options)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"model {name}: cannot be loaded ({reason})") from error


def _control(name: str, seed: int) -> RewardModel | None:
    kind, _, value = name.partition(":")
    if kind == "constant":
        return _constant(value)
    if name == "random":
        return RandomWalk(seed)
    if name == "env":
        raise ConfigError(
            "model env: is a simulator's own reward and judges no picture; only --reward of sole "
            "rl, sole bench rl and sole refine takes it"
        )
    return {"ramp": Ramp, "oracle": Oracle}[name]() if name in {"ramp", "oracle"} else None


def _constant(value: str) -> Constant:
    try:
        return Constant(float(value))
    except ValueError as error:
        raise ConfigError(
            f"model constant:{value}: expected a percent in [-100, 100], such as constant:50"
        ) from error


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, CHOICES, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    missing = " (and there is no such folder)" if "/" in name else ""
    others = ("a folder", "ORGANISATION/MODEL on Hugging Face", "http://HOST:PORT", EXAMPLE)
    choices = ", ".join([*CHOICES, *others, "METHOD:MODEL"])
    return f"no reward model {name!r}{missing}{hint} Choose from: {choices}"
