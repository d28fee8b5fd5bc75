"""``sole data augment``: from any source to a whole new dataset, or to nothing at all."""

import json
from dataclasses import replace

import numpy as np
import pytest
from lerobot_v2_files import write_v2

from sole.cli import main
from sole.data import sources
from sole.data.episode import Truth, make_example_episode, make_facts
from sole.data.lerobot import EpisodeWriter, load_manifest, open_dataset, read_episodes
from sole.data.video import write_video
from sole.errors import ConfigError, DataError
from sole.sims.metaworld_tasks import DEV_TASKS, TEST_TASKS
from sole.synth import augment as augmenting
from sole.synth.perturb import SOURCE

TASKS = {"metaworld/basketball": "put the ball in the hoop", "metaworld/reach": "reach the goal"}


def attempt(number=0, env_name="metaworld/reach", n_frames=6, **changes):
    """A success whose frames can be told apart after encoding: each is one grey."""
    grey = np.linspace(20, 230, n_frames).astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (n_frames, 32, 32, 3)).copy()
    progress = np.array([*np.linspace(0, 95, n_frames - 1), 100.0], np.float32)
    success = progress == 100
    facts = tuple(make_facts(done_fraction=p / 100, complete=bool(p == 100)) for p in progress)
    return replace(
        make_example_episode(n_frames, 32, seed=number),
        views={"external": frames}, task=TASKS.get(env_name, "do it"), env_name=env_name,
        suite=env_name.partition("/")[0], policy="expert", truth=Truth(progress, success, facts),
        **changes,
    )  # fmt: skip


def write(folder, episodes):
    with EpisodeWriter(folder, episodes[0].fps) as writer:
        for episode in episodes:
            writer.add(episode)
    return folder


@pytest.fixture
def source(tmp_path):
    names = list(TASKS)
    return write(tmp_path / "source", [attempt(k, names[k % 2]) for k in range(4)])


def greys(episode):
    return episode.views["external"][:, 16, 16, 0].astype(int).tolist()


def test_a_dataset_becomes_another_one_with_its_labels(source, tmp_path, capsys):
    out = tmp_path / "new"
    flags = ["--operators", "reverse", "rewind", "mismatch", "clip+freeze"]
    assert main(["data", "augment", str(source), "--out", str(out), *flags]) == 0
    made = list(read_episodes(out))
    assert len(made) == 16
    out_text = capsys.readouterr().out
    assert "16 episodes" in out_text
    assert "      4  clip+freeze" in out_text
    policies = {e.policy for e in made}
    assert {"expert+reversed", "expert+rewound", "expert+mismatched"} <= policies
    assert "expert+clipped+frozen" in policies
    for episode in made:
        truth = episode.truth
        assert truth.true_progress[0] == 0.0
        np.testing.assert_array_equal(truth.true_progress == 100, truth.true_success)
        assert len(episode.extra[SOURCE]["frames"]) == episode.n_frames
    back = next(e for e in made if e.policy == "expert+reversed")
    assert back.n_frames == 5  # the complete last frame would have begun it
    assert np.all(np.diff(greys(back)) < 0)


def test_a_mismatched_sentence_is_that_of_another_kind_of_task(source, tmp_path):
    out = tmp_path / "new"
    flags = ["--operators", "mismatch", "--copies", "3"]
    assert main(["data", "augment", str(source), "--out", str(out), *flags]) == 0
    for episode in read_episodes(out):
        assert episode.task != TASKS[episode.env_name]
        assert not episode.truth.true_progress.any()


def test_what_does_another_task_as_well_is_never_shown_under_its_sentence(tmp_path):
    said = {
        "worlds/machine-button": "press the button to start the machine",
        "worlds/button-press": "push the red button",
        "metaworld/reach": "reach the goal",
        "metaworld/pick-place-wall": "lift the puck over the wall",
        "metaworld/push-wall": "push the puck behind the wall",
        "worlds/puck-slide-left": "push the puck to the left",
        "worlds/lid-close": "shut the blue box",
        "metaworld/box-close": "shut the box",
        "worlds/handle-press": "press the handle down",
        "worlds/lever-press": "press the red handle down on the left",
    }
    made = [replace(attempt(k, name), task=task) for k, (name, task) in enumerate(said.items())]
    config = augmenting.AugmentConfig(source=tmp_path, out=tmp_path / "new")
    source = sources.open_source(write(tmp_path / "source", made))
    others = augmenting._sentences(source, [config.operators])
    alike = [list(said)[:2], list(said)[2:6], list(said)[6:8], list(said)[8:]]
    for names in alike:
        for name in names:
            expected = {said[other] for other in said if other not in names}
            assert set(others[name.partition("/")[2]]) == expected


