"""The demo on a world that takes a second."""

from pathlib import Path

from fake_env import PointEnv

from sole import demo
from sole.config import load_preset
from sole.rewarders.controls import Ramp
from sole.rl import train as rl

TINY = {"n_envs": 4, "random_episodes": 4, "updates_per_episode": 1, "eval_episodes": 4}


def tiny_train(config):
    config = config.model_copy(update=TINY)
    return rl.train(config, envs=[PointEnv() for _ in range(4)], model=Ramp())


def test_demo_writes_its_report_and_says_the_true_success(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "train", tiny_train)
    assert demo.main(["--episodes", "8", "--out", str(tmp_path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "true success of the final policy" in said
    assert "4 evaluation episodes" in said
    page = (tmp_path / "report.html").read_text()
    assert "move the point to the goal" in page


def test_preset_of_the_demo_is_what_the_demo_runs():
    preset = load_preset(Path(__file__).parents[1] / "presets" / "demo.toml")
    shown = demo.DemoConfig()
    assert (preset["env"], preset["episodes"]) == (shown.env, shown.episodes)
    assert preset["reward"] == "nano"
