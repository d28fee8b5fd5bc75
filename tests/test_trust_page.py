"""The page of results quotes only what was recorded, and every quote is right."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from sole.config import load_preset
from sole.errors import ConfigError
from sole.evals import quotes
from sole.evals import trust_page as page
from sole.evals.figures import Figure, check_quotes, fill_quotes, load_figures, record_figures
from sole.redteam.config import RedteamConfig
from sole.sims.registry import split_of

ROOT = Path(__file__).parents[1]


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    path = tmp_path / "figures.json"
    record_figures(path, [
        Figure("trust.headline", 0.7, "", 0.6, 0.8), Figure("trust.mae", 25.7, "points"),
        Figure("trust.ramp.headline", 0.0, "", 0.0, 0.0),
        Figure("robust.lookalike_sim.vulnerability", 0.031, "share", 0.01, 0.09),
    ], "sole eval quality")  # fmt: skip
    monkeypatch.setattr(page, "FIGURES", path)
    return path


def test_every_quote_of_the_page_is_right(recorded, tmp_path):
    out = tmp_path / "results.md"
    assert page.main([str(out)]) == 0
    text = out.read_text()
    assert check_quotes(text, load_figures(recorded)) == []
    assert "<!--fig:trust.headline-->0.70<!--/fig-->" in text
    assert "<!--fig:trust.headline@low-->0.60<!--/fig-->" in text
    assert "| lookalike_sim | <!--fig:robust.lookalike_sim.vulnerability-->3%<!--/fig-->" in text
    assert "| <= 5 % |" in text


def test_what_earlier_weights_did_is_marked_and_what_another_model_did_is_not(
    tmp_path, monkeypatch
):
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    weights = tmp_path / "model.safetensors"
    monkeypatch.setattr(quotes, "_WEIGHTS", weights)
    quotes._earlier_weights.cache_clear()
    git("init", "-q")
    commits = []
    for text in ("old", "new"):
        weights.write_text(text)
        git("add", ".")
        git("commit", "-q", "-m", text)
        commits.append(git("rev-parse", "HEAD"))
    about = {"date": "2026-11-22", "machine": "2 cores"}

    def said(commit: str, command: str) -> str:
        return quotes.measured_by(["a"], {"a": {"commit": commit, "command": command, **about}})[1]

    old = hashlib.sha256(b"old").hexdigest()[:10]
    assert f"**measured with the weights before these** (nano-{old})" in said(commits[0], "sole x")
    assert f"nano-{old}" in said(f"{commits[0]}+changes", "sole x")
    assert "before these" not in said(commits[1], "sole x")
    assert "before these" not in said(commits[0], "sole x --model runs/v0")
    assert f"nano-{old}" in said(commits[0], "sole x --model nano")
    assert "weights unknown" in said("unknown", "sole x")
    quotes._earlier_weights.cache_clear()


def test_the_whole_table_stands_beside_those_that_never_look(recorded):
    record_figures(recorded, [
        Figure("trust.kendall_last", 0.34, "", 0.2, 0.45), Figure("trust.tail_rise", 9.0, "points"),
        Figure("trust.ramp.tail_rise", 40.0, "points", 38.0, 42.0),
    ], "sole eval quality")  # fmt: skip
    text = page.trust_page(load_figures(recorded))
    table = text[text.index("## Every metric") :]
    assert "| | nano, without words | time ramp |" in table
    assert "| kendall_last | <!--fig:trust.kendall_last-->0.34<!--/fig--> [" in table
    assert "<!--fig:trust.ramp.tail_rise@low-->38.0<!--/fig-->" in table
    assert "| voc_static |" not in table  # never recorded


def test_other_suites_stand_beside_a_ramp_and_only_those_that_were_measured(recorded):
    record_figures(recorded, [
        Figure("heldout.libero.spearman", 0.31, "", 0.2, 0.4),
        Figure("heldout.libero.auc", float("nan"), ""),
        Figure("heldout.libero.ramp.spearman", 0.22, "", 0.1, 0.3),
    ], "sole eval quality --suite libero")  # fmt: skip
    text = page.trust_page(load_figures(recorded))
    section = text.split("## Suites it was not trained on")[1].split("\n## ")[0]
    model, ramp = (line for line in section.splitlines() if line.startswith("| LIBERO, "))
    assert "<!--fig:heldout.libero.spearman-->0.31<!--/fig-->" in model
    assert "<!--fig:heldout.libero.ramp.spearman-->0.22<!--/fig-->" in ramp
    assert "heldout.libero.auc" not in section, "what was not measured is a dash"
    assert "robosuite" not in section
    assert "--suite libero" in section


def test_the_red_team_has_a_column_for_each_model_that_was_attacked(recorded):
    record_figures(recorded, [
        Figure("redteam.exploits_per_hour_before", 90.0, "per hour", 60.0, 120.0),
        Figure("redteam.exploits_per_hour_shipped", 30.0, "per hour", 20.0, 45.5),
        Figure("redteam.worlds.drawer-open.exploits_shipped", 12, "exploits"),
    ], "sole redteam presets/redteam.toml")  # fmt: skip
    text = page.trust_page(load_figures(recorded))
    assert "| | before hard negatives | the nano that ships |" in text
    assert "<!--fig:redteam.exploits_per_hour_shipped@high-->46<!--/fig-->]" in text
    last = "<!--fig:redteam.worlds.drawer-open.exploits_shipped-->12<!--/fig--> |"
    assert f"| exploits of worlds/drawer-open | - | {last}" in text


def test_other_thresholds_stand_by_rising_rate(recorded):
    record_figures(recorded, [
        Figure("calibrate.fpr", 0.0, "share", 0.0, 0.05),
        *(Figure(f"calibrate.wanted{p}.{name}", p / 100, "share", 0.0, 1.0)
          for p in (20, 5) for name in ("fpr", "recall")),
    ], "sole calibrate --check test")  # fmt: skip
    text = page.trust_page(load_figures(recorded))
    first = text.index("| 5 % false positives | <!--fig:calibrate.wanted5.fpr-->5%<!--/fig--> [")
    assert first < text.index("| 20 % false positives |")


def test_attacks_stand_below_what_is_judged_as_it_is(recorded):
    record_figures(recorded, [
        Figure("robust.success_at", 0.5, "probability"),
        Figure("robust.undisturbed.recall", 0.31, "share", 0.2, 0.4),
        Figure("robust.undisturbed.fpr", 0.05, "share", 0.0, 0.1),
    ], "sole eval robustness --calibration none")  # fmt: skip
    text = page.trust_page(load_figures(recorded))
    said, table = text.index("robust.undisturbed.recall-->31%<"), text.index("| attack,")
    assert text.index("## Disturbed cameras") < said < table


def test_sweeps_and_refinements_stand_on_the_page_with_their_commands(recorded):
    record_figures(recorded, [
        Figure("rl.mw17.solved", 9, "tasks"), Figure("rl.mw17.n_tasks", 17, "tasks"),
        Figure("rl.mw17.n_runs", 51, "runs"), Figure("rl.mw17.n_planned", 51, "runs"),
        Figure("rl.mw17.mean_success", 0.52, "share", 0.47, 0.57),
        Figure("rl.mw17.oracle_solved", 14, "tasks"), Figure("rl.hacked_share", 0.02, "share"),
        Figure("rl.mw17.s_per_1000_steps_score", 27.4, "s"),
        Figure("rl.metaworld.push.true_success", 0.4, "share", 0.2, 0.6),
        Figure("rl.mw17.metaworld.pull.true_success", 0.1, "share"),
    ], "sole bench rl presets/bench-mw17.toml")  # fmt: skip
    record_figures(recorded, [
        Figure("refine.before", 0.3, "share"), Figure("refine.after", 0.55, "share"),
        Figure("refine.p_value", 0.004, ""), Figure("refine.oracle.before", 0.31, "share"),
    ], "sole refine presets/refine.toml")  # fmt: skip
    record_figures(recorded, [
        Figure("attempts.dev8.return_spearman", 0.4, "fraction", 0.2, 0.6),
        Figure("attempts.dev8.selection_gain", 0.3, "fraction"),
    ], "sole eval attempts --prefix attempts.dev8")  # fmt: skip
    figures = load_figures(recorded)
    text = page.trust_page(figures)
    assert check_quotes(text, figures) == []
    assert "| dev8 | <!--fig:attempts.dev8.return_spearman-->0.40<!--/fig--> [" in text
    assert "`sole eval attempts --prefix attempts.dev8`, " in text
    assert "| under test | <!--fig:rl.mw17.n_runs-->51<!--/fig--> of " in text
    assert "<!--fig:rl.mw17.oracle_solved-->14<!--/fig-->" in text
    assert "<!--fig:rl.hacked_share-->2%<!--/fig--> | <= 4 % |" in text
    assert "| metaworld | push | <!--fig:rl.metaworld.push.true_success-->40%<!--/fig--> [" in text
    assert "| metaworld | pull |" not in text
    assert "<!--fig:refine.p_value-->0.004<!--/fig-->" in text
    assert "| oracle | - | <!--fig:refine.oracle.before-->31%<!--/fig--> |" in text
    assert text.count("`sole bench rl presets/bench-mw17.toml`, ") == 3  # sweep, whole, tasks
    assert f"commit {figures['refine.before']['commit'][:10]}" in text
    assert text.count(str(figures["refine.before"]["machine"])) >= 4


def test_what_was_not_recorded_is_not_on_the_page(recorded):
    text = page.trust_page(load_figures(recorded))
    assert "time ramp" in text
    assert not any(
        word in text
        for word in (
            "oracle |",
            "## Calibration",
            "## Red team",
            "agents learn from it\n\n#",
            "refined by",
        )
    )


def test_without_the_table_there_is_no_page(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "FIGURES", tmp_path / "none.json")
    with pytest.raises(ConfigError, match="make trust"):
        page.main([str(tmp_path / "page.md")])


@pytest.mark.parametrize("words", [[], ["--help"], ["a.md", "b.md"]])
def test_without_the_name_of_a_page_nothing_is_written(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"usage: .*PAGE\.md"):
        page.main(words)
    assert not list(tmp_path.iterdir())


def test_an_end_of_an_interval_that_was_not_measured_is_said_to_be_so():
    figures = {"a": {"value": 0.5, "low": None, "high": 0.6, "unit": "share"}}
    text = "<!--fig:a@low-->0%<!--/fig--> <!--fig:a@high-->0%<!--/fig-->"
    filled = "<!--fig:a@low-->not measured<!--/fig--> <!--fig:a@high-->60%<!--/fig-->"
    assert fill_quotes(text, figures) == filled
    assert check_quotes("<!--fig:b@low-->1<!--/fig-->", figures) == ["b@low: no such figure"]


def test_the_red_teams_preset_attacks_five_training_and_three_test_tasks():
    preset = RedteamConfig.model_validate(load_preset(ROOT / "presets" / "redteam.toml"))
    splits = [split_of(task) for task in preset.tasks]
    assert (splits.count("train"), splits.count("test")) == (5, 3)
    assert json.loads(preset.model_dump_json())["minutes"] == 30.0
