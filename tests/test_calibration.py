"""``sole calibrate`` on judges whose worth is known, and a calibrated judge in use."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import make_tiny_nano

from sole import samples
from sole.cli import main
from sole.data.episode import Episode, EpisodeScore, StepScore, Truth, make_example_episode
from sole.errors import ConfigError, DataError
from sole.evals.calibration import CalibrateConfig, refuse_held_out
from sole.evals.calibration_fit import (
    Wanted,
    applied,
    cross_fitted,
    fit,
    gather,
    operating_points,
    report,
)
from sole.evals.overlap import refuse_overlap
from sole.evals.reliability import PROBABILITY_BINS, calibration_error, in_bins
from sole.progress.calibrate import judged_success
from sole.rewarders.base import CostCounters
from sole.rewarders.beside import UNCALIBRATED, calibration_path
from sole.rewarders.calibrated import Calibrated, load_calibration
from sole.rewarders.check import check_reward_model
from sole.rewarders.controls import Constant, Oracle, Ramp
from sole.rewarders.load import load_reward_model
from sole.serve.config import ServeConfig
from sole.serve.service import _ways_of_judging

N_FRAMES = 6


def make_episodes(n_tasks=4, per_task=20, seed=0) -> list[Episode]:
    """Half of every task's episodes fail at 60 percent or less, at random."""
    rng = np.random.default_rng(seed)
    made = []
    for task in range(n_tasks):
        for k in range(per_task):
            end = 100.0 if k % 2 else rng.uniform(0, 60)
            true = np.round(np.linspace(0, end, N_FRAMES)).astype(np.float32)
            frames = rng.integers(0, 255, (N_FRAMES, 8, 8, 3), dtype=np.uint8)
            made.append(Episode(
                f"do {task}", {"external": frames}, truth=Truth(true, true >= 100),
                env_name=f"fake/{task}", policy="expert", seed=k,
            ))  # fmt: skip
    return made


EPISODES = make_episodes()


class Boaster(Oracle):
    """Sees the truth, says half as much progress, and is far too sure of success."""

    def __init__(self):
        super().__init__()
        self.model_id = "boaster"

    def _steps(self, episode):
        rng = np.random.default_rng([episode.seed, int(episode.env_name[-1])])
        _, *rest = (
            StepScore(float(p) / 2, success_probability=0.5 + 0.4 * bool(s) + 0.1 * rng.random())
            for p, s in zip(episode.truth.true_progress, episode.truth.true_success, strict=True)
        )
        return (StepScore(0.0, success_probability=0.0), *rest)


def fitted(model, episodes=EPISODES, wanted=None, signal="success_probability"):
    data = gather(episodes, model.score(episodes), signal)
    record = fit(data, wanted or Wanted(), model_id=model.model_id, signal=signal, made_from="x")
    return data, record


def test_the_oracle_is_calibrated_before_and_after():
    data, record = fitted(Oracle())
    found = report(data, record, cross_fitted(data, Wanted()))
    for name in ("ece_before", "ece_after", "progress_error_before"):
        assert found[name] == {"value": 0.0, "low": 0.0, "high": 0.0}, name
    assert (found["fpr"]["value"], found["recall"]["value"]) == (0.0, 1.0)


def test_a_boaster_is_cut_down_on_episodes_it_was_not_fitted_on():
    _, record = fitted(Boaster())
    others = make_episodes(seed=7)
    data = gather(others, Boaster().score(others), "success_probability")
    found = report(data, record, applied(data, record))
    assert found["ece_before"]["value"] > 0.4
    assert found["ece_after"]["value"] < 0.01
    assert found["progress_error_before"]["value"] > 10
    assert found["progress_error_after"]["value"] < 3
    assert (found["fpr"]["k"], found["recall"]["value"]) == (0, 1.0)
    assert found["fpr"]["upper_bound"] == pytest.approx(1 - 0.05 ** (1 / 40))


def test_other_rates_have_other_thresholds_and_one_of_them_is_the_calibrations_own():
    data, record = fitted(Boaster(), make_episodes(4, 40), Wanted(fpr=0.2))
    points = operating_points(data, data, record, 0.95)
    rates = [point["wanted_fpr"] for point in points]
    assert rates == sorted(rates)
    assert 0.2 in rates
    (own,) = (point for point in points if point["wanted_fpr"] == 0.2)
    assert own["threshold"] == record.success_threshold
    for point in points:
        assert point["fpr"]["value"] <= point["wanted_fpr"]
    recalls = [point["recall"]["value"] for point in points]
    assert recalls == sorted(recalls)


