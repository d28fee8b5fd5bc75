"""VLM-RM: the published formula by hand, and a CLIP of transformers behind it."""

import numpy as np
import pytest
from fake_backend import film
from tiny_clip import make_tiny_clip
from tiny_vlm import make_tiny_qwen3

from sole.data.episode import make_example_episode
from sole.errors import ConfigError
from sole.rewarders.check import check_reward_model
from sole.rewarders.load import load_reward_model
from sole.rewarders.vlmrm import BASELINE, GOAL, VlmRmModel, goal_baseline_reward

GOAL_AT, BASELINE_AT = np.array([1.0, 0.0]), np.array([0.0, 1.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_clip(tmp_path_factory.mktemp("clip"))


def unit(degrees):
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


def model_of(**settings):
    """Pictures lie at as many degrees from the goal as their grey value says."""
    asked = []

    def texts(sentences):
        asked.append(sentences)
        return np.array([GOAL_AT, BASELINE_AT])

    def pictures(some):
        return np.array([unit(float(picture[0, 0, 0])) for picture in some])

    model = VlmRmModel("fake", pictures, texts, **settings)
    return model, asked


def test_the_reward_is_the_published_formula():
    x = np.array([0.6, 0.8])
    line = GOAL_AT - BASELINE_AT
    projection = 0.3 * np.outer(line, line) / (line @ line) + 0.7 * np.eye(2)
    by_hand = 1 - 0.5 * np.linalg.norm(projection @ (x - GOAL_AT)) ** 2
    found = goal_baseline_reward(x[None], GOAL_AT, BASELINE_AT, 0.3)
    assert found[0] == pytest.approx(by_hand)


def test_without_regularisation_the_reward_is_the_cosine():
    pictures = np.array([unit(d) for d in (0, 35, 120)])
    found = goal_baseline_reward(pictures, GOAL_AT, BASELINE_AT, 0.0)
    np.testing.assert_allclose(found, pictures @ GOAL_AT)


def test_a_goal_that_is_the_baseline_leaves_what_is_not_regularised():
    found = goal_baseline_reward(np.array([unit(60)]), GOAL_AT, GOAL_AT, 0.5)
    assert found[0] == pytest.approx(1 - 0.25 * 0.5 * np.linalg.norm(unit(60) - GOAL_AT) ** 2)


def test_progress_is_the_share_of_the_way_from_the_start_to_the_goal():
    model, asked = model_of(alpha=0.0)
    steps = model.score([film([90, 60, 0, 120])])[0].steps
    assert [round(s.progress, 6) for s in steps] == [0.0, 50.0, 100.0, -50.0]
    assert asked == [[GOAL.format(task="open the drawer"), BASELINE]]


def test_a_first_frame_that_is_the_goal_leaves_no_way_to_go():
    model, _ = model_of(alpha=0.0)
    assert [s.progress for s in model.score([film([0, 0, 90])])[0].steps] == [0, 0, -100]


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_alpha_must_be_a_share(alpha):
    with pytest.raises(ConfigError, match="alpha"):
        model_of(alpha=alpha)


def test_a_clip_of_transformers_keeps_the_contract(folder):
    model = load_reward_model(f"vlmrm:{folder}", device="cpu")
    check_reward_model(model, [make_example_episode(n, 40, seed=n, truth=False) for n in (1, 4, 3)])
    assert model.model_id.startswith("vlmrm:clip0@")
    assert model.score([make_example_episode(3, 40)])[0].steps[1].progress != 0


def test_a_long_sentence_is_cut_to_what_clip_reads(folder):
    model = load_reward_model(f"vlmrm:{folder}", device="cpu")
    assert model.score([film([1, 2], task="open the drawer " * 40)])[0].steps[1].error is None


@pytest.mark.parametrize("name", ["vlmrm:", "vlmrm:nowhere", "vlmrm:lab/clip:published"])
def test_a_wrong_name_is_refused(name):
    with pytest.raises(ConfigError, match="vlmrm"):
        load_reward_model(name)


def test_another_kind_of_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="needs a CLIP"):
        load_reward_model(f"vlmrm:{make_tiny_qwen3(tmp_path)}", device="cpu")
