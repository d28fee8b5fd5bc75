"""Plans, policies and the data set builder."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_env import PointEnv
from hypothesis import given
from hypothesis import strategies as st

from sole.cli import main
from sole.config import parse_config
from sole.data.attempt_table import (
    SCHEMA,
    TaskAttempt,
    read_attempt_row,
    read_attempt_table,
    write_attempt_table,
)
from sole.data.attempts import Attempt, read_attempts, save_attempts
from sole.data.cache import put_episode
from sole.data.episode import make_example_episode
from sole.data.lerobot import EpisodeWriter, load_manifest, open_dataset, read_episodes
from sole.data.manifest import dataset_hash
from sole.errors import ConfigError, DataError, SimError
from sole.sims.metaworld_tasks import DEV_TASKS, TEST_TASKS
from sole.sims.registry import make_env, split_of, task_names
from sole.synth import build as building
from sole.synth.build import build, plan
from sole.synth.collect import collect_episode
from sole.synth.config import SynthConfig
from sole.synth.plan import has_expert, plan_jobs, refuse_held_out
from sole.synth.policies import (
    ALL_POLICIES,
    CONTRARY_POLICIES,
    NAMED_POLICIES,
    POLICIES,
    policies_of,
)
from sole.synth.replays import plan_replays, replay
from sole.synth.work import cached_episode


@pytest.mark.parametrize("name", sorted({*TEST_TASKS, *DEV_TASKS}))
def test_held_out_tasks_are_refused(name):
    with pytest.raises(ConfigError, match="held out"):
        refuse_held_out([f"metaworld/{name}"])


def test_training_split_holds_nothing_held_out():
    names = task_names("train")
    assert all(split_of(name) == "train" for name in names)
    assert len([n for n in names if n.startswith("metaworld/")]) == 25


def test_verb_refuses_a_held_out_task(tmp_path, capsys):
    code = main(["synth", "--out", str(tmp_path / "d"), "--tasks", "metaworld/drawer-open"])
    assert code == 2
    assert "held out" in capsys.readouterr().err


def test_plans_are_repeatable_and_use_every_kind_of_policy():
    names = ["metaworld/reach", "metaworld/push-back"]
    plan = plan_jobs(names, 400, seed=3)
    assert plan == plan_jobs(names, 400, seed=3)
    assert {job.policy for job in plan} == set(POLICIES)
    assert plan[: len(names) * 10] == plan_jobs(names, 10, seed=3)


def test_only_suites_with_contrary_experts_are_asked_for_them():
    worlds = plan_jobs(["worlds/drawer-open"], 400, seed=3)
    assert {job.policy for job in worlds} == set(POLICIES | CONTRARY_POLICIES)
    assert not set(policies_of("metaworld")) & set(CONTRARY_POLICIES)


class ArmEnv(PointEnv):
    """Four action components, as policies expect."""

    def __init__(self):
        super().__init__()
        self.action_space = type(self.action_space)(-1.0, 1.0, (4,), np.float32)

    def step(self, action):
        return super().step(np.asarray(action)[:2])

    def expert_action(self):
        return np.array([*super().expert_action(), 0.0, 1.0], np.float32)


def test_named_kinds_are_drawn_only_when_asked_for(tmp_path, capsys):
    name = "worlds/drawer-open"
    unasked = plan_jobs([name], 400, seed=3)
    assert not {job.policy for job in unasked} & set(NAMED_POLICIES)
    asked = plan_jobs([name], 40, seed=3, policies=["leave", "linger"])
    assert {job.policy for job in asked} == {"leave", "linger"}
    flags = ["--tasks", "metaworld/reach", "--policies", "opposite", "--out", str(tmp_path / "d")]
    assert main(["synth", *flags]) == 2
    assert "metaworld has no such kind" in capsys.readouterr().err


def test_who_leaves_leaves_what_was_reached_and_who_lingers_reaches_little():
    """A faucet stays turned though the arm is gone, far from it; near it nothing need turn."""
    left, stayed = (
        [
            collect_episode("worlds/faucet-turn-left", kind, seed, n_frames=31, size_px=32)
            for seed in range(6)
        ]
        for kind in ("leave", "linger")
    )
    true = np.array([e.truth.true_progress for e in left])
    highest = true.max(axis=1)
    assert sum(highest - true[:, -1] < 10) >= 4
    assert sum(highest >= 99) >= 2
    hands = [np.asarray(e.proprio)[:, :3] for e in left]
    done = [int(np.argmax(curve >= best - 5)) for curve, best in zip(true, highest, strict=True)]
    went = [np.linalg.norm(h[-1] - h[k]) for h, k in zip(hands, done, strict=True)]
    assert sum(way > 0.1 for way in went) >= 4
    assert np.mean([e.truth.any_success for e in stayed]) < 0.5


@pytest.mark.parametrize("kind", [*POLICIES, *NAMED_POLICIES])
def test_policies_give_valid_actions_for_ever(kind):
    env, rng = ArmEnv(), np.random.default_rng(0)
    env.reset(seed=1)
    acting = ALL_POLICIES[kind][0](env, rng, 20)
    for _ in range(50):
        action = next(acting)
        assert np.shape(action) == (4,)
        assert np.all(np.isfinite(action))
        env.step(np.clip(action, -1, 1))


def test_what_goes_wrong_in_a_world_begins_before_the_task_is_done():
    names = ["worlds/faucet-turn-left", "worlds/button-press", "worlds/block-push"]
    records = [
        collect_episode(name, "push_away", seed, n_frames=26, size_px=32)
        for name in names
        for seed in range(4)
    ]
    assert all(r.truth is not None for r in records)
    failed = [not r.truth.true_success.any() for r in records if r.truth is not None]
    assert sum(failed) >= 4


def test_an_expert_in_the_wrong_thing_never_succeeds():
    for kind in CONTRARY_POLICIES:
        record = collect_episode("worlds/faucet-turn-left", kind, 3, n_frames=20, size_px=32)
        assert record.truth is not None
        assert record.truth.true_progress[-1] < 50


def test_expert_succeeds_and_freeze_does_not_move():
    expert = collect_episode("metaworld/reach", "expert", 5, n_frames=20, size_px=32)
    frozen = collect_episode("metaworld/reach", "freeze", 5, n_frames=6, size_px=32)
    assert expert.truth.any_success
    assert np.abs(frozen.truth.true_progress).max() < 5
    assert expert.truth.true_progress[0] == 0.0


def test_same_seed_gives_the_same_episode():
    one, two = (
        collect_episode("metaworld/reach", "noisy", 7, n_frames=5, size_px=32) for _ in range(2)
    )
    for name, frames in one.views.items():
        np.testing.assert_array_equal(frames, two.views[name])
    np.testing.assert_array_equal(one.truth.true_progress, two.truth.true_progress)


@pytest.mark.slow
def test_builder_writes_a_dataset_and_continues_after_a_stop(tmp_path):
    flags = ["--tasks", "metaworld/reach", "--episodes-per-task", "6", "--n-frames", "4",
             "--size-px", "64", "--workers", "1"]  # fmt: skip
    out = tmp_path / "data"
    assert main(["synth", "--out", str(out), *flags]) == 0
    assert open_dataset(out).n_episodes == 6
    assert [e.n_frames for e in read_episodes(out)] == [4] * 6
    assert load_manifest(out, verify=True)
    assert main(["synth", "--out", str(out), *flags]) == 0  # nothing left to do
    assert main(["synth", "--out", str(out), *flags, "--seed", "4"]) == 2  # another plan
    assert json.loads((out / "synth.json").read_text())["seed"] == 0


def _made_here(monkeypatch, stop_at=None, fps=80 / 6):
    """Builds take episodes that no simulator made; Ctrl-C comes before number ``stop_at``."""

    @contextmanager
    def simulating(config, jobs, begun):
        def wait(index):
            if index == stop_at:
                raise KeyboardInterrupt
            made = make_example_episode(3, 32, seed=index)
            put_episode(cached_episode(config.out, index), replace(made, fps=fps))

        yield wait

    monkeypatch.setattr("sole.synth.build._simulating", simulating)


def test_a_build_that_is_stopped_inside_a_part_ends_as_an_unbroken_one(tmp_path, monkeypatch):
    settings = {"tasks": ("metaworld/reach",), "episodes_per_task": 4, "size_px": 32}
    whole, stopped = (SynthConfig(out=tmp_path / n, **settings) for n in ("whole", "stopped"))
    _made_here(monkeypatch)
    build(whole)
    _made_here(monkeypatch, stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        build(stopped)
    _made_here(monkeypatch)
    build(stopped)
    hashes = {dataset_hash(load_manifest(c.out, verify=True)) for c in (whole, stopped)}
    assert len(hashes) == 1


def test_films_of_another_rate_are_written_and_continued(tmp_path, monkeypatch):
    settings = SynthConfig(
        out=tmp_path / "set", tasks=("robosuite/Door",), episodes_per_task=3, size_px=32
    )
    monkeypatch.setattr(building, "plan", lambda _: plan_jobs(["metaworld/reach"], 3, 0))
    monkeypatch.setattr(building, "EpisodeWriter", partial(EpisodeWriter, episodes_per_file=2))
    _made_here(monkeypatch, stop_at=2, fps=20 / 3)
    with pytest.raises(KeyboardInterrupt):
        build(settings)
    _made_here(monkeypatch, fps=20 / 3)
    build(settings)
    found = open_dataset(settings.out)
    assert (found.n_episodes, found.fps) == (3, 20 / 3)


def test_tasks_whose_films_differ_in_rate_are_refused_before_anything_is_simulated(tmp_path):
    suites = ("robosuite/", "maniskill/", "libero/")
    other = next(n for n in task_names("train") if n.startswith(suites) and has_expert(n))
    settings = SynthConfig(out=tmp_path / "set", tasks=("metaworld/reach", other))
    with pytest.raises(ConfigError, match=r"differ in frames per second: .* and .*own --out"):
        plan(settings)
    assert plan(settings.model_copy(update={"tasks": ("metaworld/reach", "worlds/drawer-open")}))


class DeadAndAlive:
    """A process that stands for a worker; number 0 has crashed, the other one is never done."""

    made: ClassVar[list["DeadAndAlive"]] = []

    def __init__(self, *, target, args, daemon):
        self.number, self.done = args[1], []
        self.made.append(self)

    def is_alive(self):
        assert self.number == 0, "waited for a worker that does not have the episode"
        return False

    def __getattr__(self, name):
        return lambda: self.done.append(name)


def test_a_crashed_worker_ends_the_build_at_once_and_the_other_workers_too(tmp_path, monkeypatch):
    context = SimpleNamespace(Process=DeadAndAlive)
    monkeypatch.setattr(building.multiprocessing, "get_context", lambda _: context)
    monkeypatch.setattr(DeadAndAlive, "made", [])
    settings = SynthConfig(out=tmp_path, workers=2)
    jobs = plan_jobs(["metaworld/reach"], 4, 0)

    def wait_for_the_third():
        with building._simulating(settings, jobs, 0) as wait:
            wait(2)

    with pytest.raises(SimError, match="ended without an episode"):
        wait_for_the_third()
    assert [one.done for one in DeadAndAlive.made] == [["start", "terminate", "join"]] * 2


def test_a_file_in_place_of_the_data_set_is_said(tmp_path, capsys):
    (tmp_path / "set").write_text("mine")
    assert main(["synth", "--out", str(tmp_path / "set"), "--tasks", "metaworld/reach"]) == 2
    assert "choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", '{"episodes'])
@pytest.mark.parametrize("name", ["synth.json", "meta/info.json"])
def test_a_data_set_whose_settings_or_counts_are_damaged_is_not_continued(tmp_path, name, text):
    settings = SynthConfig(out=tmp_path / "set", tasks=("metaworld/reach",), episodes_per_task=1)
    path = settings.out / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(DataError, match=rf"{path.name}.*choose another --out"):
        build(settings)


@pytest.mark.parametrize("kept", [0, 200])
def test_a_truncated_round_of_attempts_is_refused(tmp_path, kept):
    curve = np.zeros(3, np.float32)
    save_attempts(tmp_path, 0, [Attempt(0, 0, 1, np.zeros((2, 4)), curve, curve)])
    path = tmp_path / "000000.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    with pytest.raises(DataError, match=r"damaged .*; delete it"):
        read_attempts(tmp_path)
    path.unlink()
    (tmp_path / "copy.npz").write_bytes(whole)
    with pytest.raises(DataError, match=r"damaged .*; delete it"):
        read_attempts(tmp_path)


def _agents_run(folder: Path, env_name: str) -> Path:
    """A run folder of two episodes with known actions, as `sole rl` leaves it."""
    env, rng = make_env(env_name, size_px=32), np.random.default_rng(0)
    attempts = []
    for k in range(2):
        env.reset(seed=50 + k)
        actions = rng.uniform(-1, 1, (env.max_steps, 4)).astype(np.float32)
        true_progress = [env.truth()[0]]
        for action in actions:
            env.step(action)
            true_progress.append(env.truth()[0])
        curve = np.array(true_progress, np.float32)
        attempts.append(Attempt(k, k, 50 + k, actions, curve + 60 * k, curve))
    save_attempts(folder / "attempts", 0, attempts)
    (folder / "config.json").write_text(json.dumps({"env": env_name, "task": "go there"}))
    return folder


def test_what_agents_did_is_filmed_with_its_truth_and_again_without_their_runs(tmp_path):
    run = _agents_run(tmp_path / "run", "metaworld/reach")
    flags = ["--size-px", "32", "--workers", "1", "--per-run", "2", "--from-runs"]
    assert main(["synth", "--out", str(tmp_path / "first"), *flags, str(run)]) == 0
    attempts = read_attempts(run / "attempts")
    kept = (tmp_path / "first" / "attempts.parquet").rename(tmp_path / "kept.parquet")
    shutil.rmtree(run)
    assert main(["synth", "--out", str(tmp_path / "again"), *flags, str(kept)]) == 0
    first, again = (list(read_episodes(tmp_path / name)) for name in ("first", "again"))
    assert [e.seed for e in first] == [51, 50]  # the overrated one first
    assert {(e.policy, e.task, e.n_frames) for e in first} == {("agent", "go there", 26)}
    np.testing.assert_allclose(first[1].truth.true_progress, attempts[0].true_progress, atol=1e-3)
    for one, other in zip(first, again, strict=True):
        assert (one.seed, one.task, one.policy) == (other.seed, other.task, other.policy)
        for view in one.views:
            np.testing.assert_array_equal(one.views[view], other.views[view])
        np.testing.assert_array_equal(one.truth.true_progress, other.truth.true_progress)
    assert (tmp_path / "again" / "attempts.parquet").read_bytes() == kept.read_bytes()


@pytest.mark.parametrize("reward", ["nano", "oracle"])
def test_the_most_overrated_attempt_is_always_filmed_unless_the_truth_paid(tmp_path, reward):
    curve = np.zeros(3, np.float32)
    tried = [
        Attempt(k, 0, k, np.zeros((2, 4), np.float32), curve + (50 if k == 3 else 0), curve)
        for k in range(8)
    ]
    save_attempts(tmp_path / "attempts", 0, tried)
    about = {"env": "metaworld/reach", "task": None, "reward": reward}
    (tmp_path / "config.json").write_text(json.dumps(about))
    found = [
        {job.options["number"] for job in plan_replays([tmp_path], 2, seed)} for seed in range(12)
    ]
    assert all(len(numbers) == 2 for numbers in found)
    assert all(3 in numbers for numbers in found) == (reward == "nano")


def test_attempts_on_held_out_tasks_are_refused_from_a_file_too(tmp_path):
    curve = np.zeros(3, np.float32)
    tried = TaskAttempt(
        "metaworld/drawer-open", None, "a", Attempt(0, 0, 1, np.zeros((2, 4)), curve, curve)
    )
    write_attempt_table(tmp_path / "kept.parquet", [tried])
    with pytest.raises(ConfigError, match="held out"):
        plan_replays([tmp_path / "kept.parquet"], 2, 0)


@pytest.mark.parametrize("text", [b"", b"no parquet"])
def test_a_damaged_file_of_attempts_is_refused(tmp_path, text):
    (tmp_path / "kept.parquet").write_bytes(text)
    with pytest.raises(DataError, match=r"kept\.parquet"):
        plan_replays([tmp_path / "kept.parquet"], 2, 0)


@pytest.mark.parametrize(
    "change",
    [{"actions": None}, {"true_progress": [1.0]}, {"true_progress": [1.0, None, 2.0]},
     {"env_name": None}, {"seed": None}, {"actions": [[1.0], [1.0, 2.0]]}],
)  # fmt: skip
def test_a_damaged_attempt_in_a_file_is_refused(tmp_path, change):
    curve, path = np.zeros(3, np.float32), tmp_path / "kept.parquet"
    attempt = Attempt(0, 0, 1, np.zeros((2, 4)), curve, curve)
    write_attempt_table(path, [TaskAttempt("metaworld/reach", None, "a", attempt)])
    (row,) = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, **change}], schema=SCHEMA), path)
    with pytest.raises(DataError, match=r"kept\.parquet: .*attempt"):
        plan_replays([path], 2, 0)


@given(
    n=st.integers(1, 4), seed=st.integers(0, 2**40), task=st.one_of(st.none(), st.text(max_size=9))
)
def test_attempts_come_back_from_their_file_bit_for_bit(tmp_path_factory, n, seed, task):
    path = tmp_path_factory.mktemp("kept") / "kept.parquet"
    rng = np.random.default_rng(seed)
    wrote = [
        TaskAttempt("suite/task", task, f"run{k}", Attempt(
            k, 2 * k, seed + k, rng.normal(size=(3 + k, 4)).astype(np.float32),
            np.append(rng.normal(size=3 + k), np.nan).astype(np.float32),
            rng.normal(size=4 + k).astype(np.float32),
        )) for k in range(n)
    ]  # fmt: skip
    write_attempt_table(path, wrote)
    for one, other, row in zip(wrote, read_attempt_table(path), range(n), strict=True):
        assert (one.env_name, one.task, one.run) == (other.env_name, other.task, other.run)
        for same in (other.attempt, read_attempt_row(path, row).attempt):
            assert (same.episode, same.column, same.seed) == (row, 2 * row, seed + row)
            for name in ("actions", "judged_progress", "true_progress"):
                before, after = getattr(one.attempt, name), getattr(same, name)
                assert after.dtype == before.dtype
                np.testing.assert_array_equal(before, after)
    with pytest.raises(DataError, match="no row"):
        read_attempt_row(path, n)


def test_an_agents_episode_that_comes_out_differently_is_refused(tmp_path):
    run = _agents_run(tmp_path / "run", "metaworld/reach")
    attempts = read_attempts(run / "attempts")
    attempts[0].true_progress[-1] += 20
    save_attempts(run / "attempts", 0, attempts)
    job = next(j for j in plan_replays([run], 2, 0) if j.options["number"] == 0)
    with pytest.raises(SimError, match=r"does not come out again .* by 20 points"):
        replay(job, size_px=32)
    kept = replay(job, size_px=32, keep_divergent=True)
    np.testing.assert_allclose(
        kept.truth.true_progress[:-1], attempts[0].true_progress[:-1], atol=1e-3
    )
    assert kept.truth.true_progress[-1] == pytest.approx(
        attempts[0].true_progress[-1] - 20, abs=1e-3
    )


def test_a_build_goes_on_with_the_attempts_that_were_chosen_when_it_was_begun(
    tmp_path, monkeypatch
):
    run = _agents_run(tmp_path / "run", "metaworld/reach")
    flags = ["--from-runs", str(run), "--per-run", "2", "--size-px", "32", "--workers", "1"]
    settings = parse_config(SynthConfig, ["--out", str(tmp_path / "data"), *flags], "sole synth")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sole.synth.build._simulating", killed)
        with pytest.raises(KeyboardInterrupt):
            build(settings)
    chosen = read_attempt_table(tmp_path / "data" / "attempts.parquet")
    shutil.rmtree(run)
    jobs = plan(settings)
    assert [job.seed for job in jobs] == [c.attempt.seed for c in chosen] == [51, 50]
    assert replay(jobs[0], size_px=32).n_frames == 26


def test_the_hard_negatives_in_the_repository_are_of_training_tasks():
    path = Path(__file__).parents[1] / "presets" / "nano-negatives.parquet"
    jobs = plan_replays([path], 1, 0)
    assert len(jobs) == len(read_attempt_table(path)) > 600
    assert {split_of(job.env_name) for job in jobs} == {"train"}
    assert len({job.env_name for job in jobs}) == 12


def test_runs_on_held_out_tasks_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"env": "metaworld/drawer-open", "task": null}')
    with pytest.raises(ConfigError, match="held out"):
        plan_replays([tmp_path], 2, 0)