def test_a_rate_that_too_few_failures_can_promise_is_no_choice():
    data, record = fitted(Boaster())  # 40 failed episodes promise 7 percent at best
    rates = [point["wanted_fpr"] for point in operating_points(data, data, record, 0.95)]
    assert rates == [0.1, 0.2, 0.3, 0.5]


def test_a_temperature_keeps_one_half_where_it_is():
    _, record = fitted(Boaster(), wanted=Wanted(method="temperature"))
    assert record.success(0.5) == pytest.approx(0.5)
    assert 0.5 < record.success(0.95) < 0.95  # most frames at one half are failures


def test_cross_fitting_never_sees_the_frames_own_task():
    odd = EpisodeScore((StepScore(0.0, 0.0), *[StepScore(5.0, 0.7)] * (N_FRAMES - 1)), "boaster")
    scores = [*[odd] * 20, *Boaster().score(EPISODES[20:])]
    data = gather(EPISODES, scores, "success_probability")
    record = fit(data, Wanted(), model_id="m", signal="success_probability", made_from="x")
    _, others = fitted(Boaster(), EPISODES[20:])
    own, said = data.tasks[data.episode] == "fake/0", cross_fitted(data, Wanted())
    np.testing.assert_allclose(said.success[own], others.success(0.7))
    np.testing.assert_allclose(said.progress[own], others.progress(5.0))
    assert abs(record.success(0.7) - others.success(0.7)) > 0.05


def test_one_task_is_drawn_and_left_out_by_episode():
    episodes = make_episodes(1, 80)
    data, record = fitted(Boaster(), episodes)
    found = report(data, record, cross_fitted(data, Wanted()))
    assert found["ece_after"]["value"] < 0.05
    assert len(set(data.groups)) == 80
    assert len(set(data.folds)) == 5


def test_no_fold_of_one_task_is_all_the_experts_whose_turn_comes_every_fifth_time():
    episodes = make_episodes(1, 50)
    data = gather(episodes, Boaster().score(episodes), "success_probability")
    of_experts = set(data.folds[data.episode % 5 == 0])
    assert len(of_experts) > 2
    sizes = [len(set(data.episode[data.folds == fold])) for fold in range(5)]
    assert sizes == [10] * 5


def test_calibrated_success_is_the_rule_that_was_promised():
    data, record = fitted(Boaster(), wanted=Wanted(fpr=0.3))
    scores = Calibrated(Boaster(), record).score(EPISODES)
    passed = np.array([judged_success(s, record.success_threshold) for s in scores])
    kept = record.success(data.highest) >= record.success_threshold
    np.testing.assert_array_equal(passed, kept)
    assert 0 < (passed & ~data.succeeded).sum() <= 0.3 * (~data.succeeded).sum()
    assert passed[data.succeeded].all()


@pytest.mark.parametrize(
    ("episodes", "wanted"),
    [
        (EPISODES[:40], Wanted()),  # 20 failed, 29 needed
        (EPISODES[::2], Wanted()),  # no success at all
        (EPISODES, Wanted(fpr=0.01)),
        (EPISODES, Wanted(min_successful=41)),
    ],
)
def test_too_few_labels_are_refused_with_how_many_it_takes(episodes, wanted):
    with pytest.raises(ConfigError, match="too few labels") as caught:
        fitted(Oracle(), episodes, wanted)
    assert ("29 failed" in str(caught.value)) == (wanted.fpr == 0.1)


def test_the_number_asked_for_is_enough():
    failed = EPISODES[::2]
    with pytest.raises(ConfigError, match="takes 29"):
        fitted(Oracle(), [*failed[:28], *EPISODES[1::2]])
    fitted(Oracle(), [*failed[:29], *EPISODES[1::2]])


def test_a_model_whose_failures_look_perfect_has_no_threshold():
    with pytest.raises(ConfigError, match="no threshold"):
        fitted(Ramp())


