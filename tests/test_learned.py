"""Reward models that sole fit trains: what they learn of a toy, their contract, their folder."""

import json
import shutil

import numpy as np
import pytest

from sole.data.episode import Episode, make_example_episode
from sole.data.lerobot import EpisodeWriter
from sole.errors import ModelError
from sole.rewarders.base import StepsTogether
from sole.rewarders.check import check_reward_model
from sole.rewarders.load import load_reward_model
from sole.train import fit_loop
from sole.train.fit import ClassifierConfig, RewindConfig

TASK = "grow the square"
SMALL = {"grid": 2, "hidden_size": 32, "threads": 1, "steps": 120, "frames_per_episode": 10}


def film(sides_px, seed=0):
    """A grey room in which a red square has these sides, somewhere around the middle."""
    rng = np.random.default_rng(seed)
    frames = np.full((len(sides_px), 96, 96, 3), rng.integers(60, 160), np.uint8)
    y, x = rng.integers(2, 12, 2)
    for frame, side in zip(frames, sides_px, strict=True):
        frame[y : y + int(side), x : x + int(side)] = (200, 30, 30)
    return Episode(TASK, {"external": frames}, fps=10)


def growing(seed, n_frames=12):
    return film(np.linspace(4, 80, n_frames), seed)


def data_set(folder, episodes):
    with EpisodeWriter(folder, fps=10) as writer:
        for episode in episodes:
            writer.add(episode)
    return folder


@pytest.fixture(scope="module")
def rewind(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rewind")
    data = data_set(folder / "data", [growing(seed, 10) for seed in range(8)])
    return fit_loop.train(RewindConfig(data=(data,), out=folder / "model", **SMALL))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    data = data_set(folder / "data", [growing(seed, 10) for seed in range(5)])
    failed = data_set(folder / "failed", [film(np.linspace(4, 40, 10), s) for s in range(3)])
    config = ClassifierConfig(data=(data,), failed=(failed,), out=folder / "model", **SMALL)
    return fit_loop.train(config)


@pytest.mark.parametrize("kind", ["rewind", "classifier"])
def test_a_fitted_folder_keeps_the_contract_of_a_reward_model(kind, request):
    model = load_reward_model(str(request.getfixturevalue(kind)))
    check_reward_model(model, [growing(90), growing(91, 5), make_example_episode(4)])
    assert model.model_id.startswith(f"{kind}-")
    assert isinstance(model, StepsTogether)


def test_progress_rises_with_what_is_shown_and_falls_when_that_is_undone(rewind):
    sides = np.linspace(4, 80, 12)
    there_and_back = np.concatenate([sides, sides[::-1][1:]])
    model = load_reward_model(str(rewind))
    forwards, back = model.score([film(sides, 77), film(there_and_back, 77)])
    curve = forwards.judged_progress
    assert np.corrcoef(curve, np.arange(12))[0, 1] > 0.9
    assert curve[-1] > 70
    again = back.judged_progress
    assert again[11] - again[-1] > 40
    assert np.isnan(back.judged_success).all()


def test_a_still_film_makes_no_progress(rewind):
    still = load_reward_model(str(rewind)).score([film(np.full(12, 4), 78)])[0]
    assert still.judged_progress[-1] < 40


def test_the_classifier_separates_what_is_done_from_what_is_not(classifier):
    model = load_reward_model(str(classifier))
    done, not_done = model.score([growing(77), film(np.linspace(4, 40, 12), 78)])
    assert done.judged_success[-1] > 0.8
    assert not_done.judged_success.max() < 0.5
    assert done.judged_success[:6].max() < 0.5
    np.testing.assert_allclose(done.judged_progress[1:], 100 * done.judged_success[1:], rtol=1e-5)


@pytest.mark.parametrize("kind", ["rewind", "classifier"])
def test_sessions_together_answer_as_each_by_itself(kind, request):
    model = load_reward_model(str(request.getfixturevalue(kind)))
    films = [growing(81), growing(82)]
    sessions = [model.start(f.task) for f in films]
    together = [
        model.step_sessions(sessions, [{"external": f.views["external"][t]} for f in films])
        for t in range(6)
    ]
    for k, score in enumerate(model.score(films)):
        joint = [row[k].progress for row in together]
        np.testing.assert_allclose(joint, score.judged_progress[:6], atol=0.01)


def test_frames_between_scored_ones_are_interpolated(rewind):
    model = load_reward_model(str(rewind), every=5)
    score = model.score([growing(83)])[0]
    assert [s.scored for s in score.steps] == [t in (0, 5, 10, 11) for t in range(12)]
    assert model.costs.model_calls == 3


def test_a_session_of_another_model_is_refused(rewind, classifier):
    one, other = load_reward_model(str(rewind)), load_reward_model(str(classifier))
    with pytest.raises(ValueError, match="expected those"):
        one.step_sessions([other.start(TASK)], [{"external": growing(1).views["external"][0]}])


@pytest.mark.parametrize("damage", ["vocabulary.json", "model.safetensors", "config.json"])
def test_a_damaged_folder_is_refused_by_name(rewind, tmp_path, damage):
    folder = tmp_path / "model"
    shutil.copytree(rewind, folder)
    if damage == "config.json":
        config = json.loads((folder / damage).read_text())
        (folder / damage).write_text(json.dumps({**config, "hidden_size": 33}))
    else:
        (folder / damage).write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_reward_model(str(folder))


def test_a_number_that_is_none_is_the_models_failure_and_not_the_pictures(rewind, monkeypatch):
    """A server repeats a batch that a wrong picture broke; this one may have moved its sessions."""
    model = load_reward_model(str(rewind))
    monkeypatch.setattr(model.network, "ask", lambda features, task, state: ([np.nan], state))
    session = model.start(TASK)
    with pytest.raises(ModelError, match="weights are damaged"):
        session.step({"external": np.zeros((96, 96, 3), np.uint8)})
