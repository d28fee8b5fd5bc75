"""All 50 Meta-World tasks keep the contract of a task environment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sole.errors import ConfigError, SimError
from sole.rl.tasks import make_task
from sole.sims.base import check_task_env
from sole.sims.metaworld import MetaWorldEnv
from sole.sims.metaworld_tasks import TASKS
from sole.sims.registry import make_env
from sole.sims.staged import NEARLY, fraction, from_start, staged_progress


@pytest.mark.parametrize("name", sorted(TASKS))
def test_task_keeps_the_contract(name):
    env = MetaWorldEnv(name, size_px=48)
    check_task_env(env, n_steps=2)
    env.close()


@pytest.mark.parametrize(
    "name", ["button-press-topdown", "reach", "plate-slide-side", "pick-place"]
)
def test_expert_reaches_success(name):
    env = MetaWorldEnv(name)
    env.reset(seed=1)
    curve = []
    for _ in range(env.max_steps):
        env.step(env.expert_action())
        curve.append(env.truth())
    assert any(success for _, success, _ in curve)
    assert max(progress for progress, _, _ in curve) == 100.0


def test_reset_with_a_seed_repeats_the_episode():
    env = MetaWorldEnv("push-back", size_px=48)
    pictures = []
    for _ in range(2):
        observation, _ = env.reset(seed=11)
        for _ in range(3):
            observation = env.step(np.full(4, 0.5))[0]
        pictures.append((observation, env.views()["external"]))
        env.step(np.ones(4))  # leave a trace that the next reset must wipe out
    np.testing.assert_array_equal(pictures[0][0], pictures[1][0])
    np.testing.assert_array_equal(pictures[0][1], pictures[1][1])
    env.close()


def test_look_changes_colours_and_comes_off_again():
    env = MetaWorldEnv("plate-slide-side", size_px=48)
    stock = _picture(env, None)
    assert np.abs(stock.astype(int) - _picture(env, 3)).max() > 20
    np.testing.assert_array_equal(stock, _picture(env, None))
    env.close()


def _picture(env, look):
    env.reset(seed=0, options={} if look is None else {"look": look})
    return env.views()["external"]


def test_paraphrase_replaces_the_sentence():
    env = MetaWorldEnv("reach")
    env.reset(seed=0, options={"task": "go to the marker"})
    assert env.task == "go to the marker"


@pytest.mark.parametrize("name", ["drawer-open", "robosuite/drawer-open", "metaworld/drawer-opn"])
def test_an_unknown_task_is_refused_with_the_few_that_may_be_meant(name):
    with pytest.raises(ConfigError, match=r"did you mean .*metaworld/drawer-open") as refused:
        make_env(name)
    assert len(str(refused.value)) < 300


fractions = st.floats(-1.5, 1.0)


@given(fractions, st.booleans(), fractions, st.booleans())
def test_progress_is_100_exactly_at_success(reach, contact, done, success):
    progress = staged_progress(
        reach_fraction=reach, contact=contact, done_fraction=done, success=success
    )
    assert -100 <= progress <= 100
    assert (progress == 100) == success
    assert success or progress <= NEARLY


@given(fractions, fractions, st.booleans(), fractions)
def test_progress_rises_with_reach_and_with_the_motion(a, b, contact, other):
    low, high = min(a, b), max(a, b)
    for kind in ("reach_fraction", "done_fraction"):
        rest = {"reach_fraction": other, "done_fraction": other}
        less = staged_progress(contact=contact, success=False, **{**rest, kind: low})
        more = staged_progress(contact=contact, success=False, **{**rest, kind: high})
        assert more >= less - 1e-9


@given(st.floats(0.001, 1), st.floats(0, 1), st.floats(0, 0.1))
def test_fraction_is_zero_at_the_start_and_one_within_the_slack(start, now, slack):
    assert fraction(start, start, 0.0) == pytest.approx(0.0)
    assert -1.5 <= fraction(start, now, slack) <= 1.0


@given(st.floats(-100, 95), st.floats(0, 60))
def test_shift_keeps_order_and_limits(progress, at_start):
    shifted = from_start(progress, at_start)
    assert -100 <= shifted <= NEARLY + 1e-9
    assert from_start(at_start, at_start) == pytest.approx(0.0, abs=1e-9)


def test_a_relative_state_ends_with_the_ways_to_the_object_and_from_there_to_the_goal():
    env = make_task("metaworld/push", relative_state=True)
    assert isinstance(env, MetaWorldEnv)
    state, _ = env.reset(seed=3)
    plain = make_task("metaworld/push")
    assert plain.observation_space.shape == (39,)
    np.testing.assert_array_equal(plain.reset(seed=3)[0], state[:39])
    for _ in range(3):
        assert state.shape == env.observation_space.shape
        facts = env.truth()[2]
        assert state[39:42] == pytest.approx(state[4:7] - state[:3], abs=1e-6)
        assert state[42:45] == pytest.approx(env._env._target_pos - state[4:7], abs=1e-6)
        assert np.linalg.norm(state[42:45]) == pytest.approx(facts["object_to_goal_m"], abs=1e-3)
        state = env.step(env.expert_action())[0]


@pytest.mark.parametrize("action", [np.full(4, np.nan), np.zeros(3), np.zeros(7)])
@pytest.mark.parametrize("name", ["metaworld/door-close", "worlds/drawer-open"])
def test_a_broken_policy_is_an_error_and_never_a_success(name, action):
    """MuJoCo puts the scene back when it meets NaN, and Meta-World's door is closed there."""
    env = make_env(name, **({"seed": 1} if name.startswith("worlds/") else {}))
    env.reset(seed=1)
    with pytest.raises(SimError, match="expected an action"):
        env.step(action)
    assert not env.truth()[1]
