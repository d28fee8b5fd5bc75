"""Episodes on disk as a LeRobot v3 dataset."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sole.data.episode import EpisodeScore, StepScore, Truth, make_example_episode
from sole.data.lerobot import (
    EpisodeWriter,
    load_manifest,
    open_dataset,
    read_episodes,
    read_scores,
    save_manifest,
    write_scores,
)
from sole.data.stats import column_stats, merge_stats
from sole.errors import DataError


def smooth(episode, seed=0):
    """The episode with pictures that a codec can keep: a gradient and a moving square."""
    views = {}
    for offset, (name, frames) in enumerate(sorted(episode.views.items())):
        film = np.zeros_like(frames)
        film[..., offset] = np.linspace(0, 255, film.shape[2]).astype(np.uint8)
        for index in range(len(film)):
            film[index, 4:12, (index + seed) % 16 : (index + seed) % 16 + 8] = 200
        views[name] = film
    return replace(episode, views=views)


def example(n_frames=6, number=0, **changes):
    return replace(smooth(make_example_episode(n_frames, seed=number), number), **changes)


def write(folder, episodes, fps=10.0, **options):
    with EpisodeWriter(folder, fps, **options) as writer:
        for episode in episodes:
            writer.add(episode)
    return folder


def same_but_pixels(a, b):
    for name in ("task", "fps", "suite", "env_name", "policy", "seed", "extra"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("actions", "proprio"):
        mine, theirs = getattr(a, name), getattr(b, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            assert theirs.dtype == np.float32
            assert np.array_equal(mine, theirs)
    assert (a.truth is None) == (b.truth is None)
    if a.truth is not None:
        assert np.array_equal(a.truth.true_progress, b.truth.true_progress)
        assert np.array_equal(a.truth.true_success, b.truth.true_success)
        assert a.truth.facts == b.truth.facts
    assert {n: f.shape for n, f in a.views.items()} == {n: f.shape for n, f in b.views.items()}


def mean_error(a, b):
    return max(
        float(np.abs(a.views[n].astype(int) - b.views[n].astype(int)).mean()) for n in a.views
    )


def test_episodes_come_back_the_same_but_for_pixels(tmp_path):
    episodes = [
        example(6, 0, extra={"note": "first", "gap": [1, 2]}),
        example(9, 1, task="open the drawer", policy="expert", seed=2**62),
        example(1, 2),
    ]
    found = list(read_episodes(write(tmp_path / "d", episodes)))
    assert len(found) == 3
    for mine, theirs in zip(episodes, found, strict=True):
        same_but_pixels(mine, theirs)
        assert mean_error(mine, theirs) < 5.0


def test_each_episode_of_a_joined_video_has_its_own_pictures(tmp_path):
    levels = [20, 90, 160, 230]
    frames = [np.full((7, 32, 32, 3), level, np.uint8) for level in levels]
    episodes = [example(7, i, views={"external": f}) for i, f in enumerate(frames)]
    for mine, theirs in zip(episodes, read_episodes(write(tmp_path / "d", episodes)), strict=True):
        assert np.abs(theirs.views["external"].astype(int) - mine.views["external"]).max() < 6


def test_odd_sizes_come_back_unpadded(tmp_path):
    episode = smooth(make_example_episode(3, size_px=33))
    (found,) = read_episodes(write(tmp_path / "d", [episode]))
    same_but_pixels(episode, found)
    assert open_dataset(tmp_path / "d").features["observation.images.wrist"]["shape"] == [34, 34, 3]


def test_indices_choose_and_order(tmp_path):
    write(tmp_path / "d", [example(4, i) for i in range(5)], episodes_per_file=2)
    assert [e.seed for e in read_episodes(tmp_path / "d", [4, 0, 3])] == [4, 0, 3]
    for bad in (5, -1):
        with pytest.raises(DataError, match="0 to 4"):
            read_episodes(tmp_path / "d", [bad])


def test_missing_actions_truth_and_facts_stay_missing(tmp_path):
    whole = example(4)
    no_facts = replace(whole, truth=Truth(whole.truth.true_progress, whole.truth.true_success))
    episodes = [whole, replace(whole, actions=None, proprio=None), no_facts, whole.without_truth()]
    found = list(read_episodes(write(tmp_path / "d", episodes)))
    for mine, theirs in zip(episodes, found, strict=True):
        same_but_pixels(mine, theirs)


def test_a_single_view_without_anything_else_is_an_episode(tmp_path):
    episode = replace(example(4), actions=None, proprio=None, truth=None)
    episode = replace(episode, views={"wrist": episode.views["wrist"]})
    (found,) = read_episodes(write(tmp_path / "d", [episode]))
    same_but_pixels(episode, found)


def test_widths_of_one_are_stored_as_numbers(tmp_path):
    episode = example(4, actions=np.arange(4, dtype=np.float32).reshape(4, 1))
    (found,) = read_episodes(write(tmp_path / "d", [episode]))
    same_but_pixels(episode, found)
    table = pq.read_table(tmp_path / "d/data/chunk-000/file-000.parquet")
    assert table["action"].type == pa.float32()


def test_the_layout_is_that_of_lerobot_v3(tmp_path):
    folder = write(tmp_path / "d", [example(6), example(4, 1, task="b")])
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 10, 2)
    assert info["fps"] == 10
    assert info["splits"] == {"train": "0:2"}
    data = pq.read_table(folder / info["data_path"].format(chunk_index=0, file_index=0))
    on_disk = {k for k, f in info["features"].items() if f["dtype"] != "video"}
    assert set(data.column_names) == on_disk
    assert data["index"].to_pylist() == list(range(10))
    assert data["frame_index"].to_pylist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert data["task_index"].to_pylist() == [0] * 6 + [1] * 4
    assert data["timestamp"].to_pylist()[6:8] == pytest.approx([0.0, 0.1])
    assert data["action"].type == pa.list_(pa.float32(), 4)
    key = "observation.images.external"
    row = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()[1]
    assert (row["dataset_from_index"], row["dataset_to_index"], row["length"]) == (6, 10, 4)
    assert row["tasks"] == ["b"]
    assert row[f"videos/{key}/from_timestamp"] == pytest.approx(0.6)
    assert row[f"videos/{key}/to_timestamp"] == pytest.approx(1.0)
    assert (row["data/chunk_index"], row["meta/episodes/file_index"]) == (0, 0)
    stats = json.loads((folder / "meta/stats.json").read_text())
    assert np.shape(stats[key]["mean"]) == (3, 1, 1)
    assert np.shape(stats["action"]["std"]) == (4,)
    assert stats["action"]["count"] == [10]
    assert (folder / f"videos/{key}/chunk-000/file-000.mp4").is_file()


def test_tasks_are_indexed_by_sentence_for_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    folder = write(tmp_path / "d", [example(2, task="a b"), example(2, task="c")])
    frame = pandas.read_parquet(folder / "meta/tasks.parquet")
    assert frame.index.name == "task"
    assert int(frame.loc["c"].task_index) == 1


def test_parts_are_finished_after_so_many_episodes_or_bytes(tmp_path):
    folder = write(tmp_path / "d", [example(2, i) for i in range(5)], episodes_per_file=2)
    assert len(list((folder / "data").rglob("*.parquet"))) == 3
    small = write(tmp_path / "s", [example(30, i) for i in range(3)], max_file_mb=1e-9)
    assert len(list((small / "data").rglob("*.parquet"))) >= 1
    assert [e.seed for e in read_episodes(small)] == [0, 1, 2]


def test_a_killed_writer_loses_only_the_part_it_was_in(tmp_path):
    folder = tmp_path / "d"
    writer = EpisodeWriter(folder, 10.0, episodes_per_file=2)
    for seed in range(5):
        writer.add(example(4, seed))
    # Killed here: the fifth episode was in an unfinished part.
    assert [e.seed for e in read_episodes(folder)] == [0, 1, 2, 3]
    with EpisodeWriter(folder, 10.0, episodes_per_file=2, resume=True) as again:
        assert again.n_episodes == 4
        again.add(example(4, 40, task="new"))
    found = list(read_episodes(folder))
    assert [e.seed for e in found] == [0, 1, 2, 3, 40]
    same_but_pixels(example(4, 40, task="new"), found[-1])
    assert open_dataset(folder).tasks == ("push the puck to the goal", "new")
    for video in writer._videos.values():
        video.abort()


def test_a_resumed_dataset_is_that_of_an_unbroken_run(tmp_path):
    episodes = [example(4, seed) for seed in range(4)]
    whole = write(tmp_path / "whole", episodes, episodes_per_file=2)
    write(tmp_path / "halves", episodes[:2], episodes_per_file=2)
    halves = write(tmp_path / "halves", episodes[2:], episodes_per_file=2, resume=True)
    assert save_manifest(whole, {}).sha256 == save_manifest(halves, {}).sha256


def test_a_part_killed_before_it_was_counted_is_written_again(tmp_path):
    folder = write(tmp_path / "d", [example(4, i) for i in range(4)], episodes_per_file=2)
    info = json.loads((folder / "meta/info.json").read_text())
    info.update(total_episodes=2, total_frames=8)
    (folder / "meta/info.json").write_text(json.dumps(info))
    assert [e.seed for e in read_episodes(folder)] == [0, 1]
    write(folder, [example(5, 9)], episodes_per_file=2, resume=True)
    assert [(e.seed, e.n_frames) for e in read_episodes(folder)] == [(0, 4), (1, 4), (9, 5)]


def test_an_error_in_the_callers_loop_keeps_what_was_added(tmp_path):
    def stop():
        with EpisodeWriter(tmp_path / "d", 10.0) as writer:
            writer.add(example(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert open_dataset(tmp_path / "d").n_episodes == 1


def test_a_part_that_an_error_ends_is_thrown_away_if_it_is_not_to_be_kept(tmp_path):
    def stop():
        with EpisodeWriter(
            tmp_path / "d", 10.0, episodes_per_file=2, keep_unfinished=False
        ) as writer:
            for seed in range(3):
                writer.add(example(4, seed))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert [e.seed for e in read_episodes(tmp_path / "d")] == [0, 1]
    assert not [p for p in (tmp_path / "d").rglob("*") if "file-001" in p.name]
    write(tmp_path / "d", [example(4, 2)], episodes_per_file=2, resume=True, keep_unfinished=False)
    assert [e.seed for e in read_episodes(tmp_path / "d")] == [0, 1, 2]


def test_an_existing_dataset_is_not_overwritten(tmp_path):
    write(tmp_path / "d", [example(2)])
    with pytest.raises(DataError, match="already holds a dataset"):
        EpisodeWriter(tmp_path / "d", 10.0)
    with pytest.raises(DataError, match="frames per second"):
        EpisodeWriter(tmp_path / "d", 20.0, resume=True)


def test_episodes_of_another_kind_are_refused(tmp_path):
    first = example(4)
    others = [
        replace(first, fps=20.0),
        replace(first, views={"external": first.views["external"]}),
        smooth(make_example_episode(4, size_px=48)),
        replace(first, actions=np.zeros((4, 7), np.float32)),
        replace(first, actions=np.zeros(4, np.float32)),
        replace(first, seed=2**64),
    ]
    with EpisodeWriter(tmp_path / "d", 10.0) as writer:
        writer.add(first)
        for other in others:
            with pytest.raises(DataError, match=r"episode|action"):
                writer.add(other)
        writer.add(first)
    assert open_dataset(tmp_path / "d").n_episodes == 2


def test_a_writer_that_got_nothing_leaves_no_dataset(tmp_path):
    write(tmp_path / "d", [])
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "d")


def test_open_dataset_says_what_is_there(tmp_path):
    write(tmp_path / "d", [example(4, 3, policy="expert"), example(5, 4, task="b")])
    info = open_dataset(tmp_path / "d")
    assert (info.n_episodes, info.n_frames, info.fps) == (2, 9, 10.0)
    assert info.tasks == ("push the puck to the goal", "b")
    assert info.cameras == ("observation.images.external", "observation.images.wrist")
    assert [row["policy"] for row in info.episodes] == ["expert", "random"]


def break_info(folder, **changes):
    path = folder / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_datasets_that_are_wrong_are_refused_in_one_line(tmp_path):
    def cut(path):
        path.write_bytes(path.read_bytes()[:-20])

    data, episodes = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
    breakers = {
        "version v2.1": lambda d: break_info(d, codebase_version="v2.1"),
        "counts 9 episodes": lambda d: break_info(d, total_episodes=9),
        "counts 99 frames": lambda d: break_info(d, total_frames=99),
        "lacks or garbles": lambda d: break_info(d, features=3),
        "not JSON": lambda d: (d / "meta/info.json").write_text("{"),
        "expected a JSON object": lambda d: (d / "meta/info.json").write_text("[]"),
        "no meta/info.json": lambda d: (d / "meta/info.json").unlink(),
        "no such file": lambda d: (d / data).unlink(),
        "not a whole parquet": lambda d: cut(d / data),
        "no episode table": lambda d: (d / episodes).unlink(),
        "record version": lambda d: (d / "meta/sole.json").write_text('{"record_version": 99}'),
        "tasks.parquet": lambda d: (d / "meta/tasks.parquet").unlink(),
    }
    for number, (match, breaker) in enumerate(breakers.items()):
        folder = write(tmp_path / str(number), [example(2)])
        breaker(folder)
        with pytest.raises(DataError, match=match) as error:
            list(read_episodes(folder))
        assert "\n" not in str(error.value)


def test_a_data_file_of_another_dataset_is_noticed(tmp_path):
    short, long = write(tmp_path / "a", [example(2)]), write(tmp_path / "b", [example(5)])
    name = "data/chunk-000/file-000.parquet"
    (long / name).write_bytes((short / name).read_bytes())
    with pytest.raises(DataError, match="should have 5 frames"):
        list(read_episodes(long))


def test_the_cameras_of_others_must_be_named(tmp_path):
    folder = write(tmp_path / "d", [example(3)])
    text = (folder / "meta/info.json").read_text()
    (folder / "meta/info.json").write_text(text.replace("images.external", "images.top"))
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    names = [name.replace("images.external", "images.top") for name in table.column_names]
    pq.write_table(table.rename_columns(names), path)
    (folder / "videos/observation.images.external").rename(folder / "videos/observation.images.top")
    (folder / "meta/sole.json").unlink()
    assert list(next(read_episodes(folder)).views) == ["wrist"]
    (found,) = read_episodes(folder, cameras={"external": "observation.images.top"})
    assert list(found.views) == ["external"]
    for wrong in ({"external": "observation.images.side"}, {"top": "observation.images.top"}, {}):
        with pytest.raises(DataError, match="say which is external and wrist"):
            read_episodes(folder, cameras=wrong)


def test_the_manifest_counts_and_notices_changes(tmp_path):
    folder = write(tmp_path / "d", [example(4, 3), example(4, 5, policy="expert")])
    saved = save_manifest(folder, {"suite": "example", "round": 1})
    loaded = load_manifest(folder, verify=True)
    assert loaded == saved
    assert loaded.seeds == (3, 5)
    assert loaded.counts["policy"] == {"expert": 1, "random": 1}
    assert loaded.tasks == {"push the puck to the goal": 2}
    (folder / "meta/stats.json").write_text("{}")
    with pytest.raises(DataError, match=r"first meta/stats\.json"):
        load_manifest(folder, verify=True)
    with pytest.raises(DataError, match="cannot be read"):
        load_manifest(tmp_path)


progress_values = st.floats(-100, 100, allow_nan=False)
steps = st.one_of(
    st.builds(
        StepScore,
        progress=progress_values,
        success_probability=st.none() | st.floats(0, 1),
        reasoning=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        uncertainty=st.none() | st.floats(0, 50),
        scored=st.booleans(),
    ),
    st.builds(StepScore, progress=st.none(), error=st.just("no answer")),
)
episode_scores = st.builds(
    EpisodeScore,
    steps=st.lists(steps, min_size=1, max_size=5).map(tuple),
    model_id=st.just("model"),
    task=st.sampled_from(["a", "b"]),
)


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(episode_scores, max_size=4))
def test_scores_come_back_the_same(tmp_path_factory, scores):
    path = tmp_path_factory.getbasetemp() / "scores.parquet"
    write_scores(path, scores)
    assert read_scores(path) == scores


def test_scores_have_the_columns_of_lerobot(tmp_path):
    score = EpisodeScore((StepScore(0.0), StepScore(-20.0), StepScore(None, error="x")), "m")
    write_scores(tmp_path / "s.parquet", [score, score], episode_indices=[7, 3])
    table = pq.read_table(tmp_path / "s.parquet")
    assert table["index"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert table["episode_index"].to_pylist() == [7] * 3 + [3] * 3
    assert table["frame_index"].to_pylist() == [0, 1, 2] * 2
    assert table["progress_dense"].to_pylist()[:3] == [0.0, 0.0, None]
    with pytest.raises(ValueError, match="zip"):
        write_scores(tmp_path / "s.parquet", [score], episode_indices=[])


def test_scores_that_are_not_are_refused(tmp_path):
    pq.write_table(pa.table({"index": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("a story")
    for name in ("other.parquet", "text.parquet", "absent.parquet"):
        with pytest.raises(DataError, match=name):
            read_scores(tmp_path / name)
    with pytest.raises(DataError, match="cannot be written"):
        write_scores(tmp_path / "no/s.parquet", [])


@settings(max_examples=40, deadline=None)
@given(
    cut=st.integers(1, 19),
    values=st.lists(st.floats(-1e3, 1e3), min_size=20, max_size=20),
)
def test_statistics_of_parts_merge_to_those_of_the_whole(cut, values):
    array = np.asarray(values).reshape(-1, 1)
    parts = [{"a": column_stats(array[:cut])}, {"a": column_stats(array[cut:])}]
    merged, whole = merge_stats(parts)["a"], column_stats(array)
    for name, value in whole.items():
        assert np.allclose(merged[name], value, atol=1e-6), name
