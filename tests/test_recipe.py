"""Examples, questions and recipes of ``sole synth``; what must never enter a data set."""

import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_openai import FakeEndpoint, says
from PIL import Image

from sole.cli import main
from sole.config import load_preset
from sole.data.attempts import Attempt, save_attempts
from sole.data.episode import Episode, Truth, make_facts
from sole.data.lerobot import EpisodeWriter, load_manifest, open_dataset
from sole.data.manifest import dataset_hash
from sole.errors import SimError
from sole.protocol.prompt import parse_reply
from sole.sims.metaworld_tasks import DEV_TASKS, TEST_TASKS
from sole.sims.registry import SUITES, split_of, task_names
from sole.sims.worlds import make_world
from sole.synth import foundation
from sole.synth.build import build, plan
from sole.synth.claims import judge_text
from sole.synth.config import NOT_THE_RESULT, SynthConfig
from sole.synth.examples import SCHEMA, draw_moments, table_of
from sole.synth.foundation import Question, draw_questions, told_of
from sole.synth.plan import expand_tasks
from sole.synth.replays import plan_replays, replay
from sole.synth.work import examples_of

PRESETS = Path(__file__).parents[1] / "presets"


def pushing(policy="expert"):
    """Ten frames: the gripper comes from the left, takes hold and pushes the puck to the goal."""
    far = np.array([0.3, 0.25, 0.2, 0.1, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02])
    done = np.array([0, 0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1.0])
    facts = tuple(
        make_facts(gripper_to_object_m=f, offset_m=(f, 0.0, 0.0), contact=bool(f < 0.05),
                   done_fraction=d, object_moved_m=d / 5, complete=bool(d == 1.0))
        for f, d in zip(far, done, strict=True)
    )  # fmt: skip
    progress = np.where(done == 1, 100, 35 * (1 - far / 0.3) + 60 * done).astype(np.float32)
    frames = np.arange(10, dtype=np.uint8)[:, None, None, None] * 20
    views = {n: np.broadcast_to(frames, (10, 24, 24, 3)).copy() for n in ("external", "wrist")}
    return Episode(
        "push the puck to the goal", views, truth=Truth(progress, done == 1.0, facts),
        suite="worlds", env_name="worlds/puck-slide-right", policy=policy,
    )  # fmt: skip


def config(tmp_path, **more):
    settings = {"examples_per_episode": 6, "questions_per_episode": 4, "tile_px": 24, **more}
    return SynthConfig(out=tmp_path / "set", **settings)


def test_an_example_holds_a_picture_the_question_and_a_reply_that_is_true(tmp_path):
    rows = examples_of(config(tmp_path), 7, pushing()).to_pylist()
    told = [r for r in rows if r["kind"] == "progress"]
    assert len(told) == 6
    assert {r["episode_index"] for r in rows} == {7}
    for row in told:
        columns = len(row["frames"])
        picture = Image.open(io.BytesIO(row["images"][0]["bytes"]))
        assert picture.size == (25 * columns - 1, 49)
        reply = parse_reply(row["completion"][0]["content"])
        assert reply.progress == round(row["true_progress"])
        assert (columns == 2) == (row["stated_progress"] is None)
        assert "push the puck to the goal" in row["prompt"][-1]["content"]
        claims = json.loads(row["claims"])
        assert len(claims) >= 3
        assert all(claim["true"] is not False for claim in claims)


def test_equal_settings_give_equal_examples_and_another_episode_others(tmp_path):
    one, two = (examples_of(config(tmp_path), 7, pushing()) for _ in range(2))
    assert one.equals(two)
    assert not one.equals(examples_of(config(tmp_path), 8, pushing()))


@pytest.mark.slow
def test_the_datasets_library_gives_pictures_and_trl_finds_its_columns(tmp_path):
    from datasets import load_dataset
    from trl.data_utils import is_conversational, prepare_multimodal_messages

    path = tmp_path / "part.parquet"
    pq.write_table(examples_of(config(tmp_path), 0, pushing()), path)
    loaded = load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path))["train"]
    row = loaded[0]
    assert row["images"][0].size[1] == 49
    assert is_conversational(row)
    asked = prepare_multimodal_messages(row["prompt"], row["images"])
    assert [part["type"] for part in asked[-1]["content"]] == ["image", "text"]


