"""A robot on the wall clock: a fixed rate, judging beside it, and a stop at every end."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fake_env import LeakyEnv, PointEnv
from test_rl_any_env import TheirEnv
from test_rl_relabel import SecretiveEnv

from sole.data.episode import StepScore
from sole.errors import ModelError, ServerError
from sole.rewarders.controls import Constant, Ramp
from sole.rl.closed_loop import play
from sole.rl.completion import CompletionGuard, look_again
from sole.rl.judge import Judge
from sole.rl.realtime import Pace, run_real_time
from sole.rl.sim_robot import SimulatedRobot
from sole.rl.wrapper import SoleRewardWrapper

TASK = "move the point to the goal"
PACE = Pace(control_hz=10.0, duration_s=1.0, judge_every=2, lost_after_s=5.0)


class StepClock:
    """Time passes only when somebody sleeps; threads that were begun get to run meanwhile."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        time.sleep(0.002)


class Quick(Constant):
    """Judges at once, in the thread that asks: success when the red pixel is far up."""

    def start(self, task):
        return self

    def step(self, views):
        row = np.argwhere(views["external"][..., 0])[0][0]
        return StepScore(float(row), success_probability=float(row >= 9))


class Stuck(Constant):
    """A server that answers the first moment and then no more, until it is let go."""

    def __init__(self):
        super().__init__(0.0)
        self.let_go = threading.Event()
        self.n_asked = 0

    def start(self, task):
        return self

    def step(self, views):
        self.n_asked += 1
        if self.n_asked > 1:
            self.let_go.wait(10)
        return StepScore(0.0)


class Gone(Constant):
    def __init__(self, error):
        super().__init__(0.0)
        self._error = error

    def start(self, task):
        return self

    def step(self, views):
        raise self._error


def robot(clock, env=None, **delays) -> SimulatedRobot:
    made = SimulatedRobot(env or PointEnv(), clock=clock, **delays)
    made.reset(seed=0)
    return made


def up(state):
    return np.array([0.0, 1.0], np.float32)


def settle(clock: StepClock, judged, n: int) -> None:
    for _ in range(1000):
        if judged() >= n:
            return
        time.sleep(0.005)


def test_decisions_come_at_the_control_rate():
    clock, at = StepClock(), []
    arm = robot(clock)
    act, arm.act = arm.act, lambda a: (at.append(clock.now), act(a))[1]
    episode = run_real_time(arm, up, Quick(0.0), TASK, PACE, clock=clock)
    np.testing.assert_allclose(at, np.arange(10) / 10, atol=1e-9)
    assert (episode.end, episode.n_skipped_ticks, len(episode.observations)) == ("time", 0, 11)
    assert arm.stopped


def test_a_slow_policy_loses_decisions_and_never_hurries_after_them():
    clock, at = StepClock(), []
    arm = robot(clock)

    def slow(state):
        at.append(clock.now)
        clock.now += 0.25 if len(at) == 3 else 0.0
        return up(state)

    episode = run_real_time(arm, slow, Quick(0.0), TASK, PACE, clock=clock)
    assert episode.ticks == [0, 1, 2, 5, 6, 7, 8, 9]
    assert episode.n_skipped_ticks == 2
    np.testing.assert_allclose(at, np.array(episode.ticks) / 10, atol=1e-9)


def test_the_loop_goes_on_while_the_judge_is_busy():
    clock, model = StepClock(), Stuck()
    episode = run_real_time(robot(clock), up, model, TASK, PACE, clock=clock)
    assert len(episode.actions) == 10
    assert episode.n_skipped_judgements >= 3
    assert model.n_asked == 2


@pytest.mark.parametrize("error", [ServerError("gone"), ModelError("broken")])
def test_a_lost_reward_model_stops_the_robot(error):
    clock = StepClock()
    arm = robot(clock)
    episode = run_real_time(arm, up, Gone(error), TASK, PACE, clock=clock)
    assert episode.end == "reward_lost"
    assert episode.error == str(error)
    assert arm.stopped
    assert len(episode.actions) < 10
    assert episode.judgement(Judge(Constant(0.0))).rewards is None


