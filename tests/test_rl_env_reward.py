"""``--reward env``: the simulator's own dense reward, to compare with; nothing is judged then."""

import json

import numpy as np
import pytest
from fake_env import PaidEnv, PointEnv

from sole.bench import command as bench_command
from sole.bench import plan, worker
from sole.bench.config import RlBenchConfig
from sole.bench.outcome import read_outcome
from sole.config import parse_config
from sole.data.attempts import read_attempts
from sole.errors import ConfigError
from sole.refine import command as refine_command
from sole.refine.config import RefineConfig
from sole.refine.run import refine
from sole.report.training import write_training_report
from sole.rewarders.load import load_reward_model
from sole.rl.closed_loop import play
from sole.rl.completion import CompletionGuard
from sole.rl.config import RlConfig
from sole.rl.env_reward import EnvReward
from sole.rl.envs import roll_out
from sole.rl.judge import Judge
from sole.rl.train import train
from sole.sims.base import TaskEnv
from sole.sims.metaworld import MetaWorldEnv
from sole.sims.registry import SUITES, _adapter, make_env

TINY = {"n_envs": 4, "random_episodes": 4, "updates_per_episode": 2, "batch_size": 16,
        "episodes": 8, "eval_episodes": 4, "eval_every": 8}  # fmt: skip


def config(folder, **changes) -> RlConfig:
    return RlConfig(run_dir=folder, **{"env": "fake/point", "reward": "env", **TINY, **changes})


def lines_of(run: RlConfig) -> list[dict]:
    return [json.loads(line) for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]


def test_meta_worlds_reward_of_a_decision_is_the_mean_of_the_simulators_numbers():
    env = MetaWorldEnv("drawer-close", size_px=48)
    env.reset(seed=3)
    assert env.own_reward() == 0.0
    simulate, said = env._env.step, []

    def listen(action):
        answer = simulate(action)
        said.append(float(answer[1]))
        return answer

    env._env.step = listen
    paid = []
    for _ in range(env.max_steps):
        _, reward, _, _, info = env.step(env.expert_action())
        assert (reward, info) == (0.0, {})
        paid.append(env.own_reward())
    assert paid == pytest.approx(np.reshape(said, (-1, 6)).mean(1) / 10)
    assert 0 <= min(paid) < 0.5 < max(paid) <= 1
    env.reset(seed=3)
    assert env.own_reward() == 0.0


def test_the_table_of_suites_says_whose_simulator_pays():
    for suite in ("metaworld", "robosuite", "maniskill", "libero"):
        pays = _adapter(suite).own_reward is not TaskEnv.own_reward
        assert SUITES[suite].own_reward == pays
    assert make_env("worlds/drawer-open", seed=0).own_reward() is None
    assert not SUITES["worlds"].own_reward


def test_the_agent_is_paid_what_the_simulator_paid_psi_times():
    ones = np.ones((2, 2))
    rollouts = roll_out([PaidEnv(), PaidEnv()], [3, 4], lambda o: ones, every=5, own_reward=True)
    env = PaidEnv()
    env.reset(seed=4)
    expected = [2 * (env.step(np.ones(2))[1] + env.own_reward()) for _ in range(env.max_steps)]
    judged = Judge(EnvReward(), psi=2.0, own_reward=True)(rollouts)[1]
    assert judged.rewards is not None
    assert judged.rewards.dtype == np.float32
    assert judged.rewards == pytest.approx(expected)
    assert max(expected) > 0
    assert not judged.is_judged
    assert np.isnan(judged.judged_progress).all()
    assert judged.score.n_errors == 3


def test_without_being_told_to_nobody_notes_what_the_simulator_pays():
    assert roll_out([PaidEnv()], [0], lambda o: np.ones((1, 2)))[0].own_rewards == []