def answers(question: Question, episode: Episode) -> str | None:
    """The answer worked out anew from the facts, for the kinds whose rule is short."""
    facts = [episode.truth.facts[t] for t in question.frames]
    far = [f["gripper_to_object_m"] for f in facts]
    if "In which picture is the gripper nearer" in question.text:
        return "first" if far[0] < far[1] else "second"
    if "did the gripper move closer" in question.text:
        return "closer" if far[1] < far[0] else "away"
    if "where is the" in question.text:
        return "right"
    if "Does the gripper touch" in question.text:
        return "yes" if facts[0]["contact"] else "no"
    if "taken earlier" in question.text:
        return "first" if question.frames[0] < question.frames[1] else "second"
    if "Did the" in question.text:
        return "yes" if facts[0]["object_moved_m"] != facts[1]["object_moved_m"] else "no"
    return None


def test_every_answer_about_space_and_time_follows_from_the_facts():
    episode, rng = pushing(), np.random.default_rng(0)
    asked = [q for _ in range(60) for q in draw_questions(told_of(episode), 6, rng)]
    assert {q.kind for q in asked} == {"spatial", "temporal"}
    known = [(q, answers(q, episode)) for q in asked]
    assert sum(answer is not None for _, answer in known) > 100
    assert all(answer in (None, q.answer) for q, answer in known)
    assert all(q.answer in q.choices for q in asked)
    assert len({q.text.split(":")[0] for q in asked}) >= 6


def test_only_an_expert_is_asked_which_picture_is_earlier():
    rng = np.random.default_rng(0)
    asked = [q for _ in range(40) for q in draw_questions(told_of(pushing("undo")), 8, rng)]
    assert not any("taken earlier" in q.text for q in asked)


@pytest.mark.parametrize(
    ("facts", "answer"),
    [
        ({"done_fraction": 0.0}, "0%"),
        ({"done_fraction": 0.02, "object_moved_m": 0.005}, "0%"),
        ({"done_fraction": 0.05}, None),
        ({"done_fraction": -0.07}, None),
        ({"done_fraction": 0.0, "object_moved_m": 0.05}, None),
        ({"done_fraction": 0.5}, "50%"),
        ({"done_fraction": 0.97}, None),
        ({"done_fraction": 0.97, "complete": True}, "100%"),
        ({"done_fraction": 0.75, "complete": True}, None),
    ],
)
def test_how_much_is_done_is_asked_only_where_the_words_are_true(facts, answer):
    now = make_facts(**facts)
    told = replace(told_of(pushing()), facts=(now,))
    question = foundation._fraction(told, np.random.default_rng(0))
    assert (question and question.answer) == answer
    if question is not None:
        claims = judge_text(question.reasoning, None, now, make_facts())
        assert all(true is not False for _, true in claims)


def test_where_only_the_gripper_moves_it_is_the_gripper_that_comes_nearer():
    now = make_facts(object_name="goal", goal_name="goal", done_fraction=0.5)
    told = replace(told_of(pushing()), facts=(now,))
    question = foundation._fraction(told, np.random.default_rng(0))
    assert question.reasoning == "compared with the start, the gripper has come 50% of the way."


def test_kept_data_sets_keep_their_questions():
    """Their hashes are on record (presets/nano.manifest.json)."""
    now = make_facts(done_fraction=0.05)
    told = replace(told_of(pushing()), facts=(now,), true_success=np.zeros(1, bool))
    drawn = {
        as_kept: {
            q.answer for seed in range(20)
            for q in draw_questions(told, 8, np.random.default_rng(seed), as_kept=as_kept)
        }
        for as_kept in (False, True)
    }  # fmt: skip
    assert drawn[True] - drawn[False] == {"0%"}


def test_landmarks_are_where_the_picture_shows_them():
    env = make_world("puck-slide-forward", seed=4, size_px=128)
    env.reset(seed=2)
    told = env.landmarks()["puck"]
    shown = env.views()["external"].astype(int)
    env._model.geom_rgba[list(env._part.geoms), 3] = 0.0
    where = np.argwhere(np.abs(shown - env.views()["external"]).max(axis=-1) > 20)
    row, column = where.mean(axis=0) / 128
    env.close()
    assert told["picture"] == pytest.approx((column, row), abs=0.04)
    assert 0.3 < told["depth_m"] < 3.0