def test_a_judge_that_does_not_answer_stops_the_robot_in_time():
    clock, model = StepClock(), Stuck()
    arm = robot(clock)
    pace = Pace(control_hz=10.0, duration_s=60.0, judge_every=2, lost_after_s=1.0)
    episode = run_real_time(arm, up, model, TASK, pace, clock=clock)
    model.let_go.set()
    assert episode.end == "reward_lost"
    assert arm.stopped
    assert len(episode.actions) <= 2 + 1 + 10 + 1


class Mumbling(Constant):
    """Only every n-th reply can be read."""

    def __init__(self, every: int):
        super().__init__(0.0)
        self.every, self.asked = every, 0

    def start(self, task):
        return self

    def step(self, views):
        self.asked += 1
        bad = self.asked % self.every != 0
        return StepScore(None, error="no number") if bad else StepScore(5.0)


def test_a_judge_that_cannot_be_read_for_too_long_stops_the_robot():
    pace = Pace(control_hz=10.0, duration_s=6.0, judge_every=1, lost_after_s=1.0)
    clock = StepClock()
    arm = robot(clock)
    episode = run_real_time(arm, up, Mumbling(1000), TASK, pace, clock=clock)
    assert episode.end == "reward_lost"
    assert "no readable judgement for 1" in episode.error
    assert "no number" in episode.error
    assert arm.stopped
    assert 10 <= len(episode.actions) < 60
    assert episode.judgement(Judge(Constant(0.0))).rewards is None


def test_single_replies_that_cannot_be_read_stop_nothing_however_seldom_the_judge_is_asked():
    pace = Pace(control_hz=10.0, duration_s=6.0, judge_every=15, lost_after_s=1.0)
    clock = StepClock()
    episode = run_real_time(robot(clock), up, Mumbling(2), TASK, pace, clock=clock)
    assert episode.end == "time"
    assert any(step.error is not None for step in episode.steps)


def test_the_robot_is_stopped_when_the_policy_fails():
    clock = StepClock()
    arm = robot(clock)

    def broken(state):
        raise RuntimeError("no action")

    with pytest.raises(RuntimeError, match="no action"):
        run_real_time(arm, broken, Quick(0.0), TASK, PACE, clock=clock)
    assert arm.stopped


def test_judged_completion_ends_the_episode_and_its_rewards_are_those_of_the_judge():
    clock = StepClock()
    guard = CompletionGuard(at=0.9, in_a_row=1)
    pace = Pace(control_hz=10.0, duration_s=60.0, judge_every=1, lost_after_s=5.0)
    arm = robot(clock)
    episode = run_real_time(arm, up, Quick(0.0), TASK, pace, guard=guard, clock=clock)
    assert episode.end == "completed"
    assert arm.stopped
    judgement = episode.judgement(Judge(Constant(0.0)))
    assert judgement.rewards is not None
    assert len(judgement.rewards) == len(episode.actions)
    last = episode.judged_ticks[-1]
    assert judgement.judged_progress[last] == episode.steps[-1].progress


def test_an_action_takes_effect_after_its_delay():
    clock = StepClock()
    arm = robot(clock, action_delay_s=0.25)
    before = arm.observe()[0]
    arm.act(np.array([1.0, 1.0]))
    for _ in range(3):
        clock.now += 0.1
        np.testing.assert_array_equal(arm.observe()[0], before)
    clock.now += 0.1
    assert arm.observe()[0][0] > before[0]


def test_pictures_are_as_old_as_their_delay():
    clock = StepClock()
    arm, old = robot(clock), robot(clock, picture_delay_s=0.2)
    for one in (arm, old):
        one.act(np.array([1.0, 0.0]))
    now = []
    for _ in range(6):
        now.append(arm.observe()[0][0])
        late = old.observe()[0][0]
        assert late == now[max(0, len(now) - 3)]
        clock.now += 0.1


def test_a_stopped_robot_holds_still():
    clock = StepClock()
    arm = robot(clock)
    arm.act(np.array([1.0, 1.0]))
    clock.now += 0.2
    arm.stop()
    there = arm.observe()[0]
    clock.now += 0.5
    np.testing.assert_array_equal(arm.observe()[0], there)


@pytest.mark.parametrize("env", [LeakyEnv, SecretiveEnv])
def test_a_real_time_episode_touches_neither_reward_nor_truth(env):
    clock = StepClock()
    episode = run_real_time(robot(clock, env()), up, Ramp(11), TASK, PACE, clock=clock)
    assert len(episode.actions) == 10