def test_in_recordings_of_others_a_colour_makes_another_task(tmp_path):
    plain = replace(attempt(0), env_name="", suite="")
    made = [replace(plain, task=f"pick the {colour} cube") for colour in ("red", "blue")]
    source = sources.open_source(write(tmp_path / "source", made))
    others = augmenting._sentences(source, [["mismatch"]])
    assert others == {made[0].task: [made[1].task], made[1].task: [made[0].task]}


def test_who_took_the_wrong_object_is_shown_under_no_other_sentence(tmp_path, capsys):
    made = [attempt(k, name) for k, name in enumerate(TASKS)]
    made[0] = replace(made[0], policy="wrong_object")
    source, out = write(tmp_path / "source", made), tmp_path / "new"
    flags = ["--operators", "mismatch", "clip+mismatch"]
    assert main(["data", "augment", str(source), "--out", str(out), *flags]) == 0
    assert not [e.policy for e in read_episodes(out) if "wrong_object" in e.policy]
    assert "left out 2: does another task without a mistake" in capsys.readouterr().err


def test_the_manifest_says_where_it_comes_from_and_hashes_it(source, tmp_path):
    out = tmp_path / "new"
    assert main(["data", "augment", str(source), "--out", str(out), "--originals"]) == 0
    manifest = load_manifest(out, verify=True)
    assert manifest.sources["source"] == str(source)
    assert manifest.sources["source_episodes"] == 4
    assert manifest.counts["policy"]["expert"] == 4
    assert next(iter(read_episodes(out, [0]))).actions is not None


def test_equal_settings_make_equal_datasets(source, tmp_path):
    made = []
    for name in ("one", "two"):
        assert main(["data", "augment", str(source), "--out", str(tmp_path / name)]) == 0
        made.append(list(read_episodes(tmp_path / name)))
    tables = [load_manifest(tmp_path / name).sha256 for name in ("one", "two")]
    assert len({found["data/chunk-000/file-000.parquet"] for found in tables}) == 1
    # Pictures, not files: x264 may cut the same pictures into other bytes.
    for one, two in zip(*made, strict=True):
        assert (one.task, one.policy, one.extra) == (two.task, two.policy, two.extra)
        np.testing.assert_array_equal(one.views["external"], two.views["external"])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("metaworld/drawer-open", "held out"),
        ("metaworld/push", "held out"),
        ("metaworld/unheard", "no task 'metaworld/unheard'"),
    ],
)
def test_held_out_and_unknown_tasks_are_refused(name, why, tmp_path, capsys):
    source = write(tmp_path / "source", [attempt(0), attempt(1, name)])
    assert main(["data", "augment", str(source), "--out", str(tmp_path / "new")]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["metaworld/unheard", "nosuite/reach"])
def test_a_task_that_no_suite_knows_is_refused_as_one_that_could_be_held_out(name):
    with pytest.raises(ConfigError, match=f"could be held out: no task '{name}'"):
        augmenting.refuse_held_out_rows([{"env_name": "metaworld/reach"}, {"env_name": name}])


@pytest.mark.parametrize("name", sorted({*TEST_TASKS, *DEV_TASKS}))
def test_a_held_out_task_is_known_by_its_suite_and_short_name_too(name):
    with pytest.raises(ConfigError, match="held out"):
        augmenting.refuse_held_out_rows([{"suite": "metaworld", "env_name": name}])