def test_two_landmarks_are_compared_in_the_picture_and_in_depth():
    at = {"picture": (0.2, 0.5), "depth_m": 1.0, "place_m": (0, 0, 0)}
    to = {"picture": (0.7, 0.5), "depth_m": 1.4, "place_m": (0, 0, 0)}
    episode = replace(pushing(), extra={foundation.LANDMARKS: [{"mug": at, "bin": to}] * 10})
    rng = np.random.default_rng(1)
    for _ in range(10):
        question = foundation._left_of(told_of(episode), rng)
        assert (question.answer == "left") == ("is the mug left" in question.text)
        assert foundation._depth(told_of(episode), rng).answer == "mug"


def test_an_annotator_may_add_words_but_nothing_false(tmp_path):
    replies = [
        "From the wrist camera the gripper touches the puck. The task is complete, so stay there.",
        "The gripper touches the puck, 2 cm away. The task is complete.",
        "The gripper is far from the puck. Nothing is done yet.",
    ]
    with FakeEndpoint(lambda request, number: says(replies[number % 3])) as endpoint:
        episode = pushing().subset([0, 9, 9, 9, 9, 9, 9])
        made = examples_of(
            config(tmp_path, annotator=endpoint.name, questions_per_episode=0), 0, episode
        ).to_pylist()
    by = {row["completion"][0]["content"]: row["text_by"] for row in made}
    assert sum(author == "annotator" for author in by.values()) == 1
    (kept,) = [text for text, author in by.items() if author == "annotator"]
    assert "from the wrist camera" in kept
    assert not any("far from" in text for text in by)
    assert "simulator knows" in str(endpoint.asked[0]["messages"])


def test_the_kept_manifest_is_of_the_recipe_and_of_no_held_out_task(tmp_path):
    shutil.copy(PRESETS / "nano.manifest.json", tmp_path / "manifest.json")
    manifest = load_manifest(tmp_path)
    recipe = SynthConfig.model_validate(load_preset(PRESETS / "nano.toml"))
    jobs = plan(recipe)
    settings = json.loads(recipe.model_dump_json(exclude=NOT_THE_RESULT))
    defaults = SynthConfig(out=tmp_path).model_dump(mode="json", exclude=NOT_THE_RESULT)
    # A setting that came later had its default when the data set was made.
    assert {**defaults, **manifest.sources["settings"]} == settings
    assert manifest.counts["episodes"] == len(jobs) == 20608
    assert set(manifest.seeds) == {job.seed for job in jobs}
    assert manifest.counts["env_name"] == dict(sorted(Counter(j.env_name for j in jobs).items()))
    assert manifest.counts["policy"] == dict(sorted(Counter(j.policy for j in jobs).items()))
    assert {split_of(name) for name in manifest.counts["env_name"]} == {"train"}
    said = (PRESETS.parent / "docs" / "data-format.md").read_text()
    assert dataset_hash(manifest)[:16] in said


def test_the_nano_recipe_is_as_long_as_promised():
    recipe = SynthConfig.model_validate(load_preset(PRESETS / "nano.toml"))
    jobs = plan(recipe)
    assert len(jobs) >= 20_000
    assert len(jobs) * min(recipe.examples_per_episode, recipe.n_frames - 1) >= 300_000
    assert len({job.env_name for job in jobs}) >= 150
    assert {job.options.get("arm") for job in jobs if "worlds" in job.env_name} == set(recipe.arms)
    assert all(split_of(job.env_name) == "train" for job in jobs[:200])


CHEATS = [
    *[(f"metaworld/{name}",) for name in sorted({*TEST_TASKS, *DEV_TASKS})[::8]],
    ("metaworld/reach", "robosuite/Lift"),
    ("libero/" + sorted(SUITES["libero"].tasks)[0],),
    ("maniskill/PickCubeSO100",),
    ("metaworld/Drawer-Open",),
    ("metaworld/drawer-open ",),
    ("METAWORLD/drawer-open",),
    ("drawer-open",),
    ("worlds/../metaworld/drawer-open",),
    ("robosuite/*Lift*",),
    ("libero/*",),
    ("metaworld/*-open",),
    ("metaworld/drawer-?pen",),
]


@pytest.mark.parametrize("names", CHEATS)
def test_no_spelling_of_a_held_out_task_gets_past_the_planner(names, tmp_path):
    code = main(["synth", "--out", str(tmp_path / "set"), "--tasks", *names])
    found = [] if code else [job.env_name for job in plan(SynthConfig(out=tmp_path, tasks=names))]
    assert code == 2
    assert found == []
    assert not (tmp_path / "set").exists()