def test_frames_that_could_not_be_read_are_left_out():
    unread = StepScore(None, error="no number")
    steps = (StepScore(0.0, 0.0), unread, *[StepScore(50.0, 0.5)] * (N_FRAMES - 2))
    data = gather(EPISODES[:1], [EpisodeScore(steps, "m")], "success_probability")
    assert len(data.signal) == N_FRAMES - 2
    with pytest.raises(DataError, match="no frame"):
        gather(EPISODES[:1], [EpisodeScore((unread,) * N_FRAMES, "m")], "success_probability")


def test_calibration_error_by_hand():
    said = np.array([0.05, 0.05, 0.95, 0.95])
    true = np.array([0.0, 1.0, 1.0, 1.0])
    assert calibration_error(said, true, PROBABILITY_BINS) == pytest.approx(0.45 / 2 + 0.05 / 2)
    assert in_bins(said, true, PROBABILITY_BINS).counts.tolist() == [2, 2]
    assert in_bins(np.array([1.0, -0.1]), np.zeros(2), PROBABILITY_BINS).counts.tolist() == [1, 1]


def test_test_tasks_are_for_measuring_only():
    refuse_held_out(["metaworld/dial-turn", "a/recording"])
    with pytest.raises(ConfigError, match="metaworld/faucet-open"):
        refuse_held_out(["metaworld/dial-turn", "metaworld/faucet-open"])


def test_nothing_is_checked_on_what_it_was_fitted_on():
    refuse_overlap(EPISODES[:10], EPISODES[10:])
    with pytest.raises(ConfigError, match="2 episodes"):
        refuse_overlap(EPISODES[:10], EPISODES[8:])


@pytest.mark.filterwarnings("default")  # matplotlib reads fonts its own way
def test_verb_saves_reports_draws_and_records(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "sole.evals.calibration.labelled_episodes",
        lambda config, split: EPISODES if split == "dev" else make_episodes(2, 30, 5),
    )
    out, figures = tmp_path / "deep" / "c.json", tmp_path / "f.json"
    assert main(["calibrate", "--model", "oracle", "--check", "test", "--out", str(out),
                 "--figures", str(figures), "--json"]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert (found["fit"]["n_episodes"], found["check"]["n_episodes"]) == (80, 60)
    assert found["check"]["fpr"]["upper_bound"] == pytest.approx(1 - 0.05 ** (1 / 30))
    assert load_calibration(out).model_id == "oracle"
    assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    recorded = {entry["name"]: entry for entry in json.loads(figures.read_text())}
    wanted = {"ece_before", "ece_after", "fpr", "fpr_bound", "fpr_upper", "threshold"}
    assert {f"calibrate.{name}" for name in wanted} <= set(recorded)
    assert (recorded["calibrate.fpr"]["value"], recorded["calibrate.ece_after"]["value"]) == (0, 0)
    assert recorded["calibrate.wanted20.recall"]["value"] == 1


def test_table_for_people_names_the_promise(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sole.evals.calibration.labelled_episodes", lambda config, split: EPISODES)
    assert main(["calibrate", "--model", "oracle", "--out", str(tmp_path / "c.json")]) == 0
    out = capsys.readouterr().out
    assert "ece before" in out
    assert "at most 7.2% of failed episodes" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--figures", "f.json"], "--check"),
        (["--split", "test"], "split"),
        (["--check", "dev"], "fitted on and checked on"),
        (["--check", "dev", "--check-data", "d"], "one of them"),
        (["--tasks", "metaworld/faucet-open"], "held-out"),
        (["--data", "of-a-test-task"], "held-out"),
        (["--model", "constant:0", "--signal", "oops"], "signal"),
        (["--wanted-fpr", "0.001"], "too few labels"),
        (["--out", "."], "folder"),
    ],
)
def test_wrong_settings_end_with_exit_2(flags, message, tmp_path, monkeypatch, capsys):
    held_out = replace(make_example_episode(3, 8), env_name="metaworld/faucet-open")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sole.evals.calibration.labelled_episodes",
        lambda config, split: [held_out] if config.data else EPISODES,
    )
    try:
        out = [] if "--out" in flags else ["--out", "c.json"]
        code = main(["calibrate", "--model", "oracle", *out, *flags])
    except SystemExit as stop:  # tyro ends a wrong choice this way
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_the_settings_know_no_test_split():
    with pytest.raises(ValueError, match="split"):
        CalibrateConfig.model_validate({"split": "test"})


