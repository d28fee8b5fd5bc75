"""``sole data inspect``: what a data set is made of, and whether its labels keep the rules."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from sole.cli import main
from sole.data.episode import Truth, make_example_episode, make_facts
from sole.data.lerobot import EpisodeWriter, open_dataset
from sole.data.summary import label_quality, mixture, progress_histogram, read_labels, read_truths
from sole.report.dataset_page import dataset_page
from sole.synth.spot_check import check_claims, explain_moments, spread_moments

RISING = (0.0, 40.0, 80.0, 100.0)


def attempt(progress=RISING, success=None, policy="expert", number=0, **changes):
    progress = np.asarray(progress, np.float32)
    success = progress == 100 if success is None else np.asarray(success, bool)
    facts = tuple(
        make_facts(done_fraction=max(p, 0) / 100, complete=bool(s), contact=p > 30)
        for p, s in zip(progress.tolist(), success, strict=True)
    )
    episode = make_example_episode(len(progress), 32, seed=number)
    known = {"policy": policy, "truth": Truth(progress, success, facts), "suite": "example"}
    return replace(episode, **{**known, **changes})


def write(folder, episodes):
    with EpisodeWriter(folder, 10.0) as writer:
        for episode in episodes:
            writer.add(episode)
    return folder


def quality(tmp_path, *episodes):
    return label_quality(read_labels(open_dataset(write(tmp_path / "d", episodes))))


@pytest.fixture
def dataset(tmp_path):
    return write(
        tmp_path / "set",
        [
            attempt(),
            attempt((0.0, 50.0, 30.0, 60.0), number=1),
            attempt((0.0, -5.0, 10.0, 0.0), policy="random", env_name="other", number=2),
            attempt(policy="<b>odd</b>", task="open the <i>door</i>", number=3),
        ],
    )


def test_good_labels_break_no_rule(tmp_path):
    found = quality(tmp_path, attempt(), attempt(number=1, policy="random"))
    assert found.n_violations == 0
    assert found.n_success_frames == 2
    assert found.n_experts == 1
    assert found.expert_monotone_share == 1.0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("success_not_100", attempt((0.0, 50.0, 90.0), success=(0, 0, 1))),
        ("not_success_100", attempt((0.0, 50.0, 100.0), success=(0, 0, 0))),
        ("out_of_range", attempt((0.0, 50.0, 101.0))),
        ("out_of_range", attempt((0.0, np.nan, 50.0))),
        ("starts_off_zero", attempt((5.0, 50.0, 60.0))),
        ("starts_off_zero", attempt((np.nan, 50.0, 60.0))),
        ("starts_complete", attempt((0.0, 0.0, 0.0), success=(1, 0, 0))),
    ],
)
def test_every_rule_is_counted(tmp_path, name, wrong):
    found = quality(tmp_path, attempt(), wrong)
    assert getattr(found, name) == 1
    assert found.n_violations >= 1


def test_experts_are_watched_for_falls_and_others_are_not(tmp_path):
    found = quality(
        tmp_path,
        attempt((0.0, 50.0, 49.0, 60.0)),
        attempt((0.0, 100.0, 70.0, 100.0), number=1),
        attempt((0.0, 80.0, 0.0, 0.0), policy="undo", number=2),
    )
    assert found.n_expert_steps == 6
    assert found.expert_fall_share == pytest.approx(2 / 6)
    assert found.expert_drop_share == pytest.approx(1 / 6)
    assert found.expert_largest_drop == 30.0
    assert found.expert_monotone_share == 0.5
    assert found.expert_success_share == 0.5
    assert found.expert_drop_share_before_success == 0.0


def test_episodes_without_truth_are_counted_and_judged_by_nothing(tmp_path):
    film = attempt(truth=None, number=1)
    labels = read_labels(open_dataset(write(tmp_path / "d", [attempt(), film])))
    assert labels[1].true_progress is None
    assert label_quality(labels).n_episodes == 1
    only_film = quality(tmp_path / "film", film) if (tmp_path / "film").mkdir() is None else None
    assert (only_film.n_frames, only_film.expert_largest_drop) == (0, None)


def test_labels_and_truths_are_those_that_were_written(dataset):
    info = open_dataset(dataset)
    labels = read_labels(info)
    np.testing.assert_array_equal(labels[0].true_progress, np.float32(RISING))
    assert labels[0].true_success.tolist() == [False, False, False, True]
    ((index, truth),) = read_truths(info, [2])
    assert index == 2
    assert truth.true_progress.tolist() == [0, -5, 10, 0]
    assert truth.facts[0]["object_name"] == "puck"


def test_a_mixture_is_sorted_and_says_how_often_it_succeeds(dataset):
    shares = mixture(read_labels(open_dataset(dataset)), "policy")
    assert [(s.name, s.n_episodes, s.success_share) for s in shares] == [
        ("expert", 2, 0.5), ("<b>odd</b>", 1, 1.0), ("random", 1, 0.0),
    ]  # fmt: skip


def test_what_was_done_to_recordings_is_a_mixture_of_its_own(tmp_path, capsys):
    policies = ("expert", "expert+reversed", "random+reversed", "random+clipped+frozen")
    folder = write(tmp_path / "d", [attempt(policy=p, number=k) for k, p in enumerate(policies)])
    labels = read_labels(open_dataset(folder))
    assert {s.name: s.n_episodes for s in mixture(labels, "policy")} == {"expert": 2, "random": 2}
    assert [(s.name, s.n_episodes) for s in mixture(labels, "operators")] == [
        ("reversed", 2), ("as recorded", 1), ("clipped+frozen", 1),
    ]  # fmt: skip
    assert main(["data", "inspect", str(folder)]) == 0
    assert "clipped+frozen" in capsys.readouterr().out


def test_a_histogram_counts_every_frame_once(dataset):
    counts = progress_histogram(read_labels(open_dataset(dataset)))
    assert counts.sum() == 16
    assert counts[20] == 2  # exactly 100
    assert counts[9] == 1  # -5


def test_generated_reasoning_is_checked_against_the_facts(dataset):
    info = open_dataset(dataset)
    found = check_claims(info, 4, seed=0)
    assert (found["n_episodes"], found["n_texts"], found["n_false"]) == (4, 12, 0)
    assert found["n_claims"] > 20
    assert found["true_share"] == 1.0
    assert check_claims(info, 0, seed=0)["true_share"] is None


def test_each_moment_is_explained_from_the_one_before():
    episode = attempt()
    told = explain_moments(episode.task, episode.truth, [0, 1, 3], np.random.default_rng(0))
    assert [(one.previous, one.now) for one in told] == [(0, 1), (1, 3)]
    assert ("stage", "complete") in [(c.kind, c.value) for c, _ in told[1].claims]
    assert all(verdict is not False for one in told for _, verdict in one.claims)
    with pytest.raises(ValueError, match="expected facts"):
        explain_moments(episode.task, replace(episode.truth, facts=()), [0, 1], None)


def test_moments_are_spread_and_never_repeat():
    assert spread_moments(4, 8) == [0, 1, 2, 3]
    assert spread_moments(1, 8) == [0]


class Tags(HTMLParser):
    """Remembers what is open, so that a page that is not well nested is found."""

    VOID = frozenset({"img", "meta", "input", "path", "circle", "polygon"})

    def __init__(self, page):
        super().__init__()
        self.open, self.wrong, self.seen = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_whole_and_loads_nothing(dataset, tmp_path, capsys):
    path = tmp_path / "page.html"
    assert main(["data", "inspect", str(dataset), "--html", str(path), "--examples", "4"]) == 0
    assert str(path) in "".join(capsys.readouterr().err.split())
    page = path.read_text()
    tags = Tags(page)
    assert (tags.open, tags.wrong) == ([], [])
    sources = [a["src"] for _, a in tags.seen if "src" in a]
    assert len(sources) == 8  # two views of four episodes
    assert all(s.startswith("data:image/jpeg;base64,") for s in sources)
    assert not re.search(r"https?://|<link|@import", page)
    assert "<b>odd" not in page
    assert "&lt;b&gt;odd" in page
    assert "<i>door" not in page
    assert "✓ stage: complete" in page
    assert "✗" not in page


def test_the_page_marks_what_is_wrong(tmp_path, capsys):
    folder = write(tmp_path / "d", [attempt((0.0, 50.0, 90.0), success=(0, 0, 1))])
    path = tmp_path / "page.html"
    assert main(["data", "inspect", str(folder), "--html", str(path)]) == 0
    assert "<td class=bad>1 of 1</td>" in path.read_text()
    assert "1 of 1" in capsys.readouterr().out


def test_a_video_set_without_truth_can_be_inspected(tmp_path, capsys):
    film = attempt(truth=None, extra={"order_progress": [0.0, 33.0, 66.0, 100.0]})
    folder = write(tmp_path / "d", [film, attempt(truth=None, number=1)])
    path = tmp_path / "page.html"
    assert main(["data", "inspect", str(folder), "--html", str(path)]) == 0
    assert "without truth: 2" in capsys.readouterr().out.replace("\n", " ")
    assert "order of frames (a proxy)" in path.read_text()
    assert "Nothing is known of its progress" in path.read_text()
    assert "largest fall of an expert" not in path.read_text()


def test_json_is_one_object_on_stdout(dataset, capsys):
    assert main(["data", "inspect", str(dataset), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_episodes"] == 4
    assert found["label_quality"]["n_violations"] == 0
    assert found["claims"]["true_share"] == 1.0
    assert [s["name"] for s in found["suites"]] == ["example"]


def test_the_table_names_the_suites_the_policies_and_the_rules(dataset, capsys):
    assert main(["data", "inspect", str(dataset)]) == 0
    out = capsys.readouterr().out
    for words in (
        "example",
        "<b>odd</b>",
        "progress 100 without success",
        "largest fall",
        "20 poi",
    ):
        assert words in out


def test_examples_are_of_different_policies(dataset, tmp_path):
    path = tmp_path / "page.html"
    assert main(["data", "inspect", str(dataset), "--html", str(path), "--examples", "3"]) == 0
    shown = re.findall(r'<p class="meta">episode \d+ · \w+ · ([^<]*)</p>', path.read_text())
    assert len(set(shown)) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected one of inspect, augment"),
        (["polish"], "expected one of inspect, augment, got 'polish'"),
        (["inspect", "absent"], "no such folder"),
        (["inspect", ".", "--html", "page.txt"], "expected a name ending in .html"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, words, capsys):
    assert main(["data", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_an_empty_page_says_so_without_examples(dataset):
    info = open_dataset(dataset)
    from sole.data.summary import summary

    found = {**summary(info, read_labels(info)), "claims": check_claims(info, 0, 0)}
    assert "<h2>Examples</h2>" not in dataset_page(found, [])
