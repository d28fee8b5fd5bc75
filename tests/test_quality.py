"""The evaluation on made-up episodes whose answers are known."""

import json
import math

import numpy as np
import pytest

from sole.cli import main
from sole.data.episode import Episode, Truth, make_example_episode, make_facts
from sole.evals.quality import QualityConfig, measure
from sole.rewarders.controls import Oracle, Ramp, RandomWalk


def episode(task: str, policy: str, progress, seed: int) -> Episode:
    base = make_example_episode(len(progress), 16, seed=seed)
    true = np.asarray(progress, np.float32)
    facts = tuple(make_facts() for _ in progress)
    return Episode(
        task=f"do {task}", views=base.views, truth=Truth(true, true >= 100, facts),
        env_name=f"fake/{task}", policy=policy, seed=seed,
    )  # fmt: skip


EPISODES = [
    episode(task, policy, curve, seed)
    for seed, (task, policy, curve) in enumerate([
        ("a", "expert", [0, 20, 60, 100, 100]),
        ("a", "undo", [0, 40, 60, 30, 10]),
        ("b", "expert", [0, 10, 20, 40, 100]),
        ("b", "random", [0, -5, -10, -10, 2]),
    ])
]  # fmt: skip


def config(**changes) -> QualityConfig:
    return QualityConfig(**changes)


def test_oracle_is_perfect():
    row = measure(Oracle(), EPISODES, config(model="oracle"))
    assert row.mean("spearman")[0] == pytest.approx(1.0)
    assert row.mean("mae")[0] == 0.0
    assert row.pooled["auc"] == 1.0
    assert row.mean("falling_f1")[0] == 1.0


def test_ramp_wins_voc_and_is_exposed_by_the_static_video():
    row = measure(Ramp(), EPISODES, config(model="ramp"))
    assert row.mean("voc_expert")[0] == pytest.approx(1.0)
    assert row.mean("voc_static")[0] == pytest.approx(1.0)
    assert row.mean("vroc_expert")[0] == pytest.approx(1.0)
    assert row.pooled["auc"] == 0.5
    assert row.mean("falling_f1")[0] == 0.0


def test_reasoning_is_not_measured_in_fast_mode():
    assert "hallucination" not in measure(RandomWalk(0), EPISODES, config()).pooled


def test_every_step_is_counted():
    assert measure(Ramp(), EPISODES, config()).pooled["n_steps"] == sum(
        e.n_frames - 1 for e in EPISODES
    )


def test_unknown_sub_verb_is_bad_input(capsys):
    assert main(["eval", "qualty"]) == 2
    assert "quality" in capsys.readouterr().err


def test_verb_writes_results_and_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sole.evals.quality._episodes", lambda c: EPISODES)
    out, figures = tmp_path / "r.json", tmp_path / "f.json"
    code = main(["eval", "quality", "--model", "random", "--out", str(out),
                 "--figures", str(figures), "--prefix", "t"])  # fmt: skip
    assert code == 0
    names = {entry["name"] for entry in json.loads(figures.read_text())}
    assert {"t.spearman", "t.ramp.voc_static", "t.random.auc"} <= names
    assert len(json.loads(out.read_text())["rows"]) == 3
    assert not math.isnan(json.loads(out.read_text())["rows"][0]["pooled"]["auc"])
    assert "spearman" in capsys.readouterr().out
