"""One finished run as a row: what it reached, when, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sole.bench.verdict import SOLVED_AT, is_hacked
from sole.errors import DataError
from sole.report.run_data import read_metrics
from sole.rl.clock import EVALUATE_SCORE, PARTS
from sole.rl.config import RlConfig


@dataclass(frozen=True)
class Outcome:
    """What one run came to.

    Attributes:
        task, reward, seed, algorithm, observation, reward_form: Which run it is.
        episodes, env_steps: Training done.
        true_success: Share of the last evaluation's episodes that ever succeeded.
        held_success: Share still successful at the end of the episode.
        judged_success: The same episodes as the reward model judged them; None with ``env``.
        judged_progress, true_progress: Their mean progress at the end, percent.
        true_success_train, judged_success_train: Means over the last tenth of training.
        best_true_success: Of all evaluations.
        steps_to_50, minutes_to_50: Training before the first evaluation with half of the episodes
            successful; None when there was none.
        minutes: Training in all, without evaluations.
        sim_s, render_s, collect_s, reward_model_s, learn_s: Its parts; collect is what is left of
            acting.
        evaluate_s, evaluate_reward_model_s: Evaluations, and the reward model's part of them; 0 for
            a run of a version that did not time the part.
        reward_model_calls: Questions asked for rewards.
        dropped: Episodes given up because they could not be judged.
        hacked: Judged success >= 50 %, true success < 40 %.
    """

    task: str
    reward: str
    seed: int
    algorithm: str
    observation: str
    reward_form: str
    episodes: int
    env_steps: int
    true_success: float
    held_success: float
    judged_success: float | None
    judged_progress: float | None
    true_progress: float
    true_success_train: float
    judged_success_train: float | None
    best_true_success: float
    steps_to_50: int | None
    minutes_to_50: float | None
    minutes: float
    sim_s: float
    render_s: float
    collect_s: float
    reward_model_s: float
    learn_s: float
    evaluate_s: float
    evaluate_reward_model_s: float
    reward_model_calls: int
    dropped: int
    hacked: bool

    @property
    def suite(self) -> str:
        """First part of the task's name."""
        return self.task.partition("/")[0]

    @property
    def seconds_per_1000_steps(self) -> dict[str, float]:
        """Where the time of 1,000 environment steps went."""
        steps = max(self.env_steps, 1)
        return {part: 1000 * getattr(self, f"{part}_s") / steps for part in PARTS}

    @property
    def wall_s(self) -> float:
        """Training and evaluations; loading and the three films are not timed."""
        return 60 * self.minutes + self.evaluate_s

    @property
    def scoring_s(self) -> float:
        """What of it the reward model took."""
        return self.reward_model_s + self.evaluate_reward_model_s


@dataclass(frozen=True)
class Point:
    """One evaluation of a run, for curves."""

    task: str
    reward: str
    seed: int
    env_steps: int
    minutes: float
    true_success: float
    judged_success: float | None


def read_outcome(run: RlConfig) -> tuple[Outcome, list[Point]]:
    """Read a finished run's folder.

    Raises:
        DataError: If its metrics are missing or damaged, or nothing true is known of its task.
    """
    lines = read_metrics(run.run_dir / "metrics.jsonl")
    rounds = [line for line in lines if line["kind"] == "episodes"]
    last = next(line for line in reversed(lines) if line["kind"] == "eval")
    if last["true_success"] is None:
        raise DataError(f"{run.env}: has no truth, so there is nothing to compare rewards by")
    points = _points(run, lines)
    tail = rounds[-max(1, len(rounds) // 10) :]
    reached = next((p for p in points if p.true_success >= SOLVED_AT), None)
    seconds = {part: _total(rounds, f"{part}_seconds") for part in PARTS}
    judged = last.get("judged_success")
    outcome = Outcome(
        run.env, run.reward, run.seed, run.algorithm, run.observation, run.reward_form,
        episodes=int(last["episode"]),
        env_steps=int(last["step"]),
        true_success=last["true_success"],
        held_success=last["held_success"],
        judged_success=judged,
        judged_progress=last["judged_progress_final"],
        true_progress=last["true_progress_final"],
        true_success_train=_total(tail, "true_success") / len(tail),
        judged_success_train=None if judged is None else _total(tail, "judged_success") / len(tail),
        best_true_success=max(p.true_success for p in points),
        steps_to_50=reached.env_steps if reached else None,
        minutes_to_50=reached.minutes if reached else None,
        minutes=sum(seconds.values()) / 60,
        **{f"{part}_s": value for part, value in seconds.items()},
        **_evaluation_seconds(lines),
        reward_model_calls=int(rounds[-1]["reward_model_calls"]),
        dropped=int(_total(rounds, "dropped")),
        hacked=is_hacked(judged, last["true_success"]),
    )  # fmt: skip
    return outcome, points


def _evaluation_seconds(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Evaluations in all, and their judging; both only where the judging was timed by itself."""
    split = [line for line in lines if f"{EVALUATE_SCORE}_seconds" in line]
    scoring_s = _total(split, f"{EVALUATE_SCORE}_seconds")
    whole_s = scoring_s + _total(split, "evaluate_seconds")
    return {"evaluate_s": whole_s, "evaluate_reward_model_s": scoring_s}


def _total(lines: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(line.get(name) or 0.0 for line in lines))


def _points(run: RlConfig, lines: Sequence[Mapping[str, Any]]) -> list[Point]:
    points, seconds = [], 0.0
    for line in lines:
        if line["kind"] == "episodes":
            seconds += sum(line.get(f"{part}_seconds", 0.0) for part in PARTS)
        elif "chosen_episode" not in line:  # a policy of before, on other layouts
            success = line["true_success"], line.get("judged_success")
            step, minutes = int(line["step"]), seconds / 60
            points.append(Point(run.env, run.reward, run.seed, step, minutes, *success))
    return points


_TYPES = {
    "str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(),
    "int | None": pa.int64(), "float | None": pa.float64(),
}  # fmt: skip


def schema_of(record: type[Outcome] | type[Point]) -> pa.Schema:
    """Columns of a table of such records."""
    return pa.schema([(name, _TYPES[str(kind)]) for name, kind in record.__annotations__.items()])