@pytest.mark.parametrize("more", [{}, {"algorithm": "ppo"}, {"asynchronous": True}])
def test_a_run_on_it_says_what_is_true_and_nothing_judged(tmp_path, more):
    run = config(tmp_path / "run", **more)
    last = train(run, envs=[PaidEnv() for _ in range(4)])
    assert last["true_success"] is not None
    assert last["judged_success"] is last["judged_progress_final"] is None
    rounds = [line for line in lines_of(run) if line["kind"] == "episodes"]
    assert [line["judged_success"] for line in rounds] == [None, None]
    assert [(line["dropped"], line["reward_model_calls"]) for line in rounds] == [(0.0, 0)] * 2
    assert all(np.isnan(a.judged_progress).all() for a in read_attempts(run.run_dir / "attempts"))
    write_training_report(run.run_dir, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "success as judged" not in page
    assert "dense reward, to compare with" in page
    assert "said about its videos" not in page


@pytest.mark.slow
def test_an_agent_learns_from_it(tmp_path):
    more = {"episodes": 96, "updates_per_episode": 20, "batch_size": 128, "eval_episodes": 20}
    run = config(tmp_path, **{**more, "n_envs": 8})
    assert train(run, envs=[PaidEnv() for _ in range(8)])["true_success"] >= 0.8


class Untouchable(PointEnv):
    """Must not be simulated."""

    def reset(self, **_):
        raise AssertionError("simulated")


@pytest.mark.parametrize(
    "name", ["worlds/drawer-open", "libero/KITCHEN_SCENE3_turn_on_the_stove", "fake/point"]
)
def test_where_no_simulator_pays_it_is_refused_before_anything_is_simulated(tmp_path, name):
    with pytest.raises(ConfigError, match=f"env {name}: has no dense reward of its own"):
        train(config(tmp_path, env=name), envs=[Untouchable() for _ in range(4)])
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_or_refinement_with_one_such_task_is_refused_before_its_first_run(tmp_path):
    tasks = ("metaworld/door-lock", "worlds/drawer-open")
    flags = ["--tasks", *tasks, "--rewards", "nano", "env", "--out", str(tmp_path)]
    sweep = parse_config(RlBenchConfig, flags, "bench")
    with pytest.raises(ConfigError, match="env worlds/drawer-open: has no dense reward"):
        plan.plan_runs(sweep)
    with pytest.raises(ConfigError, match="env worlds/drawer-open: has no dense reward"):
        refine_command.main(["--tasks", *tasks, "--reward", "env", "--out", str(tmp_path / "r")])


@pytest.mark.parametrize(
    ("more", "named"),
    [({"jury": ("ramp",)}, "jury"), ({"copies": 2}, "copies"), ({"keep": "judged"}, "keep"),
     ({"plateau": 2, "caution": 1.0}, "caution, plateau"), ({"calibration": "c.json"}, "calib")],
)  # fmt: skip
def test_settings_that_need_a_judge_are_refused(tmp_path, more, named):
    with pytest.raises(ConfigError, match=f"judges nothing, so {named}"):
        train(config(tmp_path, **more), envs=[Untouchable() for _ in range(4)])


def test_it_is_no_reward_model_for_anyone_else(tmp_path):
    with pytest.raises(ConfigError, match="only --reward of sole rl, sole bench rl"):
        load_reward_model("env")
    jury = config(tmp_path, reward="ramp", jury=("env",))
    with pytest.raises(ConfigError, match="judges no picture"):
        train(jury, envs=[Untouchable() for _ in range(4)])


class Filmless(PaidEnv):
    """Cannot be filmed: who is paid by the simulator needs no pictures."""

    def views(self):
        raise AssertionError("rendered")


def test_episodes_that_run_are_paid_too_and_never_end_by_judgement():
    judge = Judge(EnvReward(), own_reward=True, form="tri", discount=0.9)
    toward = lambda o: (((o[:, 2:] - o[:, :2]) * 6).clip(-1, 1),) * 2  # noqa: E731
    guarded = lambda task: CompletionGuard(0.5, 1)  # noqa: E731
    episode = play([Filmless()], [0], toward, judge, every=2, guarded=guarded)[0]
    assert (len(episode.decisions), episode.completed) == (10, False)
    rewards = episode.judgement(judge).rewards
    assert rewards is not None
    assert rewards == pytest.approx(episode.own_rewards)
    assert rewards[-1] > 0.5
    other = play([PaidEnv()], [0], toward, Judge(load_reward_model("constant:50")), every=2)[0]
    assert other.own_rewards == []


def test_a_refinement_on_it_ends_no_episode_early(tmp_path):
    flags = ["--tasks", "fake/point", "--reward", "env", "--expert-episodes", "2",
             "--clone-updates", "20", "--iterations", "1", "--n-envs", "4", "--updates", "2",
             "--warm-up", "0", "--batch-size", "16", "--eval-episodes", "4"]  # fmt: skip
    settings = parse_config(RefineConfig, [*flags, "--out", str(tmp_path)], "refine")
    refined = refine(settings, "fake/point", 0, [Filmless() for _ in range(4)], EnvReward())
    assert (refined.ended_early, refined.false_endings) == (0.0, None)
    metrics = tmp_path / "runs" / "fake.point" / "seed0" / "metrics.jsonl"
    iteration = [json.loads(x) for x in metrics.read_text().splitlines()][1]
    assert (iteration["judged_progress_final"], iteration["stored"]) == (None, 4)


def test_a_sweep_aggregates_it_without_calling_it_hacked(tmp_path, capsys):
    tiny = [f"{name}={value}" for name, value in TINY.items()]
    flags = ["--tasks", "fake_env:PaidEnv", "--rewards", "env", "constant:0", "--seeds", "1",
             "--out", str(tmp_path), "--settings", *tiny]  # fmt: skip
    for run in plan.plan_runs(parse_config(RlBenchConfig, flags, "bench")):
        plan.write_plan(run)
        assert worker.main(run.run_dir) == 0
        outcome, points = read_outcome(run)
        if run.reward == "env":
            assert (outcome.judged_success, outcome.judged_success_train) == (None, None)
            assert (outcome.hacked, points[-1].judged_success) == (False, None)
    assert bench_command.main(["rl", *flags, "--no-run", "--json"]) == 0
    env, constant = json.loads(capsys.readouterr().out)["rewards"]
    assert (env["reward"], env["n_judged"], env["hacked_share"]) == ("env", 0, None)
    assert (constant["n_judged"], constant["hacked_share"]) == (1, 0.0)
    figures = tmp_path / "figures.json"
    more = ["--name", "small", "--figures", str(figures)]
    assert bench_command.main(["rl", *flags, "--no-run", *more]) == 0
    assert "-" in capsys.readouterr().out