class Peeker:
    """A judge of real sessions: the brighter the first pixel, the further."""

    model_id = "peeker"
    views = ("external",)

    def __init__(self):
        self.costs = CostCounters()

    def start(self, task):
        return PeekSession()

    def score(self, episodes):
        self.costs.episodes += len(episodes)
        if any("external" not in e.views for e in episodes):
            raise ValueError("no external view")
        return [EpisodeScore(self._steps(e.views["external"]), "peeker") for e in episodes]

    def _steps(self, frames):
        session = PeekSession()
        return tuple(session.step({"external": frame}) for frame in frames)


class PeekSession:
    begun = False

    def step(self, views):
        from sole.models.base import check_moment

        check_moment(views)
        value = float(views["external"][0, 0, 0]) / 255 * self.begun
        self.begun = True
        return StepScore(100 * value, success_probability=value)


@pytest.fixture
def ramp_calibration(tmp_path):
    record = fitted(Constant(40), signal="progress")[1]
    path = tmp_path / "c.json"
    path.write_text(record.model_copy(update={"model_id": "peeker"}).model_dump_json())
    return path


def test_a_calibrated_model_keeps_the_contract(ramp_calibration):
    model = Calibrated(Peeker(), load_calibration(ramp_calibration))
    two = [make_example_episode(n, 16, seed=n, truth=False) for n in (4, 6)]
    check_reward_model(model, two)


def test_sessions_of_a_calibrated_model_step_together(ramp_calibration):
    model = Calibrated(Peeker(), load_calibration(ramp_calibration))
    frames = make_example_episode(3, 16).views["external"]
    sessions = [model.start("a"), model.start("b")]
    together = [model.step_sessions(sessions, [{"external": f}] * 2) for f in frames]
    alone = model.score([make_example_episode(3, 16)])[0].steps
    assert [pair[0] for pair in together] == [pair[1] for pair in together] == list(alone)


def test_another_models_calibration_is_refused(ramp_calibration):
    with pytest.raises(ConfigError, match="made for peeker"):
        load_reward_model("ramp", calibration=ramp_calibration)