def test_it_also_runs_on_the_real_clock_with_late_pictures_and_actions():
    arm = SimulatedRobot(PointEnv(), action_delay_s=0.02, picture_delay_s=0.03)
    arm.reset(seed=0)
    pace = Pace(control_hz=20.0, duration_s=0.5, judge_every=2, lost_after_s=30.0)
    began = time.monotonic()
    episode = run_real_time(arm, up, Ramp(11), TASK, pace)
    assert time.monotonic() - began >= 0.5
    assert len(episode.actions) + episode.n_skipped_ticks == 10
    assert episode.end == "time"


@pytest.mark.parametrize("values", [(0, 1), (1, 0), (-1, 1)])
def test_a_pace_of_nothing_is_refused(values):
    with pytest.raises(ValueError, match="positive"):
        Pace(*values)


def said(probability: float | None) -> StepScore:
    return StepScore(50.0, success_probability=probability)


def guard_over(probabilities, **settings) -> list[bool]:
    guard = CompletionGuard(at=0.5, **settings)
    view = {"external": np.zeros((4, 4, 3), np.uint8)}
    return [guard.complete(said(p), view) for p in probabilities]


def test_one_confident_moment_ends_nothing():
    assert guard_over([0.9, 0.1, 0.9, None, 0.9], in_a_row=2) == [False] * 5
    assert guard_over([0.1, 0.9, 0.5], in_a_row=2) == [False, False, True]


def test_a_second_look_that_disagrees_begins_the_count_anew():
    looks = []

    def second_look(film):
        looks.append(len(film))
        return len(looks) == 2

    found = guard_over([0.9] * 4, in_a_row=2, second_look=second_look)
    assert found == [False, False, False, True]
    assert looks == [2, 4]


def test_the_second_look_sees_altered_copies_and_needs_all_of_them():
    class Picky(Constant):
        n_seen = 0

        def __init__(self, doubts: int):
            super().__init__(50.0)
            self._doubts = doubts

        def score(self, episodes):
            self.n_seen += len(episodes)
            scores = super().score(episodes)
            sure = [0.1 if k < self._doubts else 0.9 for k in range(len(episodes))]
            return [
                type(s)((*s.steps[:-1], said(p)), s.model_id)
                for s, p in zip(scores, sure, strict=True)
            ]

    film = [{"external": np.full((8, 8, 3), k, np.uint8)} for k in range(3)]
    for doubts, expected in ((0, True), (1, False)):
        model = Picky(doubts)
        assert look_again(model, TASK, 0.5, copies=3)(film) is expected
        assert model.n_seen == 3


class Kept(Constant):
    """Counts its sessions that were opened and not closed, as a server does."""

    def __init__(self):
        super().__init__(50.0)
        self.n_open = 0

    def start(self, task):
        self.n_open += 1
        return self

    def step(self, views):
        return StepScore(50.0, success_probability=0.0)

    def close(self):
        self.n_open -= 1


def test_sessions_that_a_server_keeps_are_closed():
    model = Kept()
    clock = StepClock()
    run_real_time(robot(clock), up, model, TASK, PACE, clock=clock)
    settle(clock, lambda: -model.n_open, 0)
    assert model.n_open == 0
    play(
        [PointEnv(), PointEnv()],
        [0, 1],
        lambda states: (np.zeros((2, 2)), np.zeros((2, 2))),
        Judge(model, discount=0.9),
    )
    assert model.n_open == 0
    env = SoleRewardWrapper(TheirEnv(), model, TASK, {"external": "image"})
    for _ in range(3):
        env.reset(seed=0)
        env.step(np.zeros(2))
    assert model.n_open == 1
    env.close()
    assert model.n_open == 0


_STUCK = """
import threading
from test_rl_realtime import *
model = Stuck()
model.let_go.wait = lambda _: threading.Event().wait(60)
assert run_real_time(
    robot(time), up, model, TASK, Pace(50.0, 2.0, 1, lost_after_s=0.2)
).end == "reward_lost"
"""


def test_a_reward_model_that_never_answers_does_not_keep_python_from_ending():
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", _STUCK], check=True, cwd=Path(__file__).parent)
    assert time.monotonic() - began < 50
