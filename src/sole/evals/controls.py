"""Videos that are made of one expert episode to find out what a judge looks at, and what they show.

A judge that counts frames, likes movement or ignores the sentence does well on clean experts. Here
the same episode is frozen, reversed, shuffled, rewound, slowed, shaken, cut and told to be another
task.
Definitions of the metrics: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sole.data.episode import Episode, EpisodeScore, Truth
from sole.evals import metrics
from sole.evals.jumps import cut_clip, follows, jump_cuts
from sole.evals.per_episode import first_success, held, succeeds
from sole.sims.registry import SUITES

#: Judges plain episodes in order; a progress bar may show the name.
Judge = Callable[[Sequence[Episode]], list[EpisodeScore]]
Curves = Mapping[str, np.ndarray]

N_OTHER_SENTENCES = 4
_REWOUND = (25, 50, 75)
_TAIL_FRAMES = 10
_TAIL_FROM_PERCENT = 40.0
_JITTER_PX_AT_96 = 3.0


def control_metrics(judge: Judge, episodes: Sequence[Episode]) -> dict[str, dict[str, float]]:
    """Judge the control videos of one successful expert per task; metrics by task.

    Args:
        judge: Scores episodes; it is given every control video of every task in one list.
        episodes: Of several tasks; a task without a successful expert has no metrics.
    """
    experts = {e.env_name: e for e in reversed(episodes) if e.policy == "expert" and succeeds(e)}
    sentences = _sentences(episodes)
    videos = {task: control_videos(e, sentences) for task, e in experts.items()}
    flat = [video for made in videos.values() for video in made.values()]
    curves = iter([held(score) for score in judge(flat)])
    found: dict[str, dict[str, float]] = {e.env_name: {} for e in episodes}
    for task, made in videos.items():
        found[task] = _read(made, {name: next(curves) for name in made})
    return found


def control_videos(episode: Episode, sentences: Mapping[str, Sequence[str]]) -> dict[str, Episode]:
    """Every control video of one expert episode, by name.

    Args:
        episode: It succeeds; what follows its first success is cut off.
        sentences: The wordings of each task, this one's among them.
    """
    last = first_success(episode)
    n_frames, times = episode.n_frames, np.arange(last + 1)
    forward = episode.subset(times)
    shuffle = np.random.default_rng(0).permutation(np.arange(1, last + 1))
    videos = {
        "forward": forward,
        "static": episode.subset(np.zeros(n_frames, int)),
        "reversed": episode.subset(times[::-1]),
        "shuffled": episode.subset(np.concatenate([[0], shuffle])),
        "tail": _frozen_tail(forward),
        "slow": episode.subset(np.repeat(times, 2)),
        "fast": episode.subset(np.unique([*times[::2], last])),
        "jitter": _shaken(forward),
    }
    for percent in _REWOUND:
        back = np.arange(last, last - max(round(last * percent / 100), 1) - 1, -1)
        videos[f"rewound{percent}"] = episode.subset(np.concatenate([times, back[1:]]))
    for k, cut in enumerate(jump_cuts(_true(forward))):
        videos[f"jump{k}"] = cut_clip(forward, cut)
    if sentence := paraphrase(episode):
        videos["paraphrase"] = replace(forward, task=sentence)
    for k, other in enumerate(other_sentences(episode, sentences)):
        videos[f"other{k}"] = mistold(forward, other)
    return videos


def _read(videos: Mapping[str, Episode], curves: Curves) -> dict[str, float]:
    forward, still = curves["forward"], curves["static"]
    final = float(forward[-1])
    found = {
        # Rounded, because a chain may creep by amounts too small to matter to anyone.
        "voc_static": abs(metrics.voc(np.round(still, 1))),
        "static_drift": metrics.drift(still),
        "static_rise": metrics.rise(still),
        "voc_reversed": metrics.vroc(curves["reversed"]),
        "shuffled_spearman": _against_truth(videos["shuffled"], curves["shuffled"]),
        "tail_rise": metrics.rise(curves["tail"][-_TAIL_FRAMES - 1 :]),
        "speed_shift": float(np.mean([abs(curves[n][-1] - final) for n in ("slow", "fast")])),
        "jitter_shift": abs(float(curves["jitter"][-1]) - final),
        "rewind_kendall": -metrics.kendall_tau_a(
            (0, *_REWOUND), [final, *(curves[f"rewound{p}"][-1] for p in _REWOUND)]
        ),
    }
    if "paraphrase" in curves:
        found["paraphrase_shift"] = abs(float(curves["paraphrase"][-1]) - final)
    if followed := _followed(videos, curves):
        found["anchoring_follow"] = float(np.mean(followed))
    others = [float(curve[-1]) for name, curve in curves.items() if name.startswith("other")]
    if others:
        found["instruction_gap"] = final - others[0]
        found["confusion_gap"] = final - float(np.mean(others))
    return found


def _followed(videos: Mapping[str, Episode], curves: Curves) -> list[bool]:
    """Whether the judge goes along, for each jump cut."""
    cuts = jump_cuts(_true(videos["forward"]))
    names = [f"jump{k}" for k in range(len(cuts))]
    return [
        follows(cut.before, _true(videos[name]), curves[name])
        for cut, name in zip(cuts, names, strict=True)
    ]


def _against_truth(episode: Episode, curve: np.ndarray) -> float:
    return metrics.spearman(curve, _true(episode))


def _true(episode: Episode) -> np.ndarray:
    assert episode.truth is not None
    return episode.truth.true_progress


def _frozen_tail(forward: Episode) -> Episode:
    """The way to two fifths of the task, and then the same picture again and again."""
    stop = int(np.argmax(_true(forward) >= _TAIL_FROM_PERCENT))
    return forward.subset(np.concatenate([np.arange(stop + 1), np.full(_TAIL_FRAMES, stop)]))


def _shaken(forward: Episode) -> Episode:
    """Every frame of every view moved by up to 3 of 96 pixels each way, borders repeated."""
    rng = np.random.default_rng(0)
    views = {}
    for name, frames in forward.views.items():
        most = max(round(_JITTER_PX_AT_96 * frames.shape[1] / 96), 1)
        moved = [_moved(frame, *rng.integers(-most, most + 1, 2)) for frame in frames]
        views[name] = np.stack(moved)
    return replace(forward, views=views)


def _moved(frame: np.ndarray, down: int, right: int) -> np.ndarray:
    height, width = frame.shape[:2]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    return frame[rows][:, np.clip(np.arange(width) - right, 0, width - 1)]


def paraphrase(episode: Episode) -> str | None:
    """Another sentence for the same task, where the suite has one."""
    suite, _, name = episode.env_name.partition("/")
    known = SUITES[suite].tasks.get(name) if suite in SUITES else None
    wordings = (known.sentence, *known.paraphrases) if known else ()
    return next((w for w in wordings if w != episode.task), None)


def mistold(episode: Episode, sentence: str) -> Episode:
    """The episode under another task's sentence, of which it is no progress at all."""
    n_frames = episode.n_frames
    truth = Truth(np.zeros(n_frames, np.float32), np.zeros(n_frames, bool))
    return replace(episode, task=sentence, truth=truth)


def _sentences(episodes: Sequence[Episode]) -> dict[str, list[str]]:
    """Every wording of each task, in the order in which the episodes tell them."""
    found: dict[str, list[str]] = {}
    for episode in episodes:
        told = found.setdefault(episode.env_name, [])
        if episode.task not in told:
            told.append(episode.task)
    return found


def other_sentences(episode: Episode, sentences: Mapping[str, Sequence[str]]) -> list[str]:
    """Sentences of up to four other tasks, the first of them half the alphabet away.

    Args:
        episode: What it is told is none of them, nor any other wording of its task.
        sentences: The wordings of each task; of another one the first is taken.
    """
    names = sorted(sentences)
    place, n = names.index(episode.env_name), len(names)
    steps = [n // 2, n // 4, (3 * n) // 4, n // 2 + 1][:N_OTHER_SENTENCES]
    # Of up to three tasks some of these steps lead back to the task itself.
    chosen = [sentences[names[(place + step) % n]][0] for step in steps if step % n]
    own = {episode.task, *sentences[episode.env_name]}
    return list(dict.fromkeys(s for s in chosen if s not in own))
