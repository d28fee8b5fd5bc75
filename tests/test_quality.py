"""The evaluation on made-up episodes whose answers are known."""

import json
import math
from dataclasses import replace
from io import StringIO

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from tiny import make_tiny_nano

from sole.cli import main
from sole.data.episode import (
    Episode,
    EpisodeScore,
    StepScore,
    Truth,
    make_example_episode,
    make_facts,
)  # fmt: skip
from sole.errors import ConfigError, DataError
from sole.evals import collection, quality
from sole.evals.cost import CostConfig, measure_cost
from sole.evals.quality import QualityConfig, measure
from sole.evals.result import PER_TASK, Row, summary_tables, task_tables
from sole.rewarders.base import CostCounters
from sole.rewarders.controls import Constant, Oracle, Ramp, RandomWalk


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
    assert row.mean("voc_reversed")[0] == pytest.approx(-1.0)
    assert row.mean("static_rise")[0] == 0.0
    assert row.mean("instruction_gap")[0] == 100.0


def test_ramp_wins_voc_and_is_exposed_by_the_static_video():
    row = measure(Ramp(), EPISODES, config(model="ramp"))
    assert row.mean("voc_expert")[0] == pytest.approx(1.0)
    assert row.mean("voc_static")[0] == pytest.approx(1.0)
    assert row.mean("voc_reversed")[0] == pytest.approx(1.0)
    assert row.pooled["auc"] == 0.5
    assert row.mean("falling_f1")[0] == 0.0


def test_directions_and_preferences_are_measured():
    oracle = measure(Oracle(), EPISODES, config(model="oracle"))
    for name in ("macro_f1", "direction_accuracy", "preference_accuracy"):
        assert oracle.mean(name)[0] == 1.0, name
    assert oracle.mean("negative_rate")[0] == oracle.mean("preference_ties")[0] == 0.0
    ramp = measure(Ramp(), EPISODES, config(model="ramp"))
    assert (ramp.mean("preference_accuracy")[0], ramp.mean("preference_ties")[0]) == (0.0, 1.0)
    assert ramp.mean("negative_rate")[0] == 0.0  # docs/metrics.md: a ramp has none
    # Of the two pairs three apart both rise in an expert, and one falls in each other episode.
    assert ramp.mean("direction_accuracy")[0] == pytest.approx(0.75)


def test_an_episode_that_undid_its_success_is_the_worse_half_of_a_preference():
    undone = episode("a", "undo", [0, 100, 100, 50, 20], 7)
    row = measure(Constant(50), [EPISODES[0], undone], config())
    assert row.per_task["fake/a"]["preference_ties"] == 1.0
    assert math.isnan(row.per_task["fake/a"]["auc_task"])


def test_falls_are_counted_on_experts_until_they_succeed():
    row = measure(Oracle(), [episode("a", "expert", [0, 50, 40, 100, 20], 1)], config())
    assert row.per_episode[0]["negative_rate"] == pytest.approx(1 / 3)
    failed = measure(Oracle(), [episode("a", "expert", [0, 50, 40, 60, 20], 1)], config())
    assert "negative_rate" not in failed.per_episode[0]


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
    monkeypatch.setattr("sole.evals.quality.labelled_episodes", lambda c, split: EPISODES)
    out, figures = tmp_path / "r.json", tmp_path / "f.json"
    code = main(["eval", "quality", "--model", "random", "--out", str(out),
                 "--figures", str(figures), "--prefix", "t"])  # fmt: skip
    assert code == 0
    names = {entry["name"] for entry in json.loads(figures.read_text())}
    assert {"t.spearman", "t.ramp.voc_static", "t.random.auc"} <= names
    assert {"t.constant.mae", "t.oracle.headline"} <= names
    asked = ("auc", "mae", "voc_expert", "voc_static", "voc_reversed", "instruction_gap",
             "paraphrase_shift", "anchoring_follow")  # fmt: skip
    assert {f"t.{name}" for name in asked} <= names
    called = {"random", "ramp", "static", "oracle"}  # the model's own row is a random walk too
    assert {f"t.headline.{name}" for name in called} <= names
    assert len(json.loads(out.read_text())["rows"]) == 5
    assert not math.isnan(json.loads(out.read_text())["rows"][0]["pooled"]["auc"])
    assert "spearman" in capsys.readouterr().out


