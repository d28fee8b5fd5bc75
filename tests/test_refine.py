"""From a clone of few expert episodes to more, by judged rewards alone."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fake_env import LeakyEnv, PointEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.stats import permutation_test

from sole.config import parse_config
from sole.data.episode import EpisodeScore, StepScore
from sole.errors import ConfigError, DataError, SoleError
from sole.refine import command, plan
from sole.refine import run as run_module
from sole.refine.cloning import clone
from sole.refine.config import RefineConfig
from sole.refine.paired import sign_flip_p_value
from sole.refine.policy import Residual, Weighted, Whole
from sole.refine.run import Refined, refine
from sole.rewarders.controls import Constant, Oracle
from sole.rl.agent import SacAgent
from sole.rl.closed_loop import play
from sole.rl.completion import CompletionGuard
from sole.rl.judge import Judge
from sole.sims.registry import split_of

TINY = {
    "expert_episodes": 2, "clone_updates": 50, "iterations": 3, "n_envs": 4, "updates": 4,
    "warm_up": 1, "batch_size": 16, "eval_episodes": 6, "checkpoint_every": 1,
    "second_look_copies": 0,
}  # fmt: skip


def config(folder, **changes) -> RefineConfig:
    fixed = {"exploration": 0.05, "reward_form": "tri", "end_on_completion": True}
    return RefineConfig(tasks=("fake/point",), out=folder, **{**fixed, **TINY, **changes})


def points(n: int = 4):
    return [PointEnv() for _ in range(n)]


class Nearness(Constant):
    """Judges by red and green pixel, frame by frame; complete when they all but meet."""

    def start(self, task):
        return _NearnessSession()


class _NearnessSession:
    def __init__(self):
        self._first = None

    def step(self, views):
        frame = views["external"]
        places = [np.argwhere(frame[..., k]) for k in (0, 1)]
        apart = np.linalg.norm(places[0][0] - places[1][0]) if all(map(len, places)) else 0.0
        if self._first is None:
            self._first = apart + 0.1
            return StepScore(0.0, 0.0)
        progress = float(np.clip(100 * (1 - apart / self._first), -100, 100))
        return StepScore(progress, success_probability=float(apart <= 1.0))


def toward_goal(states):
    actions = np.clip((states[:, 2:] - states[:, :2]) * 6, -1, 1).astype(np.float32)
    return actions, actions


def still(states):
    return np.zeros((len(states), 2)), np.zeros((len(states), 2))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=8))
def test_the_paired_test_is_that_of_scipy(gains):
    theirs = permutation_test(
        (np.array(gains), np.zeros(len(gains))), lambda a, b: np.mean(a - b),
        permutation_type="samples", n_resamples=np.inf,
    )  # fmt: skip
    assert sign_flip_p_value(gains) == pytest.approx(min(theirs.pvalue, 1.0), abs=1e-9)


def test_many_pairs_are_drawn_and_a_clear_gain_is_found():
    assert sign_flip_p_value([0.1] * 30) < 0.001
    assert sign_flip_p_value([0.1, -0.1] * 15) > 0.9


def test_no_pairs_are_no_test():
    with pytest.raises(ValueError, match="finite gains"):
        sign_flip_p_value([])


def test_a_clone_does_what_the_expert_did():
    states = np.random.default_rng(0).uniform(0, 1, (500, 4)).astype(np.float32)
    actions = toward_goal(states)[1]
    policy, error = clone(states, actions, 600)
    assert error < 0.05
    assert np.mean((policy.act(states) - actions) ** 2) < 0.05


def test_a_saved_clone_acts_as_before(tmp_path):
    states = np.random.default_rng(0).uniform(0, 1, (50, 4)).astype(np.float32)
    policy, _ = clone(states, toward_goal(states)[1], 20)
    other, _ = clone(states, toward_goal(states)[1], 1, seed=4)
    policy.save(tmp_path / "clone.safetensors")
    other.load(tmp_path / "clone.safetensors")
    np.testing.assert_array_equal(policy.act(states), other.act(states))


def improver(kind, tmp_path, **changes):
    states = np.random.default_rng(0).uniform(0, 1, (200, 4)).astype(np.float32)
    actions = toward_goal(states)[1]
    base, _ = clone(states, actions, 100)
    more = () if kind is Residual else ((states, actions),)
    return kind(config(tmp_path, **changes), base, 500, 0, *more), base, states


@pytest.mark.parametrize("kind", [Residual, Whole, Weighted])
def test_before_learning_the_policy_is_the_clone_even_far_from_its_episodes(kind, tmp_path):
    made, base, states = improver(kind, tmp_path)
    for seen in (states, 30 * states - 10):
        np.testing.assert_allclose(made.decide(seen, explore=False)[1], base.act(seen), atol=1e-5)
        assert np.abs(made.seen(list(seen))).max() <= 5.0


@pytest.mark.parametrize("kind", [Residual, Whole, Weighted])
def test_exploration_begins_with_about_the_asked_deviation_of_actions(kind, tmp_path):
    made, base, _ = improver(kind, tmp_path)
    centre = base.mean.numpy()[None].repeat(2000, 0)
    action = made.decide(centre, explore=False)[1]
    slope = 1.0 if kind is Residual else 1 - action**2  # its noise goes through tanh
    noise = (made.decide(centre, explore=True)[1] - action) / slope
    np.testing.assert_allclose(noise.std(0), 0.05, rtol=0.2)


def test_no_cloning_step_draws_the_whole_variant_beyond_tanhs_slope(tmp_path):
    made, _, _ = improver(Whole, tmp_path)
    assert made._actions.abs().max() <= 0.97


def test_a_correction_is_never_larger_than_allowed(tmp_path):
    made, base, states = improver(Residual, tmp_path)
    with torch.no_grad():
        made.agent.sac.actor.mu.bias.fill_(100.0)
    action = made.decide(states, explore=True)[1]
    assert np.all(np.abs(action - base.act(states)) <= 0.1 + 1e-5)
    back = made.decisions_for(states, base.act(states) + 0.05)
    np.testing.assert_allclose(back, 0.5, atol=1e-4)
    far = base.act(states) + np.array([0.0, 0.3])
    assert np.isnan(made.decisions_for(states, far)).all()  # not the largest one in its place


def test_a_correction_costs_its_mean_square_and_an_action_nothing(tmp_path):
    made, _, _ = improver(Residual, tmp_path)
    cost = made.cost(np.array([[0.0, 0.0], [1.0, -1.0], [0.5, 0.0]]))
    np.testing.assert_allclose(cost, [0.0, 0.05, 0.05 * 0.125])
    whole, _, _ = improver(Whole, tmp_path)
    assert whole.cost(np.ones((3, 2))).tolist() == [0.0] * 3


@pytest.mark.parametrize("kind", [Residual, Whole, Weighted])
def test_while_only_the_critic_learns_the_policy_stays(kind, tmp_path):
    made, _, states = improver(kind, tmp_path)
    decisions = np.zeros((20, 2), np.float32)
    made.agent.store_steps(made.seen(states[:21]), decisions, np.ones(20, np.float32))
    before = made.decide(states, explore=False)[1]
    critic = next(made.agent.sac.critic.parameters()).clone()
    made.learn(critic_only=True)
    np.testing.assert_array_equal(made.decide(states, explore=False)[1], before)
    assert not torch.equal(next(made.agent.sac.critic.parameters()), critic)
    made.learn(critic_only=False)
    assert not np.array_equal(made.decide(states, explore=False)[1], before)


@pytest.mark.parametrize("kind", [Residual, Whole, Weighted])
def test_the_critic_alone_learns_of_a_policy_that_never_moved(kind, tmp_path):
    made, _, states = improver(kind, tmp_path)
    decisions = np.zeros((20, 2), np.float32)
    made.agent.store_steps(made.seen(states[:21]), decisions, np.ones(20, np.float32))
    sac = made.agent.sac
    assert sac.log_ent_coef is not None
    weight = sac.log_ent_coef.item()
    made.learn(critic_only=True)
    assert sac.ent_coef_optimizer is not None
    assert not sac.actor.optimizer.state  # not a single step was taken
    assert not sac.ent_coef_optimizer.state
    assert sac.log_ent_coef.item() == weight


@pytest.mark.parametrize("kind", [Residual, Weighted])  # Whole still clones the expert
def test_with_nothing_stored_nothing_is_learned(kind, tmp_path):
    made, _, states = improver(kind, tmp_path)
    before = made.decide(states, explore=False)[1]
    made.learn(critic_only=True)
    made.learn(critic_only=False)
    np.testing.assert_array_equal(made.decide(states, explore=False)[1], before)


@pytest.mark.parametrize(("asked", "expected"), [(True, 4), (False, 0)])
@pytest.mark.parametrize("kind", [Residual, Whole, Weighted])
def test_the_critics_are_normalised_as_asked(kind, asked, expected, tmp_path):
    made, _, _ = improver(kind, tmp_path, critic_layer_norm=asked)
    norms = [m for m in made.agent.sac.critic.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len({id(norm) for norm in norms}) == expected  # two critics of two hidden layers


def weighted_loss(tmp_path, worths, **changes):
    """The loss of four transitions, the worths given by hand; and its parts for a check."""
    made, _, states = improver(Weighted, tmp_path)
    made._config = config(tmp_path, **changes)
    seen = torch.as_tensor(np.stack(made.seen(states[:4])))
    actions = torch.tensor([[0.5, 0.5], [-0.5, 0.2], [0.0, 0.0], [0.9, -0.9]])
    done = SimpleNamespace(observations=seen, actions=actions)
    told = iter((torch.tensor(worths), torch.zeros(4)))  # of what was done, of what it says now
    made._worth = lambda *_: next(told)  # type: ignore[method-assign]
    said = torch.as_tensor(made.decide(states[:4], explore=False)[1])
    squared = ((said - actions.clamp(-0.97, 0.97)) ** 2).mean(1)
    return made._loss(done).item(), squared.numpy()  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_the_weights_are_exponential_in_the_advantage_up_to_twenty(tmp_path, temperature):
    worths = [0.0, 0.03, -0.2, 5.0]  # the last would count e^100 or e^10 times
    loss, squared = weighted_loss(tmp_path, worths, advantage_temperature=temperature)
    weights = np.minimum(np.exp(np.array(worths) / temperature), 20.0)
    assert loss == pytest.approx((weights * squared).sum() / weights.sum(), rel=1e-4)


def test_weights_that_all_but_vanish_are_still_shares(tmp_path):
    loss, squared = weighted_loss(tmp_path, [-1000.0, -1001.0, -1000.0, -1002.0])
    assert loss == pytest.approx(squared[[0, 2]].mean(), rel=1e-4)  # not 0 / 0


def test_of_two_actions_the_weighted_variant_clones_the_one_that_was_paid(tmp_path):
    settings = config(tmp_path, updates=200, gamma=0.5)
    states = np.random.default_rng(0).uniform(0, 1, (200, 4)).astype(np.float32)
    base, _ = clone(states, np.zeros((200, 2), np.float32), 100)
    made = Weighted(settings, base, 500, 0, (states, np.zeros((200, 2), np.float32)))
    actions = np.random.default_rng(1).choice([-0.5, 0.5], (200, 2)).astype(np.float32)
    seen = made.seen(states)
    for t in range(199):
        paid = np.float32([actions[t, 0] > 0])
        made.agent.store_steps(seen[t : t + 2], actions[t : t + 1], paid, completed=True)
    for _ in range(3):
        made.learn(critic_only=False)
    said = made.decide(states, explore=False)[1].mean(0)
    assert said[0] > 0.3  # what paid
    assert abs(said[1]) < 0.2  # what made no difference


def judge(**settings) -> Judge:
    return Judge(Nearness(0.0), form="tri", discount=0.9, **settings)


def guarded(task):
    assert task
    return CompletionGuard(at=0.5, in_a_row=2)


def test_an_episode_ends_when_it_was_judged_complete():
    ended, whole = (
        play(points(1), [0], toward_goal, judge(), guarded=guard)[0] for guard in (guarded, None)
    )
    assert ended.completed
    assert len(ended.decisions) < len(whole.decisions) == 10
    assert not whole.completed
    assert [s.success_probability for s in ended.steps[-2:]] == [1.0, 1.0]


def test_an_episode_that_is_never_complete_runs_to_its_time_limit():
    episode = play(points(1), [0], still, judge(), guarded=guarded)[0]
    assert (episode.completed, len(episode.decisions)) == (False, 10)


def test_one_episode_that_ends_does_not_disturb_the_others():
    def mixed(states):
        wanted, _ = toward_goal(states)
        wanted[states[:, 2] == states[:, 2].max()] = 0.0  # one of them never moves
        return wanted, wanted

    together = play(points(3), [0, 1, 2], mixed, judge(), guarded=guarded)
    assert sorted(e.completed for e in together) == [False, True, True]
    alone = play(points(1), [1], toward_goal, judge(), guarded=guarded)[0]
    if together[1].completed:
        np.testing.assert_array_equal(together[1].observations, alone.observations)


def test_ending_early_costs_the_agent_nothing():
    episode = play(points(1), [0], toward_goal, judge(), guarded=guarded)[0]
    rewards = episode.judgement(judge()).rewards
    assert rewards is not None
    plain = judge().judgement_of(
        EpisodeScore(tuple(episode.steps), "m"), np.array(episode.frames),
        len(episode.observations),
    )  # fmt: skip
    assert plain.rewards is not None
    staying = (plain.judged_progress[-1] / 100 + 1.0 + 0.5) / 3
    forever = sum(0.9**k * staying for k in range(1, 500))
    assert rewards[-1] - plain.rewards[-1] == pytest.approx(forever, rel=1e-4)
    np.testing.assert_array_equal(rewards[:-1], plain.rewards[:-1])


def test_each_episodes_guard_is_told_its_own_sentence():
    class Named(PointEnv):
        def reset(self, *, seed=None, options=None):
            self.task = f"move point {seed} to the goal"
            return super().reset(seed=seed, options=options)

    told = []

    def noting(task):
        told.append(task)
        return guarded(task)

    play([Named(), Named()], [3, 4], still, judge(), guarded=noting)
    assert told == ["move point 3 to the goal", "move point 4 to the goal"]


def test_an_end_is_not_valued_without_a_discount():
    with pytest.raises(ValueError, match="discount below 1"):
        play(points(1), [0], toward_goal, Judge(Nearness(0.0)), guarded=guarded)


def test_the_oracle_judges_running_episodes_too():
    oracle = Judge(Oracle(), privileged=True, form="tri", discount=0.9)
    episode = play(points(1), [0], toward_goal, oracle, every=2, guarded=guarded)[0]
    assert episode.completed
    assert episode.true_success[-1]


def test_the_agents_side_touches_neither_reward_nor_info():
    episodes = play([LeakyEnv() for _ in range(2)], [0, 1], toward_goal, judge())
    assert all(len(e.decisions) == 10 for e in episodes)


class LyingEnv(PointEnv):
    """The same world with another truth, drawn from no generator that a run draws from."""

    def truth(self):
        self.n_asked = getattr(self, "n_asked", 0) + 1
        return float(37 * self.n_asked % 100), self.n_asked % 3 == 0, super().truth()[2]


def test_whatever_the_simulator_says_is_true_the_same_is_refined(tmp_path):
    learned, found = [], []
    for kind in (PointEnv, LyingEnv):
        run = config(tmp_path / kind.__name__)
        found.append(refine(run, "fake/point", 0, [kind() for _ in range(4)], Nearness(0.0)))
        learned.append((last_checkpoint(run.out) / "policy.safetensors").read_bytes())
    assert learned[0] == learned[1]
    assert found[0].ended_early == found[1].ended_early > 0
    assert found[0].false_endings != found[1].false_endings


def lines(folder):
    path = folder / "runs" / "fake.point" / "seed0" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def last_checkpoint(folder):
    return sorted((folder / "runs" / "fake.point" / "seed0" / "checkpoints").glob("step_*"))[-1]


@pytest.mark.parametrize("variant", ["residual", "whole", "weighted"])
def test_a_refinement_runs_from_clone_to_result(tmp_path, variant):
    run = config(tmp_path, variant=variant)
    refined = refine(run, "fake/point", 0, points(), Nearness(0.0))
    assert (len(refined.before), len(refined.after)) == (6, 6)
    assert refined.expert_success == 1.0
    kinds = [m["kind"] for m in lines(tmp_path)]
    assert kinds == ["clone", "iteration", "iteration", "iteration", "after"]


def test_the_experts_stored_actions_are_those_that_moved_the_point(tmp_path, monkeypatch):
    stored = []
    monkeypatch.setattr(Whole, "decisions_for", lambda self, *pair: stored.append(pair) or pair[1])
    run = config(tmp_path, variant="whole", iterations=0, expert_noise=0.4)
    refine(run, "fake/point", 0, points(), Nearness(0.0))
    assert len(stored) == 2
    for states, actions in stored:
        then = states[1:, :2]
        inside = then.max(1) < 0.999
        moved = (then - states[:-1, :2])[inside]
        np.testing.assert_allclose(moved, 0.15 * actions[:-1][inside], atol=1e-5)


def test_a_finished_refinement_is_not_run_again(tmp_path):
    first = refine(config(tmp_path), "fake/point", 0, points(), Nearness(0.0))
    assert refine(config(tmp_path), "fake/point", 0, [], Constant(0.0)) == first
    with pytest.raises(ConfigError, match=r"gamma \(was 0.95, now 0.9\)"):
        refine(config(tmp_path, gamma=0.9), "fake/point", 0, [], Constant(0.0))


def test_two_processes_at_one_refinement_take_turns(tmp_path, monkeypatch):
    begun, let_go = threading.Event(), threading.Event()

    class Waits(Nearness):
        def start(self, task):
            begun.set()
            assert let_go.wait(60)
            return super().start(task)

    n_evaluated = []
    real = run_module.Run.log
    monkeypatch.setattr(
        run_module.Run, "log",
        lambda self, step, **line: n_evaluated.append(line["kind"]) or real(self, step, **line),
    )  # fmt: skip

    def run(model):
        return refine(config(tmp_path), "fake/point", 0, points(), model)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, Waits(0.0))
        assert begun.wait(60)
        second = pool.submit(run, Nearness(0.0))
        with pytest.raises(TimeoutError):
            second.result(0.5)
        let_go.set()
        assert first.result(60) == second.result(60)
    assert n_evaluated.count("after") == 1


@pytest.mark.parametrize("setting", ["critic_layer_norm", "relative_state"])
def test_a_refinement_from_before_a_better_default_is_not_taken_for_one_with_it(tmp_path, setting):
    folder = tmp_path / "runs" / "fake.point" / "seed0"
    folder.mkdir(parents=True)
    newer = {"critic_layer_norm", "relative_state"}
    old = config(tmp_path).model_dump(mode="json", exclude=newer)
    (folder / "config.json").write_text(json.dumps(old))
    with pytest.raises(ConfigError, match=rf"{setting} \(was False, now True\)"):
        refine(config(tmp_path), "fake/point", 0, [], Nearness(0.0))


def test_a_refinement_from_before_a_setting_existed_had_its_default(tmp_path):
    folder = tmp_path / "runs" / "fake.point" / "seed0"
    folder.mkdir(parents=True)
    old = config(tmp_path).model_dump(mode="json", exclude={"caution"})
    (folder / "config.json").write_text(json.dumps(old))
    with pytest.raises(ConfigError, match=r"caution \(was 0.0, now 1.0\)"):
        refine(config(tmp_path, caution=1.0), "fake/point", 0, [], Nearness(0.0))


@pytest.mark.parametrize("variant", ["residual", "whole", "weighted"])
def test_a_killed_refinement_ends_like_an_unbroken_one(tmp_path, variant):
    class Power(Nearness):
        n_started = 0

        def start(self, task):
            self.n_started += 1
            if self.n_started == 2 + 4 + 4 + 1:
                raise KeyboardInterrupt
            return super().start(task)

    def run(name, judged_by):
        settings = config(tmp_path / name, variant=variant, anchor=1.0)
        return refine(settings, "fake/point", 0, points(), judged_by)

    whole = run("a", Nearness(0.0))
    with pytest.raises(KeyboardInterrupt):
        run("b", Power(0.0))
    assert run("b", Nearness(0.0)) == whole
    one, other = (load_file(last_checkpoint(tmp_path / k) / "policy.safetensors") for k in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)
    timed = [
        [{k: v for k, v in m.items() if not k.endswith(("wall_s", "_seconds"))} for m in ls]
        for ls in (lines(tmp_path / "a"), lines(tmp_path / "b"))
    ]
    assert timed[0] == timed[1]


def made(task: str, before, after) -> Refined:
    return Refined(task, 0, list(before), list(after), 1.0, 0.5, 0.1, 0.0)


def test_several_runs_are_pairs_and_one_run_has_its_layouts():
    runs = [made("a", [True, False], [True, True]), made("b", [False] * 2, [True, False])]
    summary = command.summarise(runs)
    assert (summary["before"], summary["after"], summary["pairs"]) == (0.25, 0.75, "runs")
    assert summary["p_value"] == 0.5
    assert command.summarise(runs[:1])["pairs"] == "layouts of the one run"
    names = [f.name for f in command.figures(summary, "refine")]
    assert names[:3] == ["refine.before", "refine.after", "refine.p_value"]


def test_the_command_refines_and_records_its_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan, "make_task", lambda task, place, **_: PointEnv())
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in {**TINY, "iterations": 1}.items()]
    figures = tmp_path / "figures.json"
    more = ["--tasks", "fake/point", "--out", str(tmp_path / "out"), "--figures", str(figures),
            "--raw", str(tmp_path / "raw")]  # fmt: skip
    assert command.main([*more, "--reward", "oracle", "--json", *flags]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["summary"]["n_runs"] == len(said["runs"]) == 1
    rows = pq.read_table(tmp_path / "out" / "outcomes.parquet").to_pylist()
    assert pq.read_table(tmp_path / "raw" / "refine.outcomes.parquet").to_pylist() == rows
    assert [row["before"] for row in rows] == said["runs"][0]["before"]
    assert [row["after"] for row in rows] == said["runs"][0]["after"]
    names = {entry["name"] for entry in json.loads(figures.read_text())}
    assert {"refine.before", "refine.after", "refine.p_value"} <= names


def test_environments_are_made_with_the_state_that_was_asked_for(tmp_path):
    widths = []
    for relative_state in (True, False):
        asked = config(tmp_path, relative_state=relative_state, n_envs=1)
        (task,) = plan._envs(asked, "metaworld/push")
        widths.append(task.reset(seed=0)[0].shape)
    assert widths == [(45,), (39,)]


def test_kept_refinements_are_not_run_again_where_their_folders_are_gone(
    tmp_path, capsys, monkeypatch
):
    began = []
    monkeypatch.setattr(plan, "make_task", lambda task, place, **_: PointEnv())
    real = plan.refine
    monkeypatch.setattr(plan, "refine", lambda *a: began.append(a[1:3]) or real(*a))
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in {**TINY, "iterations": 1}.items()]
    flags += ["--tasks", "fake/point", "--reward", "oracle", "--raw", str(tmp_path / "raw")]

    def run(name, *more):
        assert command.main([*flags, "--out", str(tmp_path / name), "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)["runs"]

    first = run("a")
    assert run("b", "--seeds", "2")[0] == first[0]
    assert began == [("fake/point", 0), ("fake/point", 1)]
    path = tmp_path / "raw" / "refine.outcomes.parquet"
    assert pq.read_table(path).num_rows == 2 * TINY["eval_episodes"]
    with pytest.raises(ConfigError, match=r"raw: holds fake/point, seed 0, .* another updates"):
        run("c", "--updates", "5")
    with pytest.raises(ConfigError, match=r"another reward.*reward model \(oracle, now ramp\)"):
        run("c", "--reward", "ramp")
    rows = pq.read_table(path)
    damaged = pa.array(["{"] * len(rows))
    place = rows.schema.get_field_index("settings")
    pq.write_table(rows.set_column(place, "settings", damaged), path)
    with pytest.raises(DataError, match="settings of fake/point, seed 0, are damaged"):
        run("c")
    assert len(began) == 2


@pytest.mark.slow
def test_runs_side_by_side_are_those_in_turn_and_their_errors_are_told(tmp_path, monkeypatch):
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in {**TINY, "iterations": 1}.items()]
    flags += ["--tasks", "metaworld/reach", "--reward", "oracle", "--seeds", "3", "--json"]
    assert command.main([*flags, "--out", str(tmp_path / "turn")]) == 0
    began = []
    monkeypatch.setattr(run_module._Refinement, "run", lambda self: began.append(1))
    out = tmp_path / "beside"
    assert command.main([*flags, "--out", str(out), "--jobs", "2"]) == 0
    assert began == []  # all of it was done by others
    one, other = (
        json.loads((tmp_path / k / "result.json").read_text()) for k in ("turn", "beside")
    )
    assert one == other
    assert [run["seed"] for run in one["runs"]] == [0, 1, 2]
    with pytest.raises(ConfigError, match="begun with other settings"):
        command.main([*flags, "--out", str(out), "--jobs", "2", "--updates", "5"])
    (out / "runs" / "metaworld.reach" / "seed1" / "result.json").unlink()
    (out / "runs" / "metaworld.reach" / "seed1" / "metrics.jsonl").write_text("damaged")
    with pytest.raises(SoleError, match="goes on from the last checkpoints"):
        command.main([*flags, "--out", str(out), "--jobs", "2"])


def test_a_task_that_is_named_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="named twice"):
        plan.planned(RefineConfig(tasks=("fake/point", "fake/point"), out=tmp_path))


def test_the_preset_names_training_tasks_and_valid_settings():
    path = Path(__file__).parents[1] / "presets" / "refine.toml"
    made_of = parse_config(RefineConfig, [str(path)], "sole refine")
    assert {split_of(task) for task in made_of.tasks} == {"train"}
    assert (made_of.iterations, made_of.seeds, len(made_of.tasks)) == (30, 3, 3)


def test_a_reward_model_of_whole_episodes_is_refused_before_anything_runs(tmp_path, monkeypatch):
    class OfWholeEpisodes(Constant):
        needs_whole_episode = True

    monkeypatch.setattr(plan, "load_reward_model", lambda *_, **__: OfWholeEpisodes(0.0))
    with pytest.raises(ConfigError, match="gvl-causal can"):
        plan.make_model(config(tmp_path, reward="gvl:some/model"))


def test_only_what_a_correction_can_do_is_learned_from_the_expert(tmp_path, monkeypatch):
    stored = []
    monkeypatch.setattr(
        SacAgent, "store_steps", lambda self, *parts, **_: stored.append([len(p) for p in parts])
    )
    reach = np.array([[0.5, 0.5]] * 3 + [[np.nan, np.nan]] * 2 + [[0.1, 0.1]] * 5)
    monkeypatch.setattr(Residual, "decisions_for", lambda self, states, actions: reach)
    run = config(tmp_path, variant="residual", iterations=0, end_on_completion=False)
    refine(run, "fake/point", 0, points(), Nearness(0.0))
    assert stored == [[4, 3, 3], [6, 5, 5]] * 2  # of two episodes; one state more than decisions