def test_a_failure_on_the_way_leaves_nothing(source, tmp_path, monkeypatch):
    def fail(folder, origin):
        raise DataError("the disk is full")

    monkeypatch.setattr(augmenting, "save_manifest", fail)
    assert main(["data", "augment", str(source), "--out", str(tmp_path / "new")]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--operators", "shuffle"], "no operator shuffle; choose from: reverse"),
        (["--operators"], "no operator given"),
        (["--task", "reach it"], "has its own sentences"),
        (["--external", "observation.images.top"], "cameras"),
    ],
)
def test_wrong_settings_are_one_line(source, tmp_path, capsys, flags, words):
    assert main(["data", "augment", str(source), "--out", str(tmp_path / "new"), *flags]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err


def test_a_name_that_is_taken_is_refused(source, capsys):
    assert main(["data", "augment", str(source), "--out", str(source)]) == 2
    assert "already there" in capsys.readouterr().err
    assert open_dataset(source).n_episodes == 4


def test_one_kind_of_task_has_no_wrong_sentence(tmp_path, capsys):
    source = write(tmp_path / "source", [attempt(0), attempt(1)])
    assert main(["data", "augment", str(source), "--out", str(tmp_path / "new")]) == 2
    assert "needs another" in capsys.readouterr().err


def test_episodes_too_short_are_left_out_and_counted(tmp_path, capsys):
    source = write(tmp_path / "source", [attempt(0), attempt(1, n_frames=2)])
    flags = ["--operators", "rewind"]
    assert main(["data", "augment", str(source), "--out", str(tmp_path / "new"), *flags]) == 0
    assert "left out 1: shorter than 3 frames" in capsys.readouterr().err
    assert open_dataset(tmp_path / "new").n_episodes == 1


def test_what_the_trainer_cannot_use_can_be_left_out(source, tmp_path, capsys):
    command = ["data", "augment", str(source), "--out", str(tmp_path / "new"), "--facts-only"]
    assert main([*command, "--operators", "rewind", "mismatch"]) == 0
    assert "left out 4: no facts left" in capsys.readouterr().err
    assert all(e.truth.facts for e in read_episodes(tmp_path / "new"))


def test_a_folder_of_videos_gets_the_order_of_frames_as_a_proxy(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for k in range(2):
        write_video(films / f"{k}.mp4", attempt(k).views["external"], 10.0)
    flags = ["--task", "open the drawer", "--operators", "reverse"]
    assert main(["data", "augment", str(films), "--out", str(tmp_path / "new"), *flags]) == 0
    made = list(read_episodes(tmp_path / "new"))
    assert [e.truth for e in made] == [None, None]
    assert made[0].extra["order_progress"] == [0, -20, -40, -60, -80, -100]
    assert np.all(np.diff(greys(made[0])) < 0)


def test_a_dataset_of_the_older_layout_is_read_and_augmented(tmp_path, capsys):
    recorded = [attempt(0), attempt(1, n_frames=8)]
    old = write_v2(tmp_path / "old", recorded)
    command = ["data", "augment", str(old), "--out", str(tmp_path / "new"), "--originals",
               "--operators", "reverse"]  # fmt: skip
    assert main(command) == 2
    assert "observation.images.top" in capsys.readouterr().err
    assert main([*command, "--external", "top"]) == 0
    made = list(read_episodes(tmp_path / "new"))
    assert [e.n_frames for e in made] == [6, 6, 8, 8]
    np.testing.assert_array_equal(made[0].actions, recorded[0].actions)
    assert made[3].extra["order_progress"][-1] == -100


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "meta/episodes.jsonl").unlink(), "cannot be read"),
        (lambda d: (d / "meta/episodes.jsonl").write_text("{}"), "not an episode table"),
        (lambda d: (d / "data/chunk-000/episode_000000.parquet").unlink(), "no such file"),
        (lambda d: next(d.rglob("*.mp4")).write_bytes(b"x"), "cannot be read as a video"),
    ],
)
def test_a_damaged_old_dataset_is_one_line_and_leaves_nothing(tmp_path, capsys, spoil, words):
    old = write_v2(tmp_path / "old", [attempt(0)])
    spoil(old)
    command = ["data", "augment", str(old), "--out", str(tmp_path / "new"), "--external", "top",
               "--operators", "reverse"]  # fmt: skip
    assert main(command) == 2
    assert words in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_old_episodes_of_a_wrong_length_are_refused(tmp_path):
    old = write_v2(tmp_path / "old", [attempt(0)])
    row = {"episode_index": 0, "tasks": ["reach"], "length": 7}
    (old / "meta/episodes.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match="should have 7 frames"):
        list(sources.open_source(old, cameras={"external": "top"}).read())


@pytest.mark.parametrize(("name", "words"), [("absent", "no such"), (".", "say what they show")])
def test_what_is_no_source_is_refused(tmp_path, capsys, name, words):
    command = ["data", "augment", str(tmp_path / name), "--out", str(tmp_path / "new")]
    assert main(command) == 2
    assert words in capsys.readouterr().err
