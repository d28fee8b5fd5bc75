"""The plug-in for LeRobot's reward models, with the real package (its own environment has it).

``LEROBOT_VENV/bin/python -m pytest -m slow tests/test_lerobot_reward.py`` in a venv with
``lerobot>=0.6`` and ``sole-rewards[client]``; for the server the packages of ``serve``.
"""

import pytest

pytest.importorskip(
    "lerobot.rewards", reason="needs lerobot>=0.6 (Python 3.12), see docs/models.md"
)

import numpy as np
import torch
from lerobot.configs.rewards import RewardModelConfig
from lerobot.rewards import (
    get_reward_model_class,
    make_reward_model,
    make_reward_model_config,
    make_reward_pre_post_processors,
)
from serving import serving

import sole.lerobot_reward  # noqa: F401  registers the type
from sole.rewarders.controls import Constant, RandomWalk

pytestmark = pytest.mark.slow
TOP, WRIST = "observation.images.top", "observation.images.wrist"


@pytest.fixture(scope="module")
def walk():
    with serving(RandomWalk(0)) as running:
        yield running


def config_of(running, **settings):
    return make_reward_model_config("sole", model=running.url, task="open the drawer", **settings)


def frames(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def test_the_type_is_known_to_lerobot_and_leads_to_our_class():
    assert "sole" in RewardModelConfig.get_known_choices()
    assert get_reward_model_class("sole").__module__ == "sole.lerobot_reward.modeling_sole"


def test_clips_are_judged_by_their_last_frame_like_everywhere_else(walk):
    model = make_reward_model(config_of(walk))
    clips = frames(2, 4, 3, 16, 16)
    rewards = model.compute_reward({TOP: clips})
    assert rewards.shape == (2,)
    assert rewards.dtype == torch.float32
    from sole.data.episode import Episode

    episodes = [Episode("open the drawer", {"external": c.movedim(1, -1).numpy()}) for c in clips]
    local = [score.steps[-1].progress / 100 for score in RandomWalk(0).score(episodes)]
    assert rewards.tolist() == pytest.approx(local)


def test_floats_are_the_same_pictures_as_bytes(walk):
    model = make_reward_model(config_of(walk))
    clips = frames(1, 3, 3, 16, 16)
    as_floats = model.compute_reward({TOP: clips.float() / 255})
    assert torch.equal(as_floats, model.compute_reward({TOP: clips}))


def test_single_frames_are_running_episodes_until_they_are_reset(walk):
    model = make_reward_model(config_of(walk))
    film = frames(3, 2, 3, 16, 16)
    steps = [model.compute_reward({TOP: frame}) for frame in film]
    assert steps[0].tolist() == [0.0, 0.0]
    whole = model.compute_reward({TOP: film.transpose(0, 1)})
    assert torch.equal(steps[-1], whole)
    model.reset()
    assert model.compute_reward({TOP: film[2]}).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="reset"):
        model.compute_reward({TOP: film[0][:1]})


def test_both_cameras_and_a_task_of_each_row_are_passed_on(walk):
    model = make_reward_model(config_of(walk, wrist_key=WRIST))
    batch = {TOP: frames(2, 3, 3, 16, 16), WRIST: frames(2, 3, 3, 8, 8, seed=1)}
    ours = model.compute_reward({**batch, "task": ["open it", "open it"]})
    other = model.compute_reward({**batch, "task": ["open it", "close it"]})
    assert ours[0] == other[0]
    assert ours[1] != other[1]


def test_success_is_a_probability():
    with serving(Constant(80)) as running:
        model = make_reward_model(config_of(running, reward="success"))
        assert model.compute_reward({TOP: frames(1, 2, 3, 8, 8)}).tolist() == pytest.approx([0.8])


def test_a_saved_configuration_opens_the_same_judge(walk, tmp_path):
    model = make_reward_model(config_of(walk))
    model.save_pretrained(tmp_path)
    again = make_reward_model(RewardModelConfig.from_pretrained(tmp_path))
    clips = frames(1, 3, 3, 16, 16)
    assert torch.equal(again.compute_reward({TOP: clips}), model.compute_reward({TOP: clips}))


def test_processors_add_a_batch_dimension_and_leave_the_pictures(walk):
    before, _ = make_reward_pre_post_processors(config_of(walk))
    picture = frames(3, 16, 16).float() / 255
    out = before({TOP: picture, "task": "open the drawer"})
    assert torch.equal(out[TOP], picture[None])


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        ({}, "no 'observation.images.top'"),
        ({TOP: torch.zeros(1, 16, 16, 3)}, r"expected \(B, 3, H, W\)"),
        ({TOP: torch.zeros(1, 3, 8, 8, dtype=torch.int64)}, "uint8"),
        ({TOP: torch.zeros(2, 3, 8, 8), "task": ["one"]}, "each of 2 rows"),
    ],
)
def test_what_is_no_batch_is_refused(batch, complaint, walk):
    with pytest.raises(ValueError, match=complaint):
        make_reward_model(config_of(walk)).compute_reward(batch)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"reward": "fun"}, "progress or success"), ({"external_key": None}, "wrist_key or both")],
)
def test_a_wrong_setting_is_refused(settings, complaint):
    from sole.lerobot_reward import SoleConfig

    with pytest.raises(ValueError, match=complaint):
        SoleConfig(**settings)
