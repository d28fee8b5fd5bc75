"""The asking methods by name: ``gvl:Qwen/Qwen3-VL-2B-Instruct`` is a method and a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sole.models.backend import Backend
from sole.rewarders.asking import AskingModel, Method, TwoWayModel
from sole.rewarders.gvl import CausalGvl, ShuffledGvl
from sole.rewarders.lrm import Completion, Contrastive, Progress, Tri
from sole.rewarders.rlvlmf import Preference
from sole.rewarders.roboreward import RoboReward
from sole.rewarders.streaming import NAME as STREAM
from sole.rewarders.streaming import StreamingModel
from sole.rewarders.topreward import TopReward
from sole.rewarders.vlac import SignedDelta

ONE_WAY: Mapping[str, Callable[[int], Method]] = {
    "gvl-causal": CausalGvl,
    "topreward": lambda seed: TopReward("topreward"),
    "topreward-odds": lambda seed: TopReward("topreward-odds"),
    "topreward-chat": lambda seed: TopReward("topreward-chat"),
}
"""Methods that know one way of reading, made with a seed."""

TWO_WAYS: Mapping[str, Callable[[], Method]] = {
    "lrm": Tri,
    "lrm-contrastive": Contrastive,
    "lrm-progress": Progress,
    "lrm-completion": Completion,
    "roboreward": RoboReward,
    "vlac": SignedDelta,
    "rlvlmf": Preference,
}
"""Methods that read the words of a reply, or the probabilities of all answers without words."""

METHODS = ("gvl", *ONE_WAY, *TWO_WAYS)
"""Methods that never ask according to an earlier answer."""

QUESTIONS = (*METHODS, STREAM)
"""All that may stand before the name of a model."""


def make_question_model(
    method: str, backend: Backend, *, think: bool = False, every: int = 1, seed: int = 0
) -> AskingModel | StreamingModel:
    """One of :data:`QUESTIONS` and a model as a reward model; see :func:`make_asking_model`.

    Raises:
        ConfigError: If the backend lacks what the method needs.
    """
    if method == STREAM:
        return StreamingModel(backend, think=think, every=every)
    return make_asking_model(method, backend, think=think, every=every, seed=seed)


def make_asking_model(
    method: str, backend: Backend, *, think: bool = False, every: int = 1, seed: int = 0
) -> AskingModel:
    """A method of :data:`METHODS` and a model as a reward model.

    Args:
        method: Its name.
        backend: The model.
        think: With words before the answer, where the method has both ways.
        every: Score every this many frames, and the last one.
        seed: Of the permutations of ``gvl`` and ``gvl-causal``; the others draw nothing.

    Raises:
        ConfigError: If the backend lacks what the method needs.
    """
    if method == "gvl":
        return ShuffledGvl(backend, every=every, seed=seed)
    if method in TWO_WAYS:
        return TwoWayModel(backend, TWO_WAYS[method](), think=think, every=every)
    return AskingModel(backend, ONE_WAY[method](seed), every=every)