@pytest.mark.parametrize(
    "source", [["--data", "d"], ["--recorded", "d"], ["--tasks", "metaworld/dial-turn"]]
)
def test_figures_of_other_episodes_do_not_take_the_splits_name(
    source, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("sole.evals.quality.measured_episodes", lambda config: EPISODES)
    figures = tmp_path / "f.json"
    argv = ["eval", "quality", "--model", "oracle", "--no-controls", "--figures", str(figures)]
    assert main([*argv, *source]) == 2
    assert "--prefix: say what these figures are called" in capsys.readouterr().err
    assert not figures.exists()
    given = {source[0][2:]: source[1:] if source[0] == "--tasks" else source[1]}
    quality._refuse_anothers_name(config(figures=figures, prefix="mine", **given))
    quality._refuse_anothers_name(config(figures=figures))
    quality._refuse_anothers_name(config(**given))


def test_other_models_and_other_readings_are_rows_of_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setattr("sole.evals.quality.labelled_episodes", lambda c, split: EPISODES)
    seen = []

    def judge_of(config, calibration=None):
        seen.append((config.model, config.think, config.from_zero_weight))
        return Ramp()

    monkeypatch.setattr("sole.evals.quality.labelled_judge", judge_of)
    figures = tmp_path / "f.json"
    main(["eval", "quality", "--model", "m", "--no-controls", "--variants", "--against", "oracle",
          "--figures", str(figures), "--prefix", "t"])  # fmt: skip
    assert seen == [
        ("m", False, 0.25), ("m", False, 1.0), ("m", False, 0.0), ("m", True, 0.25),
        ("oracle", False, 0.25),
    ]  # fmt: skip
    names = {entry["name"] for entry in json.loads(figures.read_text())}
    assert {"t.ramp.auc", "t.random.auc"} <= names
    assert not {"t.constant.auc"} & names
    assert {"t.headline", "t.from_zero.auc", "t.think.mae", "t.oracle.auc"} <= names


def test_table_has_one_row_per_model_and_episode(tmp_path, monkeypatch):
    monkeypatch.setattr("sole.evals.quality.labelled_episodes", lambda c, split: EPISODES)
    main(["eval", "quality", "--model", "oracle", "--out", str(tmp_path / "r.json")])
    rows = pq.read_table(tmp_path / "r.episodes.parquet").to_pylist()
    assert len(rows) == 5 * len(EPISODES)
    assert (rows[1]["policy"], rows[1]["judged_max"], rows[1]["judged_last"]) == ("undo", 60, 10)
    assert rows[1]["judged_progress"] == rows[1]["true_progress"] == [0, 40, 60, 30, 10]
    assert rows[1]["voc_expert"] is None
    assert [r["true_success_ever"] for r in rows[:4]] == [True, False, True, False]


def test_every_number_over_all_episodes_has_an_interval_over_tasks():
    row = measure(RandomWalk(0), EPISODES, config())
    for name in ("auc", "auc_max", "auc_last", "auprc", "fpr_at_recall90"):
        value, low, high = row.mean(name)
        assert low <= value <= high, name


def test_what_words_show_is_recorded_under_the_models_own_name(tmp_path, monkeypatch):
    monkeypatch.setattr("sole.evals.quality.labelled_episodes", lambda c, split: EPISODES)
    monkeypatch.setattr("sole.evals.quality.labelled_judge", lambda *_: Talker())
    figures = tmp_path / "f.json"
    main(["eval", "quality", "--model", "runs/mine", "--think", "--no-controls",
          "--figures", str(figures), "--prefix", "t"])  # fmt: skip
    found = {entry["name"]: entry for entry in json.loads(figures.read_text())}
    assert found["mine.parse_rate"]["value"] == 0.75
    assert found["mine.hallucination"]["low"] is not None
    assert not any(name.startswith("nano.") for name in found)


@pytest.mark.parametrize(
    "flags",
    [["ramp=runs/a"], ["a/b", "a_b"], ["x=a", "x=b"], ["m"], ["--variants", "chained=runs/a"]],
)
def test_two_rows_of_one_name_are_refused(flags, capsys):
    against = flags if flags[0] != "--variants" else flags[1:]
    more = ["--variants"] if flags[0] == "--variants" else []
    assert main(["eval", "quality", "--model", "m", *more, "--against", *against]) == 2
    assert "another row is called" in capsys.readouterr().err


def test_failed_reads_are_null_in_the_table_and_held_in_the_metrics():
    row = measure(Talker(), EPISODES[:1], config()).per_episode[0]
    assert row["judged_progress"][:3] == [0.0, None, 50.0]
    assert (row["n_errors"], row["mae"]) == (1, pytest.approx((0 + 20 + 10 + 50 + 50) / 5))


class Talker:
    """A reward model that knows one sentence, and cannot be read at the second frame."""

    model_id = "talker"
    views = ()
    costs = CostCounters()

    def score(self, episodes):
        return [EpisodeScore(self._steps(e.n_frames), self.model_id) for e in episodes]

    def start(self, task):
        raise NotImplementedError

    def _steps(self, n_frames):
        said = StepScore(50.0, reasoning="The gripper is touching the puck.")
        unread = StepScore(None, error="no number")
        return (StepScore(0.0), unread, *[said] * (n_frames - 2))


class Mute(Talker):
    """The same without words."""

    def _steps(self, n_frames):
        return tuple(replace(step, reasoning="") for step in super()._steps(n_frames))


def test_unreadable_replies_are_counted_with_words_and_without():
    for model in (Talker(), Mute()):
        assert measure(model, EPISODES, config()).pooled["n_errors"] == len(EPISODES)
    assert measure(Ramp(), EPISODES, config()).pooled["n_errors"] == 0


def test_claims_and_unreadable_replies_are_counted():
    pooled = measure(Talker(), EPISODES, config(think=True)).pooled
    assert pooled["parse_rate"] == 0.75
    assert pooled["parse_rate_low"] == pooled["parse_rate_high"] == 0.75  # both tasks are alike
    assert pooled["hallucination"] == 1.0
    assert pooled["n_claims"] == 3 * len(EPISODES)


def test_the_share_of_readable_replies_has_an_interval_over_tasks():
    class MuteOnA(Talker):
        def score(self, episodes):
            unread = StepScore(None, error="no number")
            return [
                replace(score, steps=(score.steps[0], *[unread] * (e.n_frames - 1)))
                if e.task == "do a" else score
                for e, score in zip(episodes, super().score(episodes), strict=True)
            ]  # fmt: skip

    row = measure(MuteOnA(), EPISODES, config(think=True))
    assert row.mean("parse_rate") == (0.375, 0.0, 0.75)
    alone = measure(Talker(), EPISODES[:2], config(think=True)).mean("parse_rate")
    assert (alone[0], math.isnan(alone[1])) == (0.75, True)


def test_change_is_judged_against_the_last_frame_that_was_read(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "sole.evals.stepwise.judge_text",
        lambda text, previous, current, first: seen.append(previous["object_moved_m"]) or [],
    )
    truth = Truth(np.arange(4, dtype=np.float32), np.zeros(4, bool),
                  tuple(make_facts(object_moved_m=float(t)) for t in range(4)))  # fmt: skip
    base = make_example_episode(4, 16)
    measure(Talker(), [Episode("do a", base.views, truth=truth, env_name="f/a")],
            config(think=True))  # fmt: skip
    assert seen == [0.0, 2.0]


def test_episodes_that_never_move_are_left_out_of_correlations_and_counted():
    still = episode("a", "random", [0, 0, 0, 0, 0], 9)
    with_it, without = (measure(Ramp(), e, config()) for e in ([*EPISODES, still], EPISODES))
    assert with_it.pooled["n_constant_truth"] == 1
    assert with_it.mean("spearman")[0] == pytest.approx(without.mean("spearman")[0])


def test_last_frame_auc_sees_what_was_undone():
    undone = episode("a", "undo", [0, 100, 100, 50, 20], 7)
    row = measure(Oracle(), [*EPISODES, undone], config())
    assert row.pooled["auc"] == row.pooled["auc_last"] == 1.0


def test_one_task_has_no_other_sentence_and_no_interval_over_tasks():
    row = measure(Ramp(), EPISODES[:2], config())
    assert math.isnan(row.mean("instruction_gap")[0])
    assert math.isnan(row.mean("mae")[1])


def test_a_task_whose_episodes_do_not_differ_has_no_order_to_find():
    alone = measure(Oracle(), [*EPISODES, episode("c", "expert", [0, 50, 100], 8)], config())
    alike = [episode("c", "expert", [0, 50, 100], seed) for seed in (8, 9)]
    for row in (alone, measure(Oracle(), [*EPISODES, *alike], config())):
        assert math.isnan(row.per_task["fake/c"]["kendall_last"])
        assert math.isnan(row.per_task["fake/c"]["ranking_accuracy"])
        assert row.mean("kendall_last")[0] == row.mean("kendall_mean")[0] == 1.0


def test_constant_model_says_nothing():
    row = measure(Constant(50), EPISODES, config())
    assert row.pooled["auc"] == 0.5
    assert row.mean("static_drift")[0] == 50.0


def test_json_output_is_valid_json_without_nan(monkeypatch, capsys):
    monkeypatch.setattr("sole.evals.quality.labelled_episodes", lambda c, split: EPISODES[1:2])
    assert main(["eval", "quality", "--model", "ramp", "--no-controls", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert row["summary"]["auc"]["value"] is None
    assert row["summary"]["mae"]["value"] > 0


def test_no_table_is_without_a_ramp_and_chance(monkeypatch, capsys):
    monkeypatch.setattr("sole.evals.quality.labelled_episodes", lambda c, split: EPISODES)
    monkeypatch.setattr("sole.evals.quality.measure", lambda model, *_: Row(model.model_id, {}, {}))
    assert main(["eval", "quality", "--model", "oracle", "--no-controls", "--json"]) == 0
    said = capsys.readouterr()
    models = [row["model_id"] for row in json.loads(said.out)["rows"]]
    assert models == ["oracle", "ramp", "random:0"]
    assert [line for line in said.err.splitlines() if "--no-controls" in line] == [
        "--no-controls: without constant:0 and oracle; ramp and random stay, since no number means "
        "anything without them"
    ]
    assert main(["eval", "quality", "--model", "oracle", "--json"]) == 0
    assert "--no-controls" not in capsys.readouterr().err


def fake_collect(env_name, policy, seed, *, n_frames):
    return episode(env_name.partition("/")[2], policy, np.arange(n_frames), seed)


def test_collected_episodes_are_read_back_instead_of_simulated(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "collect_episode", fake_collect)
    made = collection.collect(["fake/a"], 3, 5, tmp_path, 6, policies=("expert", "undo"))
    assert [e.policy for e in made] == ["expert", "undo", "expert"]
    monkeypatch.delattr(collection, "collect_episode")
    again = collection.collect(["fake/a"], 3, 5, tmp_path, 6, policies=("expert", "undo"))
    for one, two in zip(made, again, strict=True):
        assert one.truth
        assert two.truth
        assert (one.task, one.seed, one.truth.facts[0]["object_name"]) == (
            two.task, two.seed, two.truth.facts[0]["object_name"])  # fmt: skip
        np.testing.assert_array_equal(one.views["wrist"], two.views["wrist"])


def test_a_task_without_an_expert_is_filmed_with_policies_that_need_none(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "collect_episode", fake_collect)
    names = ["fake/a", "robosuite/NutAssemblyRound"]
    made = collection.collect(names, 3, 5, tmp_path, 6)
    assert [e.policy for e in made] == ["expert", "noisy", "expert_then_random", *["random"] * 3]
    assert len({e.seed for e in made[3:]}) == 3
    with pytest.raises(ConfigError, match=r"AssemblyRound has no scripted expert.*random"):
        collection.collect(names, 1, 5, tmp_path, 6, policies=("expert", "undo"))


def test_tasks_without_a_successful_expert_are_named_and_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collection, "collect_episode", fake_collect)
    argv = ["--tasks", "robosuite/NutAssemblyRound", "robosuite/PickPlaceCereal", "--n-frames", "6",
            "--model", "ramp", "--no-controls", "--episodes-per-task", "2", "--json"]  # fmt: skip
    assert main(["eval", "quality", *argv, "--cache", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "2 of 2 tasks have no scripted expert" in said.err
    assert "no control videos, in 2 of 2 tasks: fake/NutAssemblyRound" in said.err
    summary = json.loads(said.out)["rows"][0]["summary"]
    assert summary["mae"]["value"] == pytest.approx(47.5)
    assert summary["voc_reversed"]["value"] is None


def test_damaged_cache_and_unknown_policy_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "collect_episode", fake_collect)
    collection.collect(["fake/a"], 1, 5, tmp_path, 6)
    next(tmp_path.glob("*.npz")).write_bytes(b"PK broken")
    with pytest.raises(DataError, match="delete it"):
        collection.collect(["fake/a"], 1, 5, tmp_path, 6)
    with pytest.raises(ConfigError, match="choose from"):
        collection.collect(["fake/a"], 1, 5, tmp_path, 6, policies=("expertt",))


def test_an_emptied_episode_and_a_file_for_a_cache_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "collect_episode", fake_collect)
    collection.collect(["fake/a"], 1, 5, tmp_path, 6)
    emptied = next(tmp_path.glob("*.npz"))
    emptied.write_bytes(b"")
    with pytest.raises(DataError, match="delete it"):
        collection.collect(["fake/a"], 1, 5, tmp_path, 6)
    with pytest.raises(ConfigError, match="choose another folder"):
        collection.collect(["fake/a"], 1, 5, emptied, 6)


def test_cost_measures_size_and_speed_of_a_checkpoint(tmp_path):
    folder = make_tiny_nano(tmp_path)
    figures = {f.name: f.value for f in measure_cost(
        CostConfig(model=str(folder), n_frames=3, repeats=1, threads=1))}  # fmt: skip
    speeds = {f"nano.ms_{mode}_b{n}" for mode in ("fast", "reason") for n in (1, 8)}
    assert {"nano.params", "nano.mb", "nano.load_s", "nano.tokens_reason", *speeds} == set(figures)
    assert all(value > 0 for value in figures.values())


def test_cost_of_a_control_is_refused():
    with pytest.raises(ConfigError, match="no network"):
        measure_cost(CostConfig.model_validate({"model": "ramp"}))


@pytest.mark.slow
def test_simulated_dev_task_is_measured(tmp_path, capsys):
    code = main(["eval", "quality", "--model", "oracle", "--tasks", "metaworld/dial-turn",
                 "--episodes-per-task", "2", "--cache", str(tmp_path), "--json"])  # fmt: skip
    assert code == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["summary"]["mae"]["value"] == 0.0
    assert len(rows) == 5


def test_cost_of_a_model_with_one_way_is_measured_in_that_way(monkeypatch):
    class OneWay:  # It neither thinks nor says its size, as a fitted head does.
        def score(self, episodes):
            return RandomWalk().score(episodes)

    monkeypatch.setattr("sole.evals.cost.load_reward_model", lambda name, **how: OneWay())
    config = CostConfig(model="models/My Head", n_frames=3, repeats=1, threads=1)
    names = {figure.name for figure in measure_cost(config)}
    assert names == {f"cost.my-head.{n}" for n in ("load_s", "ms_fast_b1", "ms_fast_b8")}


@pytest.mark.parametrize(("width", "n_tables"), [(80, 2), (40, 4), (200, 1)])
def test_models_that_do_not_fit_beside_the_others_come_in_another_table(width, n_tables):
    found = {"a/b": {"spearman": 0.5}, "a/c": {"spearman": 0.7}}
    rows = [Row(f"model{k}", found, {"n_steps": 8.0}) for k in range(4)]
    tables = summary_tables(rows, width)
    assert len(tables) == n_tables
    heads = [str(column.header) for table in tables for column in table.columns]
    assert [h for h in heads if h != "metric"] == [f"model{k}" for k in range(4)]
    for table in tables:
        assert "n_texts" not in list(table.columns[0].cells)  # measured of none of them


def test_a_task_with_a_long_name_hides_none_of_its_numbers():
    long = "libero/KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet"
    found = dict.fromkeys(PER_TASK, 0.12)
    console = Console(width=80, record=True, file=StringIO())
    for table in task_tables(Row("model", {long: found}, {}), 80):
        console.print(table)
    text = console.export_text()
    assert sum(text.count(number) for number in ("0.12", "0.1 ")) == len(PER_TASK)
    assert max(map(len, text.splitlines())) <= 80


def test_kinds_that_recipes_never_draw_can_be_measured_on(tmp_path):
    (left,) = collection.collect(["worlds/drawer-open"], 1, 5, tmp_path, 4, policies=("leave",))
    assert (left.policy, left.n_frames) == ("leave", 4)
    with pytest.raises(ConfigError, match=r"no policy leaves; choose from: .*linger"):
        collection.collect(["worlds/drawer-open"], 1, 5, tmp_path, 4, policies=("leaves",))
