"""Tasks of robosuite, ManiSkill and LIBERO in their simulators; skipped where one is missing."""

import numpy as np
import pytest

from sole.errors import SimError
from sole.sims.base import check_task_env
from sole.sims.registry import SUITES, make_env, task_names

pytestmark = pytest.mark.suites

LIBERO = (
    "KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet",
    "KITCHEN_SCENE1_open_the_bottom_drawer_of_the_cabinet",
    "KITCHEN_SCENE3_turn_on_the_stove",
    "KITCHEN_SCENE8_turn_off_the_stove",
    "KITCHEN_SCENE6_close_the_microwave",
    "KITCHEN_SCENE7_open_the_microwave",
    "put_the_bowl_on_the_plate",
    "KITCHEN_SCENE3_turn_on_the_stove_and_put_the_moka_pot_on_it",  # two goals
)
NAMES = [
    *(name for name in task_names() if name.startswith(("robosuite/", "maniskill/"))),
    *(f"libero/{name}" for name in LIBERO),
]
EXPERTS = ("robosuite/Lift", "robosuite/Stack", "robosuite/Door", "maniskill/PushCube")


def made(name, **options):
    suite = name.partition("/")[0]
    if not SUITES[suite].installed():
        pytest.skip(f"not installed: {SUITES[suite].install}")
    try:
        return make_env(name, size_px=64, **options)
    except SimError as error:
        if "cannot draw" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("name", NAMES)
def test_task_keeps_the_contract(name):
    env = made(name)
    check_task_env(env, n_steps=2)
    views = env.views()
    assert {view: picture.shape for view, picture in views.items()} == {
        "external": (64, 64, 3),
        "wrist": (64, 64, 3),
    }
    assert all(picture.std() > 5.0 for picture in views.values())
    env.close()


@pytest.mark.parametrize("name", EXPERTS)
def test_expert_reaches_success(name):
    env = made(name)
    env.reset(seed=1)
    for _ in range(env.max_steps):
        env.step(env.expert_action())
        progress, success, _ = env.truth()
        assert (progress == 100.0) == success
        if success:
            break
    assert success
    env.close()


@pytest.mark.parametrize("name", ["robosuite/Stack", "maniskill/StackCube", "libero/" + LIBERO[0]])
def test_reset_with_a_seed_repeats_the_episode(name):
    env = made(name)
    ends = []
    for _ in range(2):
        env.reset(seed=11)
        for _ in range(3):
            observation = env.step(np.full(4, 0.5))[0]
        ends.append(observation)
    np.testing.assert_allclose(*ends, atol=1e-5)
    env.close()


@pytest.mark.parametrize("name", ["robosuite/Lift", "robosuite/Door", "maniskill/PushCube"])
def test_what_the_simulator_pays_rises_to_one_with_an_expert(name):
    env = made(name)
    env.reset(seed=1)
    paid = [env.own_reward()]
    while not env.truth()[1] and len(paid) <= env.max_steps:
        env.step(env.expert_action())
        paid.append(env.own_reward())
    env.step(env.expert_action())
    paid.append(env.own_reward())
    assert all(0.0 <= p <= 1.0 + 1e-6 for p in paid)
    assert paid[0] == 0.0
    assert paid[1] < 0.5 < paid[-1]
    env.close()


@pytest.mark.parametrize("name", ["Stack", "Wipe", "PickPlaceCan"])
def test_shaping_changes_what_robosuite_pays_and_nothing_else(name):
    seen, paid = [], []
    for shaping in (True, False):
        env = made(f"robosuite/{name}")
        assert env._env.reward_shaping
        env._env.reward_shaping = shaping
        rng = np.random.default_rng(0)
        seen.append([env.reset(seed=2)[0]])
        for _ in range(6):
            seen[-1].append(env.step(rng.uniform(-1, 1, 4))[0])
            paid.append(env.own_reward())
        env.close()
    np.testing.assert_array_equal(*seen)
    assert paid[:6] != paid[6:]


def test_two_simulators_of_a_task_begin_the_same_seed_alike():
    first, second = made("robosuite/Lift"), made("robosuite/Lift")
    np.testing.assert_array_equal(first._env.cube.size, second._env.cube.size)
    np.testing.assert_array_equal(first.reset(seed=3)[0], second.reset(seed=3)[0])
    first.close()
    second.close()
