"""Red-team searches on worlds with known answers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_env import PointEnv
from gymnasium.spaces import Box
from hypothesis import given
from hypothesis import strategies as st
from test_browser import check_driven, drive, needs_browser
from test_calibrated_ways import Talker, calibrated

from sole.cli import main
from sole.data.attempts import read_attempts
from sole.data.cache import get_episode
from sole.data.episode import EpisodeScore, StepScore, make_facts
from sole.data.scores import read_scores
from sole.errors import ConfigError, DataError, SimError
from sole.redteam.command import redteam_figures, refuse_unrepeatable, run, show
from sole.redteam.config import RedteamConfig, ReplayConfig
from sole.redteam.exploit import (
    Curves,
    Rule,
    change_picture,
    distinct,
    find_exploit,
    similarity,
)
from sole.redteam.motions import CrossEntropy, spread_knots
from sole.redteam.replay import replay
from sole.redteam.rounds import objective, read_rounds, save_round
from sole.redteam.saved import read_exploits
from sole.redteam.search import Budget, Search, budget_of, searches
from sole.rewarders.controls import Constant, Oracle, Ramp

LAMP = "fake/lamp"


class LampEnv(PointEnv):
    """A point with a goal, and a lamp over the table that a third action turns up."""

    env_name = "lamp"

    def __init__(self, max_steps: int = 10):
        super().__init__(max_steps)
        self.action_space = Box(-1.0, 1.0, (3,), np.float32)

    def reset(self, **options):
        self.lamp = 0.0
        return super().reset(**options)

    def step(self, action):
        self.lamp = float(np.clip(self.lamp + 0.12 * action[2], 0.0, 1.0))
        return super().step(action[:2])

    def views(self):
        light = np.full((16, 16, 3), round(200 * self.lamp), np.uint8)
        return {name: np.maximum(picture, light) for name, picture in super().views().items()}


class Brightness(Constant):
    """The planted weakness: progress is how bright the table is. It can also give reasons."""

    def __init__(self, words=False):
        super().__init__(0.0)
        self.model_id, self.words = "brightness", words

    def thinking(self):
        return Brightness(words=True)

    def score(self, episodes):
        assert all(e.truth is None for e in episodes), "a model must not be shown the truth"
        return [EpisodeScore(self._read(e.views["external"]), self.model_id) for e in episodes]

    def _read(self, frames):
        bright = frames[..., 2].mean((1, 2)) / 2.0
        words = "It is bright, so it is done." if self.words else ""
        return tuple(StepScore(float(p), reasoning=words) for p in bright - bright[0])


def lamp(_name, _geometry):
    return LampEnv()


def config(out: Path, **changes) -> RedteamConfig:
    settings = {"tasks": (LAMP,), "episodes": 64, "optimisers": ("cem",)}
    settings |= {"generations": 4, "updates_per_episode": 1}
    return RedteamConfig(out=out, **{**settings, **changes})


def attack(out: Path, model=None, **changes):
    return run(config(out, **changes), model=model or Brightness(), make=lamp)


def curves(judged, true, success=None, *, solved=False):
    said = np.full(len(judged), np.nan) if success is None else np.array(success, float)
    return Curves(np.array(judged, float), said, np.array(true, float), solved)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """A finished attack of all optimisers on the model with the planted weakness."""
    out = tmp_path_factory.mktemp("redteam") / "out"
    return out, attack(out, optimisers=("random", "cem", "sac"))


# What an exploit is


@pytest.mark.parametrize(
    ("case", "fools"),
    [
        (curves([0, 80], [0, 10]), True),
        (curves([0, 49], [0, 10]), False),  # not judged half done
        (curves([0, 80], [0, 40]), False),  # it has come somewhere
        (curves([0, 60], [0, 35]), False),  # wrong by an ordinary error
        (curves([0, 80], [0, 10], solved=True), False),
        (curves([0, 90, 20], [0, 10, 10]), False),  # the model takes it back, and claims nothing
        (curves([0, 96, 20], [0, 10, 10]), True),  # 95 percent is a claim that it is done
        (curves([0, 30], [0, 10], [0, 0.6]), True),  # called done, whatever the number
        (curves([0, 30], [0, 50], [0, 0.6]), False),
        (curves([np.nan, np.nan], [0, 0]), False),
    ],
)
def test_a_model_is_fooled_when_it_sees_much_where_there_is_little(case, fools):
    assert (find_exploit(case, Rule()) is not None) is fools


def test_a_finding_is_the_worst_moment_at_which_the_model_says_done():
    found = find_exploit(curves([0, 90, 70, 0], [0, 30, 0, 0], [0, 0.9, 0.7, 0]), Rule())
    assert (found.frame, found.judged, found.true, found.claims_success) == (2, 70.0, 0.0, True)


@given(st.lists(st.floats(-100, 95), min_size=2, max_size=8))
def test_who_says_the_truth_is_never_fooled(true):
    assert find_exploit(curves(true, true), Rule()) is None


def test_pushing_things_away_earns_no_objective_and_a_solved_task_costs():
    assert objective(curves([0, 40], [0, -80]), 1.0) == 40.0
    assert objective(curves([0, 40], [0, 30]), 2.0) == -20.0
    assert objective(curves([0, 40], [0, 0], solved=True), 1.0) == -60.0
    assert objective(curves([np.nan, np.nan], [0, 0]), 1.0) == -np.inf


def film(*places):
    frames = np.zeros((len(places), 48, 48, 3), np.uint8)
    for frame, (row, column) in zip(frames, places, strict=True):
        frame[row : row + 12, column : column + 12] = 255
    return frames


def test_the_same_motion_in_another_scene_is_alike_and_another_motion_is_not():
    right = film((0, 0), (0, 16), (0, 32))
    other_scene = right // 2 + 60
    down = film((0, 0), (16, 0), (32, 0))
    one, same, other = (change_picture(f) for f in (right, other_scene, down))
    assert similarity(one, same) > 0.99
    assert similarity(one, other) < 0.7
    assert similarity(*[change_picture(film((0, 0), (0, 0)))] * 2) == 1.0


def test_of_exploits_that_are_alike_the_strongest_stands_for_all():
    one, near, far = np.array([1.0, 0]), np.array([0.9, np.sqrt(0.19)]), np.array([0.0, 1])
    assert distinct([one, far, near, far], 0.8) == {0: 2, 1: 2}
    assert distinct([], 0.8) == {}


# Searching


def test_cem_finds_the_highest_point_of_a_hill():
    search, rng = CrossEntropy(6, 4), np.random.default_rng(0)
    goal = np.linspace(-0.8, 0.8, 6)
    for _ in range(20):
        drawn = search.ask(rng, 16)
        assert np.abs(drawn).max() <= 1.0
        search.tell(drawn, -np.square(drawn - goal).sum(1))
    best = search.ask(rng, 200).mean(0)
    np.testing.assert_allclose(best, goal, atol=0.12)


def test_knots_are_actions_in_between_and_at_both_ends():
    actions = spread_knots(np.array([[1.0, -1.0], [0.0, 1.0]]), 5)
    assert actions.dtype == np.float32
    np.testing.assert_allclose(actions[[0, 2, 4]], [[1, -1], [0.5, 0], [0, 1]])


def test_cem_exploits_a_planted_weakness_within_64_episodes(tmp_path):
    found = attack(tmp_path / "cem")
    (row,) = found["searches"]
    assert row["episodes"] == 64
    assert row["fooling"] >= 8
    assert found["n_exploits"] >= 1
    assert found["exploits_per_hour"] > 0
    blind = attack(tmp_path / "random", optimisers=("random",))["searches"][0]
    assert row["fooling"] > 2 * blind["fooling"]


def test_an_oracle_is_never_exploited(tmp_path):
    found = attack(tmp_path, Oracle(), optimisers=("random", "cem"), episodes=32)
    assert (found["n_fooling"], found["n_exploits"], found["n_saved"]) == (0, 0, 0)
    assert "None was found" in (tmp_path / "report.html").read_text()


def test_no_truth_reaches_sac(tmp_path):
    class Lying(LampEnv):
        def truth(self):
            return -50.0, False, make_facts()

    actions = []
    for name, make in (("true", lamp), ("lie", lambda *_: Lying())):
        settings = config(tmp_path / name, optimisers=("sac",), episodes=12, population=4)
        run(settings, model=Brightness(), make=make)
        folder = Search(LAMP, "sac").folder(tmp_path / name) / "attempts"
        actions.append([a.actions for a in read_attempts(folder)])
    np.testing.assert_array_equal(*actions)


def test_same_seed_finds_the_same_and_another_seed_does_not(tmp_path):
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        attack(tmp_path / name, seed=seed)
        found.append(comparable(tmp_path / name))
    assert found[0] == found[1] != found[2]


class Stopped(Brightness):
    """Stops the run at one of its calls, wherever that is."""

    def __init__(self, after: int):
        super().__init__()
        self.left = after

    def score(self, episodes):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().score(episodes)


@pytest.mark.parametrize("optimiser", ["random", "cem"])
def test_a_stopped_search_goes_on_and_ends_like_an_unbroken_one(tmp_path, optimiser):
    settings = {"optimisers": (optimiser,), "episodes": 48, "population": 8}
    attack(tmp_path / "whole", **settings)
    for after in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            attack(tmp_path / "broken", Stopped(after), **settings)
    assert not (tmp_path / "broken" / "result.json").exists()
    attack(tmp_path / "broken", **settings)
    assert comparable(tmp_path / "whole") == comparable(tmp_path / "broken")


def test_a_stop_before_a_rounds_file_undoes_the_whole_round(tmp_path, monkeypatch):
    settings = {"optimisers": ("sac",), "episodes": 16, "population": 4}
    attack(tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:

        def stop(folder, number, done):
            if number == 2:
                raise KeyboardInterrupt
            save_round(folder, number, done)

        patch.setattr("sole.redteam.search.save_round", stop)
        with pytest.raises(KeyboardInterrupt):
            attack(tmp_path / "broken", **settings)
    attack(tmp_path / "broken", **settings)
    assert comparable(tmp_path / "whole") == comparable(tmp_path / "broken")


@pytest.mark.slow
def test_a_killed_search_goes_on_and_ends_like_an_unbroken_one(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole).wait(timeout=200) == 0
    process = start(broken)
    wait_for(broken / "searches/fake-lamp/sac/rounds/00001.npz")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (broken / "result.json").exists()
    assert start(broken).wait(timeout=200) == 0
    assert comparable(whole) == comparable(broken)


def start(out: Path) -> subprocess.Popen:
    program = (
        "import sys; sys.path[:0] = [sys.argv[2]]\n"
        "from pathlib import Path\nimport torch; torch.set_num_threads(1)\n"
        "from test_redteam import attack\n"
        "attack(Path(sys.argv[1]), optimisers=('cem', 'sac'), episodes=80)\n"
    )
    return subprocess.Popen([sys.executable, "-c", program, str(out), str(Path(__file__).parent)])


def wait_for(path: Path) -> None:
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"no {path}")


def comparable(out: Path):
    """Everything that was found, without the seconds."""
    table = pq.read_table(out / "episodes.parquet").to_pylist()
    saved = [json.loads(path.read_text()) for path in sorted(out.rglob("exploit.json"))]
    return table, saved


def test_minutes_end_a_search_that_has_no_number_of_episodes(tmp_path):
    found = attack(tmp_path, episodes=None, minutes=1e-6)
    assert found["n_episodes"] == 16


def test_each_search_gets_an_equal_share_of_the_minutes_that_are_left(tmp_path):
    settings = config(tmp_path, optimisers=("random", "cem"), episodes=None, minutes=2.0)
    first, second = searches(settings)
    assert budget_of(first, settings) == Budget(None, 60.0)
    run(settings.model_copy(update={"optimisers": ("random",), "minutes": 1e-6}),
        model=Brightness(), make=lamp)  # fmt: skip
    used_s = sum(r.seconds for r in first.rounds(tmp_path))
    assert budget_of(second, settings) == Budget(None, pytest.approx(120.0 - used_s))
    late = settings.model_copy(update={"minutes": 1e-9})
    assert budget_of(second, late).share(0, 0.0) == 1.0


def test_a_finished_search_can_be_made_longer_but_not_with_other_settings(tmp_path):
    assert attack(tmp_path, episodes=32)["n_episodes"] == 32
    assert attack(tmp_path, episodes=48)["n_episodes"] == 48
    with pytest.raises(ConfigError, match=r"seed \(was 0, now 1\)"):
        attack(tmp_path, seed=1)


def test_what_was_found_can_be_counted_again_by_another_rule(tmp_path):
    before = attack(tmp_path)
    again = attack(tmp_path, judged_from=70.0)
    assert again["n_episodes"] == before["n_episodes"]
    assert 0 < again["n_fooling"] < before["n_fooling"]
    assert all(one["judged"] >= 70 for one in again["saved"])


def test_every_optimiser_attacks_every_task():
    plan = searches(config(Path("x"), tasks=("a/b", "a/c"), optimisers=("cem", "sac")))
    assert [(s.env_name, s.optimiser) for s in plan] == [
        ("a/b", "cem"), ("a/b", "sac"), ("a/c", "cem"), ("a/c", "sac")
    ]  # fmt: skip


def test_an_unknown_task_is_refused_before_anything_is_made(tmp_path, capsys):
    assert main(["redteam", "--tasks", "metaworld/juggle", "--out", str(tmp_path / "x")]) == 2
    assert "metaworld/juggle" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


# What is saved


def test_an_exploit_is_saved_with_pictures_film_and_reasons(attacked):
    out, found = attacked
    saved = read_exploits(out)
    assert len(saved) == found["n_saved"] >= 1
    first = saved[0]
    assert first.about["env"] == LAMP
    assert first.about["held_out"] is False
    assert first.episode.truth.true_progress.max() < 40 <= first.about["finding"]["judged"]
    (score,) = read_scores(first.folder / "scores.parquet")
    assert set(score.reasoning) == {"It is bright, so it is done."}
    assert (first.folder / "video.mp4").stat().st_size > 1000


def test_saved_exploits_of_a_task_are_not_alike(attacked):
    pictures = [change_picture(s.episode.views["external"]) for s in read_exploits(attacked[0])]
    near = [similarity(a, b) for k, a in enumerate(pictures) for b in pictures[:k]]
    assert max(near, default=0.0) < 0.7


def test_the_page_holds_scatter_clips_and_words_and_loads_nothing(attacked):
    page = (attacked[0] / "report.html").read_text()
    assert page.count('<section class="player"') == attacked[1]["n_saved"]
    assert page.count("<circle") > 100
    assert "It is bright, so it is done." in page
    assert "http" not in page.replace("http-equiv", "")
    assert (attacked[0] / "scatter.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_one_row_an_episode(attacked):
    rows = pq.read_table(attacked[0] / "episodes.parquet").to_pylist()
    assert len(rows) == attacked[1]["n_episodes"] == 3 * 64
    assert sum(r["fools"] for r in rows) == attacked[1]["n_fooling"]
    assert all(r["true"] < 40 for r in rows if r["fools"])


def test_what_was_found_is_printed_and_recorded(attacked, capsys):
    show(attacked[1])
    assert "distinct exploits in 192 episodes" in " ".join(capsys.readouterr().out.split())
    figures = {f.name: f.value for f in redteam_figures(attacked[1], "before")}
    assert figures["redteam.exploits_per_hour_before"] == attacked[1]["exploits_per_hour"]
    assert figures["redteam.n_episodes_before"] == 192
    json.dumps(attacked[1], allow_nan=False)


def test_rates_have_intervals_over_tasks():
    one = {"seconds": 1800.0, "episodes": 50}
    rows = [{"env": "a", "exploits": 1, **one}, {"env": "a", "exploits": 0, **one},
            {"env": "b", "exploits": 3, **one}, {"env": "b", "exploits": 2, **one}]  # fmt: skip
    counts = {"n_exploits": 6, "n_episodes": 200}
    rates = {"exploits_per_hour": 3.0, "exploits_per_100_episodes": 3.0}
    result = {"searches": rows, **rates, **counts}
    rate, of_100, *_, first, second = redteam_figures(result, "")
    assert (first.name, first.value) == ("redteam.a.exploits", 1)
    assert (second.name, second.value) == ("redteam.b.exploits", 5)
    assert (rate.low, rate.value, rate.high) == (1.0, 3.0, 5.0)
    assert (of_100.low, of_100.value, of_100.high) == (1.0, 3.0, 5.0)
    alone = redteam_figures({**result, "searches": rows[:2]}, "")[0]
    assert np.isnan([alone.low, alone.high]).all()


class Drifting(LampEnv):
    """Its first episodes have another truth than they had when they were judged."""

    def __init__(self, n_off: int):
        super().__init__()
        self.left = n_off + 1

    def reset(self, **options):
        self.left -= 1
        return super().reset(**options)

    def truth(self):
        progress, done, facts = super().truth()
        return (progress - 5 if self.left > 0 else progress), done, facts


def test_an_exploit_that_does_not_come_out_again_costs_nothing_but_its_film(tmp_path):
    settings = config(tmp_path, alike=0.999, keep=3)
    before = run(settings, model=Brightness(), make=lamp)
    assert before["unrepeatable"] == []
    shutil.rmtree(tmp_path / "exploits")
    found = run(settings, model=Brightness(), make=lambda *_: Drifting(1))
    assert json.loads((tmp_path / "result.json").read_text()) == found
    assert found["n_exploits"] == before["n_exploits"]
    assert found["saved"] == before["saved"][1:] != []
    assert [one.about["episode"] for one in read_exploits(tmp_path)] == [
        one["episode"] for one in found["saved"]
    ]
    (gone,) = found["unrepeatable"]
    assert (gone["episode"], gone["film_kept"]) == (before["saved"][0]["episode"], False)
    assert "do not come out again" in (tmp_path / "report.html").read_text()


def test_an_earlier_film_of_what_does_not_come_out_again_is_kept(tmp_path):
    before = attack(tmp_path)
    saved = comparable(tmp_path)
    found = run(config(tmp_path), model=Brightness(), make=lambda *_: Drifting(99))
    assert comparable(tmp_path) == saved
    assert found["saved"] == before["saved"]
    assert [one["film_kept"] for one in found["unrepeatable"]] == [True] * before["n_saved"]


def test_the_verb_prints_and_records_before_it_fails_for_what_does_not_come_out_again(
    tmp_path, monkeypatch, capsys
):
    made = iter([LampEnv(), *[Drifting(1)] * 9])  # one to search in, then one to film in
    monkeypatch.setattr("sole.redteam.search.make_task", lambda *_: next(made))
    monkeypatch.setattr("sole.redteam.replay.load_judge", lambda _: Brightness())
    figures = tmp_path / "figures.json"
    flags = ["--optimisers", "cem", "--generations", "4", "--episodes", "64", "--json"]
    out = ["--out", str(tmp_path / "out"), "--figures", str(figures)]
    assert main(["redteam", "--tasks", "metaworld/door-close", *flags, *out]) == 1
    said = capsys.readouterr()
    (gone,) = json.loads(said.out)["unrepeatable"]
    assert f"does not come out again when simulated anew: {gone['env']}, cem, episode " in said.err
    assert f"episode {gone['episode']} (true progress differs by 5.0 points)" in said.err
    assert "redteam.n_exploits" in figures.read_text()


def test_what_was_counted_is_on_disk_before_anything_is_filmed(tmp_path, monkeypatch):
    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sole.redteam.harvest.film", broken)
    with pytest.raises(KeyboardInterrupt):
        attack(tmp_path)
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["n_exploits"] >= 1
    assert found["n_saved"] is found["unrepeatable"] is None


def test_more_than_one_that_does_not_come_out_again_are_named_up_to_four():
    row = {"env": "a/b", "optimiser": "cem", "seed": 0, "why": "x", "film_kept": False}
    gone = [{**row, "episode": k} for k in range(6)]
    result = {"unrepeatable": gone, "n_saved": 3, "out": "runs/x"}
    with pytest.raises(
        SimError, match=r"^6 of 9 exploits do not come.*episode 3 \(x\); and 2 more"
    ):
        refuse_unrepeatable(result)
    refuse_unrepeatable({**result, "unrepeatable": []})


# Replaying


def test_replay_counts_who_is_still_fooled(attacked):
    saved = read_exploits(attacked[0])
    assert all(replay(saved, Brightness(), 4))
    assert not any(replay(saved, Oracle(), 4))
    assert not any(replay(saved, Constant(40.0), 4))


class Doubter(Talker):
    """Says success with probability 0.4, in both ways."""

    def thinking(self):
        return Doubter(words=True)

    def score(self, episodes):
        return [replace(s, steps=tuple(map(self._doubt, s.steps))) for s in super().score(episodes)]

    def _doubt(self, step):
        return replace(step, success_probability=0.4) if step.success_probability else step


def test_words_are_judged_by_the_threshold_of_the_way_with_words(tmp_path):
    search = {"model": calibrated(Doubter(), 0.3), "optimisers": ("random",), "episodes": 16}
    found = attack(tmp_path, **search)
    assert (found["n_saved"] > 0, found["n_fooling_with_words"]) == (True, 0)
    saved = read_exploits(tmp_path)
    about = saved[0].about
    assert (about["rule"]["success_at"], about["with_words"]["rule"]["success_at"]) == (0.3, 0.5)
    strict = calibrated(Doubter(), 0.9)
    assert not any(replay(saved, strict, 4))
    assert all(replay(saved, strict, 4, 0.35))


def test_a_threshold_that_was_chosen_holds_for_words_and_for_every_replay(tmp_path):
    search = {"model": calibrated(Doubter(), 0.9), "optimisers": ("random",), "episodes": 16}
    found = attack(tmp_path, judged_success_at=0.35, **search)
    assert found["n_fooling_with_words"] == found["n_saved"] > 0
    saved = read_exploits(tmp_path)
    assert all(replay(saved, calibrated(Doubter(), 0.9), 4))
    assert not any(replay(saved, calibrated(Doubter(), 0.3), 4, 0.5))


@pytest.mark.parametrize(
    ("model", "flags", "code"),
    [("ramp", [], 1), ("ramp", ["--max-share", "1"], 0), ("constant:40", [], 0)],
)
def test_replay_exits_with_1_when_too_many_fool_the_model(attacked, capsys, model, flags, code):
    folder = str(attacked[0] / "exploits" / "fake-lamp")
    assert main(["redteam", "replay", folder, "--model", model, "--json", *flags]) == code
    found = json.loads(capsys.readouterr().out)
    assert found["n_exploits"] == attacked[1]["n_saved"]
    assert found["share"] == (model == "ramp")


def test_replay_names_exploits_by_their_place_in_the_folder(attacked, capsys):
    main(["redteam", "replay", str(attacked[0] / "exploits" / "fake-lamp"), "--model", "ramp"])
    shown = capsys.readouterr().out
    assert "0000" in shown
    assert str(attacked[0]) not in shown


def test_replay_of_nothing_is_bad_input(tmp_path, capsys):
    assert main(["redteam", "replay", str(tmp_path)]) == 2


def test_an_empty_round_is_refused(tmp_path):
    (tmp_path / "00000.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"damaged .*; delete it and all later rounds"):
        read_rounds(tmp_path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model_id": None, "rule": None}, "rule: expected judged_from, true_below, .*got None"),
        ({"finding": {"judged": 90.0}}, "finding: expected frame, judged, true, claims_success"),
        ({"rule": {"judged_from": "50", "true_below": 1, "min_gap": 1, "success_at": 1}},
         "expected numbers, got '50' for judged_from"),
    ],
)  # fmt: skip
def test_a_record_that_is_not_whole_is_refused_also_without_assertions(
    attacked, tmp_path, changes, why
):
    source = attacked[0] / "exploits" / "fake-lamp" / "0000"
    shutil.copytree(source, tmp_path / "0000")
    record = tmp_path / "0000" / "exploit.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))
    with pytest.raises(DataError, match=f"damaged .*{why}.*; delete it"):
        read_exploits(tmp_path)
    record.write_text("[]")
    with pytest.raises(DataError, match=r"expected an object, got list"):
        read_exploits(tmp_path)
    record.write_text("{}")
    with pytest.raises(DataError, match=r"no env, optimiser, .*; delete it"):
        read_exploits(tmp_path)
    (tmp_path / "0000" / "episode.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"delete it"):
        read_exploits(tmp_path)


def test_settings_of_replay_are_checked():
    with pytest.raises(ValueError, match="less than or equal to 1"):
        ReplayConfig(folder=Path("x"), max_share=2.0)


# Exploits as training data


def test_exploits_of_a_training_task_are_filmed_again_as_hard_negatives(tmp_path):
    from sole.synth.replays import plan_replays
    from sole.synth.replays import replay as film_again

    settings = config(
        tmp_path, tasks=("metaworld/reach-wall",), optimisers=("random",), population=2, episodes=2
    )
    found = run(settings, model=Ramp())  # who calls every episode done at its end
    assert found["n_exploits"] >= 1
    folder = tmp_path / "exploits" / "metaworld-reach-wall"
    jobs = plan_replays([folder], 10, 0)
    assert len(jobs) == found["n_saved"]
    saved = get_episode(folder / "0000" / "episode.npz")
    (same,) = (j for j in jobs if j.options["number"] == 0)
    again = film_again(same, size_px=32)
    assert again.policy == "agent"
    moments = np.arange(0, again.n_frames, 2)
    moments = np.append(moments, again.n_frames - 1) if again.n_frames % 2 == 0 else moments
    np.testing.assert_allclose(
        again.truth.true_progress[moments], saved.truth.true_progress, atol=1e-3
    )


def test_exploits_of_a_held_out_task_are_measured_but_refused_as_training_data(tmp_path, capsys):
    held_out = "metaworld/door-close"
    found = run(config(tmp_path, tasks=(held_out,)), model=Brightness(), make=lamp)
    assert found["n_saved"] >= 1
    assert found["searches"][0]["held_out"] is True
    exploits = tmp_path / "exploits" / "metaworld-door-close"
    assert read_exploits(exploits)[0].about["held_out"] is True
    for folder in (exploits, Search(held_out, "cem").folder(tmp_path)):
        out = tmp_path / "data"
        assert main(["synth", "--from-runs", str(folder), "--out", str(out)]) == 2
        assert held_out in capsys.readouterr().err


@pytest.mark.slow
def test_a_data_set_is_made_of_exploits(tmp_path):
    from sole.data.lerobot import read_episodes

    flags = ["--optimisers", "cem", "--episodes", "4", "--population", "4", "--model", "ramp"]
    out = tmp_path / "out"
    task = "worlds/drawer-open"
    assert main(["redteam", "--tasks", task, "--out", str(out), *flags]) == 0
    folder = out / "exploits" / "worlds-drawer-open"
    made = ["--from-runs", str(folder), "--size-px", "32", "--workers", "1"]
    assert main(["synth", "--out", str(tmp_path / "data"), *made]) == 0
    episodes = list(read_episodes(tmp_path / "data"))
    assert len(episodes) == len(read_exploits(folder)) >= 1
    assert all(not e.truth.any_success for e in episodes)


@pytest.mark.slow
@needs_browser
def test_the_page_plays_in_a_browser_without_complaint(attacked, tmp_path):
    states, console = drive(attacked[0] / "report.html", tmp_path)
    check_driven(states, console, last=5)
