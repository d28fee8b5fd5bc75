"""Scenes changed when they are drawn: pictures change, the truth and the usual pictures do not."""

import dataclasses

import numpy as np
import pytest

from sole.errors import DataError
from sole.evals.refilm import SIM_ATTACKS, Refilm, can_refilm
from sole.sims import restage
from sole.sims.registry import make_env
from sole.synth.collect import collect_episode

STRONG = [(name, 1.0) for name in SIM_ATTACKS]


@pytest.fixture(scope="module")
def film():
    """A short episode of our own worlds, and what each attack makes of it."""
    episode = collect_episode("worlds/drawer-open", "undo", 5, size_px=48, n_frames=4)
    camera = Refilm(seed=3)
    found = camera.film(episode, [*STRONG, ("clutter_sim", 0.25)])
    camera.close()
    return episode, found


def share_changed(one, two, view):
    return float(np.mean((one.views[view] != two.views[view]).any(axis=-1)))


@pytest.mark.parametrize("name", SIM_ATTACKS)
def test_pictures_change_and_the_truth_does_not(film, name):
    episode, found = film
    after = found[name, 1.0]
    assert share_changed(episode, after, "external") > 0.01
    assert after.truth is episode.truth
    assert after.views["external"].shape == episode.views["external"].shape


def test_only_the_outside_camera_is_moved(film):
    episode, found = film
    assert share_changed(episode, found["camera_sim", 1.0], "wrist") == 0.0
    assert (
        share_changed(episode, found["lighting_sim", 1.0], "wrist") > 0.1
    )  # what is black or white already stays so


def test_a_weaker_attack_is_part_of_a_stronger_one(film):
    episode, found = film
    weak, strong = (found["clutter_sim", s] for s in (0.25, 1.0))
    assert 0 < share_changed(episode, weak, "external") < share_changed(episode, strong, "external")


def test_the_environment_draws_as_before_when_the_change_is_over():
    env = make_env("worlds/drawer-open", seed=5, size_px=48)
    env.reset(seed=5)
    before = env.views()
    with restage.restaged(env, restage.relit(1.0, np.random.default_rng(0))):
        changed = env.views()
    after = env.views()
    env.close()
    assert not np.array_equal(changed["external"], before["external"])
    for name, picture in before.items():
        np.testing.assert_array_equal(after[name], picture)


def test_twins_look_finished_and_stand_apart():
    env = make_env("worlds/drawer-open", seed=5, size_px=48)
    finished = restage.finished_object(env, 5, 30)
    env.reset(seed=5)
    start = restage.object_shapes(env)
    env.close()
    assert len(finished) == len(start) > 3
    moved = [np.abs(a.pos - b.pos).max() for a, b in zip(finished, start, strict=True)]
    assert max(moved) > 0.05, "the drawer of the finished one is open"
    assert min(moved) < 1e-6, "its cabinet stands where it stood"


def test_another_truth_than_the_recorded_one_is_an_error(film):
    episode, _ = film
    truth = dataclasses.replace(episode.truth, true_progress=episode.truth.true_progress - 1.0)
    with pytest.raises(DataError, match=r"differs by up to 1\.0 points"):
        Refilm().film(dataclasses.replace(episode, truth=truth), [("lighting_sim", 1.0)])


def test_recorded_and_other_suites_episodes_cannot_be_filmed_again(film):
    episode, _ = film
    assert can_refilm(episode)
    assert not can_refilm(dataclasses.replace(episode, policy="teleoperated"))
    assert not can_refilm(dataclasses.replace(episode, env_name="robosuite/Lift"))


@pytest.mark.slow
def test_metaworld_comes_out_of_its_simulator_the_same_again():
    camera = Refilm()
    for policy in ("expert", "random"):
        episode = collect_episode("metaworld/dial-turn", policy, 900_000_001, n_frames=6)
        found = camera.film(episode, STRONG)
        assert all(share_changed(episode, f, "external") > 0.01 for f in found.values())
    camera.close()
