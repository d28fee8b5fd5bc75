"""When an episode may end because its task was judged complete, and what keeps that honest.

An agent that is paid for completion finds whatever looks complete. So one confident moment ends
nothing: the judge must be confident several times in a row, and then a second look, at altered
copies of the whole film, must find it complete in every one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sole.data.episode import Episode, StepScore
from sole.rewarders.base import RewardModel
from sole.rewarders.ensemble import EnsembleRewardModel

Views = dict[str, np.ndarray]
#: Whether the film so far, one entry for each judged moment, shows a completed task.
SecondLook = Callable[[Sequence[Views]], bool]


@dataclass
class CompletionGuard:
    """Watches one episode; make a new one for the next.

    Attributes:
        at: Success probability that counts as complete, in (0, 1).
        in_a_row: Judged moments that must be complete one after the other.
        second_look: Asked only then; when it disagrees, counting begins anew. None asks nobody.
        n_refused: How often it disagreed.
    """

    at: float
    in_a_row: int = 2
    second_look: SecondLook | None = None
    n_refused: int = 0
    _film: list[Views] = field(default_factory=list)
    _count: int = 0

    def complete(self, step: StepScore, views: Views) -> bool:
        """Take the next judged moment; whether the episode may end here."""
        self._film.append(views)
        said = step.success_probability
        self._count = self._count + 1 if said is not None and said >= self.at else 0
        if self._count < self.in_a_row:
            return False
        if self.second_look is None or self.second_look(self._film):
            return True
        self.n_refused += 1
        self._count = 0
        return False


def look_again(model: RewardModel, task: str, at: float, copies: int = 3) -> SecondLook:
    """A second look by the same model at altered copies of the film, the film itself left out.

    Args:
        model: Any that says a success probability.
        task: The instruction.
        at: Probability that the last moment must reach in every copy.
        copies: Of the film.
    """
    ensemble = EnsembleRewardModel([model], copies + 1, first_copy=1)

    def second_look(film: Sequence[Views]) -> bool:
        views = {name: np.stack([moment[name] for moment in film]) for name in film[0]}
        last = ensemble.score([Episode(task, views)])[0].steps[-1]
        return last.success_probability is not None and last.success_probability >= at

    return second_look
