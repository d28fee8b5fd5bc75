"""Every reward model there is: what it asks, needs and costs, under which licence, from whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sole.rewarders import gvl, roboreward, topreward


@dataclass(frozen=True)
class Entry:
    """One reward model, or one question that can be asked of any model.

    Attributes:
        name: What ``--model`` and ``--reward`` take; MODEL stands for the name of a model.
        about: What its number is.
        needs: Extra of this package, kind of model or view.
        memory: What the weights take, and of which model.
        reasoning: ``yes``, ``no``, or the flag that decides.
        running: Whether it can judge an episode that is not over: sessions, ``sole serve``.
        licence: Of the weights, then of the method's published code.
        source: Paper and, where there is one, model.
        calls: Calls of the model for one episode of T frames, all of them scored; None if only
            the server knows.
        pictures: Pictures given to the model in those calls.
    """

    name: str
    about: str
    needs: str
    memory: str
    reasoning: str
    running: bool
    licence: str
    source: str
    calls: Callable[[int], int] | None
    pictures: Callable[[int], int] | None


_ANY_MEMORY = "4.3 GB with Qwen3-VL-2B, 17.5 GB with an 8B (bfloat16); on the CPU twice that"
_QWEN = "of the model asked (Qwen3-VL: Apache-2.0)"
_ANY = "an image-text-to-text model, or one behind openai:; the external view"
_LOCAL = "an image-text-to-text model of transformers; the external view"


def _none(n_frames: int) -> int:
    return 0


def _once(n_frames: int) -> int:
    return int(n_frames > 1)


def _per_step(times: int) -> Callable[[int], int]:
    return lambda n_frames: times * (n_frames - 1)


def _prefixes(most: int) -> Callable[[int], int]:
    """Pictures when each frame is asked about with all before it, thinned to ``most``."""
    return lambda n_frames: sum(min(t + 1, most) for t in range(1, n_frames))


def _question(
    name: str,
    about: str,
    cost: tuple[Callable[[int], int], Callable[[int], int]],
    source: str,
    *,
    reasoning: str = "with --think",
    needs: str = _ANY,
    running: bool = True,
    code: str = "",
) -> Entry:
    """A question for any vision-language model."""
    licence = f"{_QWEN}; {code}" if code else _QWEN
    return Entry(
        f"{name}:MODEL", about, needs, _ANY_MEMORY, reasoning, running, licence, source,
        *cost,
    )  # fmt: skip


def _control(name: str, about: str, running: bool = True) -> Entry:
    return Entry(name, about, "nothing", "none", "no", running, "Apache-2.0", "ours", _none, _none)


_SOLE = "SOLE-R1, arXiv 2603.28730"
_WORDS = "our wording; no licence on the published code"

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "nano", "progress, chained and from zero, expectation over -100..100",
        "nothing: its weights ship", "0.02 GB", "with --think", True, "Apache-2.0",
        f"ours, after {_SOLE}", _per_step(2), lambda n_frames: n_frames,
    ),
    Entry(
        "MODEL or MODEL:robust", "progress, chained and from zero, expectation over -100..100",
        "an image-text-to-text model or a nano folder", _ANY_MEMORY, "with --think", True, _QWEN,
        _SOLE, _per_step(2), _per_step(2),
    ),
    Entry(
        "Philip-MIT/SOLE-R1-8B:published", "progress as the released server reads it, with a seed",
        "needs --think and --from-zero-weight 0", "17.5 GB (bfloat16)", "yes", True,
        "weights: README says MIT, no licence file", f"{_SOLE}, Philip-MIT/SOLE-R1-8B",
        _per_step(1), _per_step(1),
    ),
    Entry(
        "FOLDER of sole fit rewind", "progress of each frame, from all frames so far",
        "own attempts to train on, a few minutes of a CPU; the views it was trained on", "0.01 GB",
        "no", True, "eye: Apache-2.0; head: yours", "ours, after ReWiND, arXiv 2505.10911",
        _per_step(1), lambda n_frames: n_frames,
    ),
    Entry(
        "FOLDER of sole fit classifier", "100 times the probability of success of each frame",
        "a few labelled clips to train on, a few minutes of a CPU; the views it was trained on",
        "0.01 GB", "no", True, "eye: Apache-2.0; head: yours",
        "ours, after HIL-SERL, arXiv 2410.21845", _per_step(1), lambda n_frames: n_frames,
    ),
    Entry(
        "vllm:MODEL", "the same as MODEL, by a vLLM engine in this process",
        "a GPU and pip install 'vllm>=0.11'; an image-text-to-text model", "17.5 GB with an 8B, "
        "and 90 % of the GPU for its cache", "with --think", True, _QWEN, _SOLE, _per_step(2),
        _per_step(2),
    ),
    Entry(
        "openai:http://HOST:PORT/v1#MODEL", "progress, chained: the number in the reply's words",
        "extra client; an OpenAI-compatible endpoint that takes pictures; needs --think and "
        "--from-zero-weight 0", "on the server", "yes", True, "of the model served", _SOLE,
        _per_step(1), _per_step(1),
    ),
    _question(
        "stream", "progress, one turn of a conversation for each frame",
        (_per_step(1), lambda n_frames: sum(range(2, n_frames + 1))), f"ours, after {_SOLE}",
        needs="an image-text-to-text model, best behind a prefix cache (vllm:, openai:)",
    ),
    _question(
        "gvl", "percentages of all frames, shown in a random order, in one reply",
        (_once, lambda n_frames: _once(n_frames) * min(n_frames, gvl.MAX_FRAMES)),
        "GVL, arXiv 2411.04549", reasoning="yes", running=False, code="our wording",
    ),
    _question(
        "gvl-causal", "the same among the frames so far, asked anew at each frame",
        (_per_step(1), _prefixes(gvl.MAX_FRAMES)), "GVL, arXiv 2411.04549",
        reasoning="yes", code="our wording",
    ),
    _question(
        "topreward", "log P(True | the video completes the task), between fixed bounds",
        (_per_step(1), _prefixes(topreward.MAX_FRAMES)), "TOPReward, arXiv 2602.19313",
        reasoning="no", needs=_LOCAL, code="published code: MIT",
    ),
    _question(
        "topreward-odds", "P(True) / (P(True) + P(False)) of the same claim",
        (_per_step(1), _prefixes(topreward.MAX_FRAMES)), "TOPReward, arXiv 2602.19313",
        reasoning="no", needs=_LOCAL, code="published code: MIT",
    ),
    _question(
        "topreward-chat", "the same odds of the first word of a chat reply",
        (_per_step(1), _prefixes(topreward.MAX_FRAMES)), "TOPReward, arXiv 2602.19313",
        reasoning="no", code="our wording",
    ),
    _question(
        "roboreward", "grade 1 to 5 of the video so far, judged by its last frame",
        (_per_step(1), _prefixes(roboreward.MAX_FRAMES)),
        "RoboReward, arXiv 2601.00675, teetone/RoboReward-4B and -8B",
        code="RoboReward weights and rubric: CC-BY-4.0",
    ),
    _question(
        "vlac", "signed change since the frame before, added up within 0..100",
        (_per_step(1), _per_step(2)), "VLAC, arXiv 2509.15937", code=_WORDS,
    ),
    _question(
        "lrm", "mean of the three below", (_per_step(4), _per_step(7)),
        "Large Reward Models, arXiv 2603.16065", code=_WORDS,
    ),
    _question(
        "lrm-contrastive", "which of two frames is nearer to the goal, in both orders, added up",
        (_per_step(2), _per_step(4)), "Large Reward Models, arXiv 2603.16065", code=_WORDS,
    ),
    _question(
        "lrm-progress", "share complete, beside the first frame",
        (_per_step(1), _per_step(2)), "Large Reward Models, arXiv 2603.16065", code=_WORDS,
    ),
    _question(
        "lrm-completion", "whether the task is complete in the current frame",
        (_per_step(1), _per_step(1)), "Large Reward Models, arXiv 2603.16065", code=_WORDS,
    ),
    _question(
        "rlvlmf", "which of two frames is preferred, in both orders, added up",
        (_per_step(2), _per_step(4)), "RL-VLM-F, arXiv 2402.03681", code=_WORDS,
    ),
    Entry(
        "vlmrm:CLIP", "nearness to a goal sentence in CLIP's space, seen from a baseline sentence",
        "a CLIP of transformers; the external view", "0.6 GB with ViT-B/32", "no", True,
        "of the CLIP asked (OpenAI's: MIT); our wording", "VLM-RM, arXiv 2310.12921",
        lambda n_frames: n_frames, lambda n_frames: n_frames,
    ),
    Entry(
        "http://HOST:PORT", "whatever a sole serve judges with", "extra client", "on the server",
        "with --think", True, "of the model served", "ours", None, None,
    ),
    _control("ramp", "100 t / (T - 1): blind, and hard to beat on successful videos"),
    _control("random", "a smooth curve that means nothing"),
    _control("constant:50", "always the same number, any percent"),
    _control("oracle", "the simulator's truth", running=False),
)  # fmt: skip
"""In the order of the documentation."""

CONTROLS = frozenset(entry.name.partition(":")[0] for entry in CATALOGUE if entry.calls is _none)
"""First words of the names that ask no model at all: what a real one is compared with."""
