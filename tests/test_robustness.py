"""Robustness of judges whose answers under attack are known beforehand."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from sole.cli import main
from sole.data.episode import Episode, EpisodeScore, StepScore, Truth, make_example_episode
from sole.evals.attacks import ATTACKS
from sole.evals.metrics import wilson_interval
from sole.evals.output import Share
from sole.evals.robustness import RobustnessConfig, effect, measure, verdicts
from sole.progress.calibrate import Calibration, MonotoneMap
from sole.rewarders.base import CostCounters
from sole.rewarders.calibrated import Calibrated, success_at
from sole.rewarders.controls import Constant, Oracle, Ramp

GREY = 100


def episode(task: str, curve, seed: int) -> Episode:
    """Grey pictures, whatever happens in them."""
    true = np.asarray(curve, np.float32)
    frames = np.full((len(curve), 20, 20, 3), GREY, np.uint8)
    return Episode(
        f"do {task}", {"external": frames, "wrist": frames}, truth=Truth(true, true >= 100),
        env_name=f"fake/{task}", policy="expert", seed=seed,
    )  # fmt: skip


EPISODES = [
    episode("a", [0, 20, 60, 100], 1),
    episode("a", [0, 40, 60, 10], 2),
    episode("b", [0, 10, 20, 100], 3),
    episode("b", [0, -5, -10, 2], 4),
    episode("b", [0, 30, 50, 60], 5),
]


class OnePixel:
    """Says done as soon as the middle pixel of the external view is not grey any more."""

    model_id = "one-pixel"
    views = ("external",)

    def __init__(self, says_success=True):
        self.costs = CostCounters()
        self.says_success = says_success

    def score(self, episodes):
        return [EpisodeScore(self._steps(e.views["external"]), self.model_id) for e in episodes]

    def start(self, task):
        raise NotImplementedError

    def _steps(self, frames):
        done = (frames[:, 10, 10] != GREY).any(-1)
        return tuple(
            StepScore(100.0 * d, success_probability=float(d) if self.says_success else None)
            for d in done
        )


def config(**changes) -> RobustnessConfig:
    return RobustnessConfig(**{"attacks": ("occlusion",), "strengths": (1.0,), **changes})


def measured(model, **changes):
    return measure(model, EPISODES, config(**changes), 0.5)[0]


@pytest.mark.parametrize("says_success", [True, False])
def test_a_judge_of_one_pixel_is_fooled_by_what_covers_it(says_success):
    (found,) = measured(OnePixel(says_success))
    assert (found.vulnerability.k, found.vulnerability.n) == (3, 3)
    assert (found.fpr.k, found.fpr.n) == (3, 3)
    assert found.blinded.n == 0
    assert found.n_changed == 5


def test_a_patch_over_the_other_view_does_not_fool_it():
    (found,) = measured(OnePixel(), attacks=("occlusion_wrist",))
    assert (found.vulnerability.k, found.n_changed) == (0, 5)


@pytest.mark.parametrize("model", [Constant(40), Ramp()])
def test_who_never_looks_is_never_fooled(model):
    for found in measured(model, attacks=ATTACKS, strengths=(0.5, 1.0)):
        assert found.vulnerability.k == found.blinded.k == 0
        assert found.spearman_change == (0.0, 0.0, 0.0)
        assert found.auc_change == (0.0, 0.0, 0.0)


def test_only_failures_that_were_judged_failed_can_be_turned():
    (found,) = measured(Ramp())
    assert (found.vulnerability.n, found.fpr.k, found.fpr.n) == (0, 3, 3)
    assert math.isnan(found.vulnerability.value)


def test_the_oracle_sees_no_picture_and_every_attack_is_measured():
    found = measured(Oracle(), attacks=ATTACKS, strengths=(0.3, 1.0))
    assert [(e.attack, e.strength) for e in found] == [(a, s) for a in ATTACKS for s in (0.3, 1.0)]
    assert all(e.vulnerability.value == 0.0 and e.vulnerability.n == 3 for e in found)


def test_an_attack_that_changes_no_pixel_is_counted_as_such():
    assert measured(Oracle(), attacks=("dropped",))[0].n_changed == 0


def test_loss_of_rank_and_of_separation_are_signed_means_over_tasks():
    def judged(curves):
        scores = [EpisodeScore(tuple(StepScore(float(v)) for v in c), "m") for c in curves]
        return verdicts(EPISODES, scores, 0.5)

    true = [e.truth.true_progress for e in EPISODES]
    turned = [*true[:2], *[-t for t in true[2:]]]
    found = effect(EPISODES, judged(true), judged(turned), ("x", 1.0), 5)
    assert found.spearman_change == (-1.0, -2.0, 0.0)
    assert found.auc_change[0] == pytest.approx(4 / 6 - 5 / 6)
    assert (found.blinded.k, found.blinded.n) == (1, 2)


def test_the_threshold_is_the_setting_then_the_calibrations_then_a_half():
    flat = MonotoneMap(x=(0.0, 1.0), y=(0.0, 1.0))
    wide = MonotoneMap(x=(-100.0, 100.0), y=(-100.0, 100.0))
    record = Calibration(
        model_id="ramp", made_from="here", signal="progress", success=flat, progress=wide,
        success_threshold=0.8, wanted_fpr=0.1, fpr_bound=0.1, confidence=0.95,
        n_failed=40, n_successful=40,
    )  # fmt: skip
    calibrated = Calibrated(Ramp(), record)
    assert success_at(calibrated, 0.3) == 0.3
    assert success_at(calibrated, None) == 0.8
    assert success_at(Ramp(), None) == 0.5


@pytest.fixture
def simulated(monkeypatch):
    monkeypatch.setattr("sole.evals.robustness.labelled_episodes", lambda c, split: EPISODES)


def test_verb_writes_results_table_and_the_strongest_figures(simulated, tmp_path, capsys):
    out, figures = tmp_path / "new" / "r.json", tmp_path / "f.json"
    code = main(["eval", "robustness", "--model", "ramp", "--strengths", "0.5", "1",
                 "--attacks", "blur", "swapped", "--out", str(out),
                 "--figures", str(figures)])  # fmt: skip
    assert code == 0
    assert "vulnerability" in capsys.readouterr().out
    names = {entry["name"]: entry["value"] for entry in json.loads(figures.read_text())}
    assert names == {
        "robust.blur.vulnerability": None, "robust.swapped.vulnerability": None,
        "robust.blur.spearman_change": 0.0, "robust.swapped.spearman_change": 0.0,
        "robust.blur.auc_change": 0.0, "robust.swapped.auc_change": 0.0,
        "robust.success_at": 0.5, "robust.undisturbed.fpr": 1.0, "robust.undisturbed.recall": 1.0,
    }  # fmt: skip
    found = json.loads(out.read_text())
    assert found["undisturbed"]["fpr"]["value"] == 1.0
    assert [e["strength"] for e in found["effects"]] == [0.5, 1.0, 0.5, 1.0]
    rows = pq.read_table(out.with_suffix(".episodes.parquet")).to_pylist()
    assert len(rows) == 5 * len(EPISODES)
    assert {r["attack"] for r in rows} == {"none", "blur", "swapped"}


def test_json_on_stdout_is_json_without_nan(simulated, capsys):
    assert main(["eval", "robustness", "--model", "constant:0", "--json", "--attacks", "blur"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_failed"] == 3
    assert found["effects"][0]["vulnerability"] == {
        "value": 0.0, "low": 0.0, "high": pytest.approx(0.5615, abs=1e-3), "k": 0, "n": 3
    }  # fmt: skip
    assert found["effects"][0]["blinded"]["value"] is None
    assert (found["undisturbed"]["recall"]["k"], found["undisturbed"]["recall"]["n"]) == (0, 2)


def test_one_view_leaves_out_what_needs_two_and_says_so(monkeypatch, capsys):
    one = [Episode(e.task, {"wrist": e.views["wrist"]}, truth=e.truth, env_name=e.env_name)
           for e in EPISODES]  # fmt: skip
    monkeypatch.setattr("sole.evals.robustness.labelled_episodes", lambda c, split: one)
    assert main(["eval", "robustness", "--model", "ramp", "--json", "--strengths", "1"]) == 0
    captured = capsys.readouterr()
    shown = {e["attack"] for e in json.loads(captured.out)["effects"]}
    assert shown == set(ATTACKS) - {"swapped", "occlusion_wrist"}
    assert "swapped: left out" in captured.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--attacks", "rain"], "no attack rain"),
        (["--strengths", "0"], "above 0"),
        (["--strengths", "1.2"], "above 0"),
        (["--strengths", "0.5", "1", "0.5"], "each one once"),
        (["--attacks", "blur", "blur"], "each one once"),
        (["--split", "test", "--suite", "nowhere"], "nowhere"),
        (["--calibration", "missing.json"], "missing.json"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_2(flags, message, capsys):
    assert main(["eval", "robustness", "--model", "ramp", *flags]) == 2
    assert message in capsys.readouterr().err


def test_data_without_truth_is_refused(tmp_path, monkeypatch, capsys):
    blind = [make_example_episode(4, 16, truth=False)]
    monkeypatch.setattr("sole.evals.labelled.read_episodes", lambda folder: blind)
    assert main(["eval", "robustness", "--model", "ramp", "--data", str(tmp_path)]) == 2
    assert "true progress" in capsys.readouterr().err


def test_episodes_of_a_task_that_are_alike_do_not_make_an_interval_narrow():
    tasks = np.repeat(["a", "b"], 10)
    everyone, hits = np.ones(20, bool), tasks == "a"
    assert Share.among(hits, everyone, tasks).interval == (0.0, 1.0)
    assert Share.among(hits, everyone, np.arange(20)).interval == pytest.approx(
        (0.3, 0.7), abs=0.06
    )


@pytest.mark.parametrize("hits", [False, True])
def test_where_all_episodes_say_the_same_the_interval_is_wilsons(hits):
    tasks = np.repeat(["a", "b"], 10)
    found = Share.among(np.full(20, hits), np.ones(20, bool), tasks)
    assert found.interval == wilson_interval(20 * hits, 20)
    nobody = Share.among(np.full(20, hits), np.zeros(20, bool), tasks)
    assert math.isnan(nobody.value)
