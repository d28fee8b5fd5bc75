"""The temperature of nano's number: found again where it is known, and used where it is stored."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_calibration import make_episodes
from tiny import make_tiny_nano
from transformers import AutoTokenizer

from sole.errors import DataError
from sole.evals import temperature
from sole.evals.temperature import (
    Reads,
    collect_reads,
    describe,
    fit_readout_temperature,
    store,
    surprise,
)
from sole.models.nano import SoleNanoConfig
from sole.models.nano.reader import NanoReader
from sole.protocol.readout import PROGRESS_VALUES, read_expectation
from sole.rewarders.sole import SoleRewardModel
from sole.train.average import AverageConfig, average
from sole.train.sft import SftConfig, export, load_model

SPREAD = 8.0


def told(n, sureness, seed=0):
    """Numbers that are off by 8 points, told as if the spread were smaller by sqrt(sureness)."""
    rng = np.random.default_rng(seed)
    true = rng.integers(20, 81, n).astype(float)
    centre = true + rng.normal(0, SPREAD, n)
    logits = -sureness * (PROGRESS_VALUES - centre[:, None]) ** 2 / (2 * SPREAD**2)
    return Reads(logits, true, np.array(["a", "b"] * (n // 2)))


@settings(deadline=None, max_examples=6)
@given(st.floats(0.25, 6))
def test_the_temperature_undoes_too_much_or_too_little_sureness(sureness):
    reads = told(1200, sureness)
    found = fit_readout_temperature(reads.logits, reads.true_progress)
    assert found == pytest.approx(sureness, rel=0.15)
    best = surprise(reads.logits, reads.true_progress, found)
    for other in (0.8, 1.25):
        assert best < surprise(reads.logits, reads.true_progress, found * other)


def test_surprise_is_the_likelihood_of_the_true_integer():
    reads = told(40, 1.0)
    logs = torch.tensor(reads.logits / 1.7).log_softmax(1).numpy()
    expected = -logs[np.arange(40), reads.true_progress.astype(int) + 100].mean()
    assert surprise(reads.logits, reads.true_progress, 1.7) == pytest.approx(expected)


def test_a_description_says_what_the_temperature_does_to_tasks_it_did_not_see():
    found = describe(told(3000, 4.0))
    assert found["temperature"] == pytest.approx(4, rel=0.1)
    assert found["covered_before"] < 0.45
    assert found["covered_after"] == pytest.approx(0.68, abs=0.03)
    assert found["nll_after"] < found["nll_before"]
    assert found["mae_after"] == pytest.approx(found["mae_before"], abs=0.1)


def test_one_task_is_too_few_to_say_anything_of_others():
    reads = told(10, 1.0)
    with pytest.raises(DataError, match="two tasks or more"):
        describe(Reads(reads.logits, reads.true_progress, np.array(["a"] * 10)))


def test_every_read_is_kept_with_the_truth_of_its_moment(tmp_path):
    folder = make_tiny_nano(tmp_path / "nano")
    episodes = make_episodes(2, 1)
    reads = collect_reads(folder, episodes)
    per_episode = 2 * (episodes[0].n_frames - 1)
    assert reads.logits.shape == (2 * per_episode, 201)
    # Each moment is asked about twice, chained and from zero.
    truth = np.asarray(episodes[1].truth and episodes[1].truth.true_progress)[1:]
    np.testing.assert_allclose(reads.true_progress[per_episode:].reshape(-1, 2).T, [truth, truth])
    model = SoleRewardModel(NanoReader(folder))
    judged = model.score([episodes[1]])[0].judged_progress[1]
    chained, fresh = read_expectation(reads.logits[per_episode : per_episode + 2])[0]
    assert judged == pytest.approx(0.75 * chained + 0.25 * fresh, abs=0.01)


def test_a_stored_temperature_flattens_the_number_and_changes_the_models_name(tmp_path):
    folder = make_tiny_nano(tmp_path / "nano")
    episode = make_episodes(1, 1)[0]
    before = SoleRewardModel(NanoReader(folder))
    store(folder, 3.0)
    after = SoleRewardModel(NanoReader(folder))
    assert after.model_id == before.model_id.replace("/", "-t3/", 1)
    narrow, wide = (m.score([episode])[0].steps[1].uncertainty or 0.0 for m in (before, after))
    assert wide > narrow > 0
    assert json.loads((folder / "config.json").read_text())["readout_temperature"] == 3.0


def test_newly_trained_weights_do_not_inherit_a_temperature_nor_does_a_mean(tmp_path):
    first, second = (make_tiny_nano(tmp_path / name) for name in ("first", "second"))
    store(second, 3.0)
    config = (first / "config.json").read_bytes()
    begun = SftConfig(data=(), run_dir=tmp_path, init=second)
    model = load_model(begun, second)
    assert model.config.readout_temperature == 3.0
    export(model, AutoTokenizer.from_pretrained(second), tmp_path / "trained")
    average(AverageConfig(models=(first, second), out=tmp_path / "mean"))
    for made in ("trained", "mean"):
        assert NanoReader(tmp_path / made).model.config.readout_temperature == 1.0
    assert (tmp_path / "mean" / "config.json").read_bytes() == config


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="expected above 0"):
        SoleNanoConfig(readout_temperature=0.0)


def test_the_command_prints_stores_and_records(tmp_path, monkeypatch, capsys):
    folder = make_tiny_nano(tmp_path / "nano")
    monkeypatch.setattr(temperature, "labelled_episodes", lambda config, split: make_episodes(2, 1))
    figures = tmp_path / "figures.json"
    argv = ["--model", str(folder), "--write", "--figures", str(figures)]
    assert temperature.main(argv) == 0
    assert "covered_after" in capsys.readouterr().out
    recorded = {f["name"]: f["value"] for f in json.loads(figures.read_text())}
    stored = json.loads((folder / "config.json").read_text())["readout_temperature"]
    assert recorded["readout.temperature"] == pytest.approx(stored, abs=1e-3)