def test_patterns_stand_for_training_tasks_only():
    assert all(split_of(name) == "train" for name in expand_tasks(["metaworld/*", "worlds/*"]))
    assert len(expand_tasks(["metaworld/*"])) == 25
    assert not set(expand_tasks(["robosuite/*"])) - set(task_names("train"))


def test_a_run_that_lies_about_its_task_comes_out_differently_and_is_refused(tmp_path):
    """An agent's film of a held-out task, renamed to a training task: the truth does not fit."""
    actions = np.zeros((3, 4), np.float32)
    curve = np.array([0, 30, 60, 90], np.float32)
    save_attempts(tmp_path / "attempts", 0, [Attempt(0, 0, 50, actions, curve, curve)])
    (tmp_path / "config.json").write_text('{"env": "worlds/drawer-close", "task": null}')
    (job,) = plan_replays([tmp_path], 1, 0)
    with pytest.raises(SimError, match="does not come out again"):
        replay(job, size_px=32)


def test_a_recorded_set_with_a_held_out_episode_cannot_be_augmented(tmp_path, capsys):
    source = tmp_path / "source"
    with EpisodeWriter(source, fps=10.0) as writer:
        writer.add(pushing())
        writer.add(replace(pushing(), suite="metaworld", env_name="metaworld/drawer-open"))
    flags = ["--out", str(tmp_path / "new"), "--operators", "reverse"]
    assert main(["data", "augment", str(source), *flags]) == 2
    assert "held out" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_task_without_an_expert_is_refused_before_anything_is_simulated(tmp_path, capsys):
    name = next(
        f"robosuite/{n}" for n, t in SUITES["robosuite"].tasks.items()
        if not t.expert and t.split == "train"
    )  # fmt: skip
    assert main(["synth", "--out", str(tmp_path / "set"), "--tasks", name]) == 2
    assert "no scripted expert" in capsys.readouterr().err


def test_a_folder_begun_before_a_setting_existed_may_be_continued(tmp_path):
    from sole.synth.build import _check_same_plan

    settings = config(tmp_path, examples_per_episode=0, questions_per_episode=0, tile_px=96)
    settings.out.mkdir()
    _check_same_plan(settings)
    path = settings.out / "synth.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("arms", "placed")}
    path.write_text(json.dumps(old))
    _check_same_plan(settings)


def test_moments_of_an_episode_are_different_frames():
    moments = draw_moments(pushing(), 9, np.random.default_rng(0))
    assert [m.now for m in moments] == list(range(1, 10))
    assert all(m.previous is None or m.previous < m.now for m in moments)
    assert table_of([], 0).schema.equals(SCHEMA)


TINY = {
    "episodes_per_task": 2,
    "n_frames": 5,
    "size_px": 32,
    "tile_px": 32,
    "examples_per_episode": 2,
    "questions_per_episode": 1,
    "tasks": ("worlds/drawer-open", "worlds/bowl-to-bin-left"),
    "arms": ("sawyer", "scara"),
}


@pytest.mark.slow
def test_the_data_set_is_the_same_from_one_process_two_and_after_a_stop(tmp_path):
    hashes = {}
    for name, workers in (("one", 1), ("two", 2)):
        made = SynthConfig(out=tmp_path / name, workers=workers, **TINY)
        build(made)
        hashes[name] = dataset_hash(load_manifest(made.out, verify=True))
    whole = SynthConfig(out=tmp_path / "stopped", workers=1, **TINY)
    # What a kill leaves: a plan, and finished episodes in the cache.
    from sole.synth.build import _check_same_plan
    from sole.synth.work import cached_episode, keep, make_episode

    cached_episode(whole.out, 0).parent.mkdir(parents=True)
    _check_same_plan(whole)
    for index in (2, 0):
        keep(whole, index, *make_episode(whole, index, plan(whole)[index]))
    build(whole)
    hashes["stopped"] = dataset_hash(load_manifest(whole.out, verify=True))
    assert len(set(hashes.values())) == 1
    assert open_dataset(whole.out).n_episodes == 4
    assert pq.read_table(whole.out / "examples" / "part-00000.parquet").num_rows >= 8


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray warns about itself
def test_the_data_set_is_the_same_from_a_ray_cluster(tmp_path):
    pytest.importorskip("ray")
    hashes = set()
    for name, on_ray in (("here", False), ("ray", True)):
        made = SynthConfig(out=tmp_path / name, workers=1, ray=on_ray, **TINY)
        build(made)
        hashes.add(dataset_hash(load_manifest(made.out, verify=True)))
    assert len(hashes) == 1
