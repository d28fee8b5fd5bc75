"""Judging in the background: the same run at zero delay, never older than asked, never alone."""

import json
import threading
from pathlib import Path

import pytest
from fake_env import LeakyEnv
from test_rl import PixelJudge, comparable, config, points
from test_rl_ppo import stop_after

from sole.errors import ConfigError, ModelError
from sole.rewarders.controls import Constant
from sole.rl import envs as rl_envs
from sole.rl.judge import Judge
from sole.rl.judging import CollectedRound, InBackground
from sole.rl.train import train


def run(folder: Path, model=None, **settings):
    cfg = config(folder, **{"episodes": 24, "checkpoint_every": 12, **settings})
    return train(cfg, envs=points(), model=model or PixelJudge(0.0))


def state(folder: Path) -> tuple[bytes, bytes]:
    last = sorted((folder / "checkpoints").iterdir())[-1]
    return (last / "policy.safetensors").read_bytes(), (last / "buffer.npz").read_bytes()


def lines(folder: Path) -> list[dict]:
    own = ("stale_rounds", "judging_s")
    return [{k: v for k, v in line.items() if k not in own} for line in comparable(folder)]


def stale(folder: Path) -> list[int]:
    return [m["stale_rounds"] for m in comparable(folder) if m["kind"] == "episodes"]


def test_with_no_delay_it_is_bit_for_bit_the_run_that_judges_in_turn(tmp_path):
    run(tmp_path / "turn")
    run(tmp_path / "back", asynchronous=True, stale_rounds=0)
    assert state(tmp_path / "turn") == state(tmp_path / "back")
    assert lines(tmp_path / "turn") == lines(tmp_path / "back")
    assert stale(tmp_path / "back") == [0] * 6


def test_ppo_may_be_judged_in_the_background_without_delay_only(tmp_path):
    for name, settings in (("turn", {}), ("back", {"asynchronous": True, "stale_rounds": 0})):
        run(tmp_path / name, algorithm="ppo", **settings)
    weights = [
        next((tmp_path / name).rglob("policy.safetensors")).read_bytes()
        for name in ("turn", "back")
    ]
    assert weights[0] == weights[1]
    with pytest.raises(ConfigError, match="stale-rounds 0"):
        run(tmp_path / "late", algorithm="ppo", asynchronous=True)


def test_a_delay_is_kept_exactly_except_before_evaluations_and_checkpoints(tmp_path):
    run(tmp_path, asynchronous=True, stale_rounds=2, eval_every=24, checkpoint_every=24)
    # The film in the middle (after round 2) and the end take everything in.
    assert stale(tmp_path) == [2, 1, 0, 2, 1, 0]
    assert [m["episode"] for m in comparable(tmp_path) if m["kind"] == "episodes"] == [
        4, 8, 12, 16, 20, 24
    ]  # fmt: skip


def test_a_delayed_run_is_reproducible_and_another_one_than_in_turn(tmp_path):
    for name in ("a", "b"):
        run(tmp_path / name, asynchronous=True, stale_rounds=1, eval_every=24, checkpoint_every=24)
    run(tmp_path / "turn", eval_every=24, checkpoint_every=24)
    assert state(tmp_path / "a") == state(tmp_path / "b")
    assert state(tmp_path / "a") != state(tmp_path / "turn")


def test_a_continued_run_ends_like_an_unbroken_one(tmp_path):
    settings = {"episodes": 16, "asynchronous": True, "checkpoint_every": 8}
    train(config(tmp_path / "whole", **settings), envs=points(), model=PixelJudge(0.0))
    broken = config(tmp_path / "broken", **settings)
    stop_after(broken, rounds=2)
    train(broken, envs=points(), model=PixelJudge(0.0))
    assert state(tmp_path / "whole") == state(tmp_path / "broken")
    assert lines(tmp_path / "whole") == lines(tmp_path / "broken")


def rollouts(n: int = 2):
    return rl_envs.roll_out(points(n), list(range(n)), lambda o: [[0.1, 0.1]] * n)


def test_the_agent_goes_on_while_a_round_is_judged():
    collected, done = threading.Event(), []

    class Waits(Constant):
        def score(self, episodes):
            assert collected.wait(30), "nobody collected while this round was judged"
            done.append(len(episodes))
            return super().score(episodes)

    judging = InBackground(Judge(Waits(50.0)), stale_rounds=1)
    assert judging.submit(CollectedRound(0, [0, 1], rollouts(), True)) == []
    assert done == []
    second = CollectedRound(2, [2, 3], rollouts(), True)
    collected.set()
    (first,) = judging.submit(second)
    assert first.collected.first_episode == 0
    assert [one.collected for one in judging.finish()] == [second]
    judging.close()


def test_an_error_in_the_background_ends_the_run_with_its_own_words(tmp_path):
    class Breaks(Constant):
        def score(self, episodes):
            if len(episodes) > 1:
                raise ModelError("the server is gone")
            return super().score(episodes)

    with pytest.raises(ModelError, match="the server is gone"):
        run(tmp_path, Breaks(0.0), asynchronous=True)
    assert not [t for t in threading.enumerate() if t.name.startswith("judging")]


def test_background_judging_leaks_no_truth(tmp_path):
    cfg = config(tmp_path, asynchronous=True)
    assert train(cfg, envs=[LeakyEnv() for _ in range(4)], model=PixelJudge(0.0))["n_episodes"] == 4


def test_a_round_says_how_long_its_judging_took(tmp_path):
    run(tmp_path, asynchronous=True, episodes=8)
    read = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(m["judging_s"] >= 0 for m in read if m["kind"] == "episodes")


def test_a_negative_delay_is_refused():
    with pytest.raises(ValueError, match="stale_rounds"):
        InBackground(Judge(Constant(0.0)), -1)