def test_a_model_is_loaded_with_its_calibration(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(fitted(Constant(40))[1].model_dump_json())
    model = load_reward_model("constant:40", calibration=path)
    assert isinstance(model, Calibrated)
    assert model.model_id == "constant:40/calibrated"
    judged = model.score(EPISODES[:1])[0]
    assert judged.steps[0].progress == 0.0
    assert judged.steps[1].progress != 40.0
    assert (model.fast(), model.thinking()) == (model, model)


def test_quality_measures_the_calibrated_model_beside_plain_controls(tmp_path, monkeypatch, capsys):
    path = tmp_path / "c.json"
    path.write_text(fitted(Oracle())[1].model_dump_json())
    monkeypatch.setattr("sole.evals.quality.labelled_episodes", lambda config, split: EPISODES)
    flags = ["--model", "oracle", "--calibration", str(path), "--json"]
    assert main(["eval", "quality", *flags]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["model_id"] for row in rows][:2] == ["oracle/calibrated", "ramp"]
    assert rows[0]["summary"]["mae"]["value"] == pytest.approx(0.0, abs=1.0)


def test_who_measures_a_calibration_on_what_it_was_fitted_on_is_told(tmp_path, monkeypatch, capsys):
    path, others = tmp_path / "c.json", make_episodes(2, 4, 5)
    monkeypatch.setattr("sole.evals.calibration.labelled_episodes", lambda config, split: EPISODES)
    assert main(["calibrate", "--model", "oracle", "--out", str(path), "--json"]) == 0
    assert "fitted_on" not in json.loads(capsys.readouterr().out)["calibration"]

    def stop(*_):
        raise ConfigError("enough was said")

    def said(verb, episodes, calibration=path) -> str:
        monkeypatch.setattr(f"sole.evals.{verb}.measure", stop)
        monkeypatch.setattr(f"sole.evals.{verb}.labelled_episodes", lambda config, split: episodes)
        argv = ["eval", verb, "--model", "oracle", "--calibration", str(calibration), "--json"]
        assert main(argv) == 2
        return capsys.readouterr().err

    some = [*EPISODES[:3], *others]
    for verb in ("quality", "robustness"):
        warned = said(verb, some)
        assert "oracle/calibrated: its calibration was fitted on 3 of these 11 episodes" in warned
        assert "--calibration none" in warned
        assert "fitted on" not in said(verb, others) + said(verb, some, UNCALIBRATED)
    old = json.loads(path.read_text())
    del old["fitted_on"]
    path.write_text(json.dumps(old))
    assert "fitted on" not in said("quality", some)


def test_score_refuses_another_models_calibration(ramp_calibration, capsys):
    flags = ["--model", "constant:50", "--calibration", str(ramp_calibration)]
    assert main(["score", str(samples.path()), "--task", "open it", *flags]) == 2
    assert "made for peeker" in capsys.readouterr().err


def test_score_shows_calibrated_numbers(tmp_path, capsys):
    path = tmp_path / "c.json"
    record = fitted(Constant(40))[1]
    path.write_text(record.model_dump_json())
    flags = ["--model", "constant:40", "--calibration", str(path), "--json", "--max-frames", "3"]
    assert main(["score", str(samples.path()), "--task", "open it", *flags]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model_id"] == "constant:40/calibrated"


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2}', "[1"])
def test_a_damaged_calibration_is_one_line(text, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(DataError, match="make it again"):
        load_calibration(path)


def test_a_missing_calibration_is_one_line(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        load_calibration(tmp_path / "none.json")


# ---- what lies beside a model -------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A tiny nano with a calibration for its fast way beside it."""
    made = make_tiny_nano(tmp_path)
    plain = load_reward_model(str(made))
    record = fitted(Constant(40), signal="progress")[1]
    path = calibration_path(str(made), plain.model_id)
    path.parent.mkdir()
    path.write_text(record.model_copy(update={"model_id": plain.model_id}).model_dump_json())
    return made


def test_what_lies_beside_a_model_is_used_unless_it_is_refused(folder, capsys):
    model = load_reward_model(str(folder))
    assert model.model_id.endswith("/fast/z0.25/e1/calibrated")
    assert not load_reward_model(str(folder), calibration=UNCALIBRATED).model_id.endswith("ated")
    assert capsys.readouterr().err == ""
    two = [make_example_episode(n, 16, seed=n, truth=False) for n in (4, 6)]
    check_reward_model(model, two)


def test_another_way_of_judging_takes_its_own_record_or_says_that_there_is_none(folder, capsys):
    model = load_reward_model(str(folder))
    aloud = model.thinking()
    assert aloud.model_id.endswith("/think/z0.25/e1")
    assert "not calibrated: beside the model lies" in capsys.readouterr().err
    record = model.calibration.model_copy(update={"model_id": aloud.model_id})
    calibration_path(str(folder), aloud.model_id).write_text(record.model_dump_json())
    again = load_reward_model(str(folder)).thinking()
    assert again.model_id == f"{aloud.model_id}/calibrated"
    assert again.fast().model_id == model.model_id
    assert capsys.readouterr().err == ""


def test_a_record_of_other_weights_is_not_used_in_silence(folder, capsys):
    path = next((folder / "calibration").iterdir())
    path.write_text(path.read_text().replace('"model_id":"nano', '"model_id":"other'))
    assert not isinstance(load_reward_model(str(folder)), Calibrated)
    assert "is of other" in capsys.readouterr().err


def test_a_served_model_is_calibrated_in_its_ways(folder):
    ways = _ways_of_judging(load_reward_model(str(folder)), ServeConfig())
    assert ways["fast"].model_id.endswith("/calibrated")
    assert ways["think"].model_id.endswith("/think/z0.25/e1")


@pytest.mark.filterwarnings("default")  # matplotlib reads fonts its own way
def test_the_verb_saves_beside_the_model_and_refuses_where_there_is_no_folder(
    folder, monkeypatch, capsys
):
    seen = []

    def judge_of(config, calibration=None):
        seen.append(calibration)
        return Oracle()

    monkeypatch.setattr("sole.evals.calibration.labelled_judge", judge_of)
    monkeypatch.setattr("sole.evals.calibration.labelled_episodes", lambda config, split: EPISODES)
    assert main(["calibrate", "--model", str(folder)]) == 0
    assert load_calibration(folder / "calibration" / "oracle.json").model_id == "oracle"
    assert seen == [UNCALIBRATED]
    assert main(["calibrate", "--model", "oracle"]) == 2
    assert "has no folder" in capsys.readouterr().err
