"""A Gymnasium wrapper for a loop of your own: judged progress in place of the reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np

from sole.data.episode import Episode
from sole.errors import ModelError
from sole.rewarders.base import RewardModel, Session, close_session
from sole.rl.views import take_views

_DEFAULT_FPS = 10.0


class SoleRewardWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Pays the change of judged progress; the environment's own reward and info are not passed on.

    With ``when="step"`` every step is judged at once and earns ``(p[t+1] - p[t]) / 100``. With
    ``when="end"`` the whole episode is judged in one call, which is cheaper, and its last step
    earns the progress at the end over 100: the same sum. The first frame is 0 percent.

    The info holds ``judged_progress`` (percent, where it was judged) and nothing else, because an
    environment's own info may tell the truth; what it says is in :attr:`own_info`, for your logs.
    Observations and the end of an episode are passed on as they are: an environment that ends at
    success tells its agent the truth by that, so let a time limit end it.

    Args:
        env: Any environment.
        model: A reward model, for example ``load_reward_model("nano")``.
        task: The instruction, one English sentence.
        views: Source of each picture, see :mod:`sole.rl.views`: ``{"external": "render"}``.
        when: ``step`` or ``end``.
        failure: A judgement that failed keeps the last progress (``hold``), or raises (``raise``).

    Raises:
        ValueError: If ``when`` or ``failure`` is something else.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        model: RewardModel,
        task: str,
        views: Mapping[str, str],
        *,
        when: Literal["step", "end"] = "step",
        failure: Literal["hold", "raise"] = "hold",
    ):
        if when not in {"step", "end"} or failure not in {"hold", "raise"}:
            raise ValueError(
                f"wrapper: expected when step|end, failure hold|raise, got {when}, {failure}"
            )
        super().__init__(env)
        self.model, self.task = model, task
        self._sources, self._when, self._failure = dict(views), when, failure
        self.own_info: dict[str, Any] = {}
        self.n_failures = 0
        self._session: Session | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode, which is judged from here."""
        self._end_session()
        observation, self.own_info = self.env.reset(seed=seed, options=options)
        self._progress = 0.0
        self._frames = [take_views(self.env, observation, self._sources)]
        if self._when == "step":
            self._session = self.model.start(self.task)
            self._session.step(self._frames[0])
        return observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act; the reward is what the judge saw change."""
        observation, _, terminated, truncated, self.own_info = self.env.step(action)
        views = take_views(self.env, observation, self._sources)
        before = self._progress
        if self._session is not None:
            judged = self._session.step(views)
            self._take(judged.progress, judged.error)
        else:
            self._frames.append(views)
            if not (terminated or truncated):
                return observation, 0.0, terminated, truncated, {}
            self._judge_whole()
        reward = (self._progress - before) / 100
        return observation, reward, terminated, truncated, {"judged_progress": self._progress}

    def close(self) -> None:
        """Close the environment; a server forgets the episode."""
        self._end_session()
        super().close()

    def _end_session(self) -> None:
        if self._session is not None:
            close_session(self._session)
            self._session = None

    def _judge_whole(self) -> None:
        names = self._frames[0]
        episode = Episode(
            self.task,
            {name: np.stack([frame[name] for frame in self._frames]) for name in names},
            fps=float(self.env.metadata.get("render_fps") or _DEFAULT_FPS),
        )
        for judged in self.model.score([episode])[0].steps:
            self._take(judged.progress, judged.error)

    def _take(self, progress: float | None, error: str | None) -> None:
        if progress is not None:
            self._progress = progress
            return
        self.n_failures += 1
        if self._failure == "raise":
            raise ModelError(f"{self.model.model_id} failed: {error}; failure='hold' would go on")
