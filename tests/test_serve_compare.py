"""Which of two moments is further: who wins, by how much, and what cannot be compared."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import client, file, picture_bytes, serving

from sole.data.episode import EpisodeScore, StepScore
from sole.rewarders.base import CostCounters
from sole.rewarders.controls import RandomWalk
from sole.serve.compare import verdict
from sole.serve.messages import CompareReply

TASK = "open the drawer"
percents = st.floats(-100, 100)


class Brightness:
    """Says how much brighter a frame is than the first; fails on a white one."""

    model_id, views = "brightness", ()

    def __init__(self):
        self.costs = CostCounters()

    def score(self, episodes):
        self.costs.episodes += len(episodes)
        return [EpisodeScore(tuple(self._steps(e)), self.model_id, e.task) for e in episodes]

    def _steps(self, episode):
        frames = next(iter(episode.views.values()))
        for frame in frames:
            more = float(frame[0, 0, 0]) - float(frames[0, 0, 0, 0])
            white = frame[0, 0, 0] == 255
            yield StepScore(None, error="blinded") if white else StepScore(more)


def grey(level):
    import io

    from PIL import Image

    saved = io.BytesIO()
    Image.new("RGB", (8, 8), (level,) * 3).save(saved, "PNG")
    return saved.getvalue()


def shots(name, *levels):
    return [file(grey(level), name=name) for level in levels]


@pytest.fixture(scope="module")
def running():
    with serving(Brightness()) as server:
        yield server


@pytest.fixture
def http(running):
    with client(running) as session:
        yield session


def compare(http, *files, **asked):
    request = json.dumps({"task": TASK, **asked})
    return http.post("/v1/compare", files=[("request", (None, request)), *files])


def told(reply):
    assert reply.status_code == 200, reply.text
    return CompareReply.model_validate(reply.json())


def refused(reply, status, *words):
    assert reply.status_code == status, reply.text
    assert all(word in reply.json()["error"] for word in words), reply.text


def test_the_episode_that_ends_further_wins_by_the_difference(http):
    files = [*shots("first_external", 0, 20, 30), *shots("second_external", 0, 75)]
    found = told(compare(http, *files))
    assert (found.winner, found.margin) == ("second", 45)
    assert (found.first.progress, found.first.frame, found.first.n_frames) == (30, 2, 3)
    assert (found.second.progress, found.second.frame) == (75, 1)
    assert found.model_id == "brightness"


def test_two_moments_of_one_episode_are_compared_and_it_is_judged_once(http, running):
    before = running.service.usual.costs.episodes
    moments = {"first": {"frame": 1}, "second": {"frame": 2}}
    found = told(compare(http, *shots("wrist", 10, 60, 40), **moments))
    assert (found.winner, found.margin) == ("first", 20)
    assert running.service.usual.costs.episodes == before + 1


def test_parts_may_have_any_name_that_the_request_says(http):
    sides = {"first": {"views": {"external": "a"}}, "second": {"views": {"external": "b"}}}
    found = told(compare(http, *shots("a", 0, 9), *shots("b", 0, 4), **sides))
    assert (found.winner, found.margin) == ("first", 5)


def test_a_difference_within_the_margin_is_a_tie(http):
    files = [*shots("first_external", 0, 20), *shots("second_external", 0, 25)]
    assert told(compare(http, *files, tie_margin=5)).winner == "tie"
    assert told(compare(http, *files, tie_margin=4.9)).winner == "second"


def test_a_side_that_could_not_be_judged_leaves_no_winner(http):
    files = [*shots("first_external", 0, 255), *shots("second_external", 0, 25)]
    found = told(compare(http, *files))
    assert (found.winner, found.margin, found.first.error) == (None, None, "blinded")
    assert found.second.progress == 25


def test_what_cannot_be_compared_is_refused_with_the_side(http):
    one, two = shots("first_external", 0), shots("second_external", 0, 9)
    refused(compare(http, *one, *two), 422, "first", "start before it")
    refused(compare(http, *two, second={"frame": 2}), 422, "first", "no pictures")
    first = shots("first_external", 0, 9)
    refused(compare(http, *first, *two, second={"frame": 2}), 422, "second", "frames 0 to 1")
    refused(compare(http, *first, second={"views": {"external": "b"}}), 422, "no part 'b'")
    refused(compare(http, *first, *two, tie_margin=-1), 422, "tie_margin")
    refused(compare(http, *first, *two, third={}), 422, "third")
    refused(compare(http, *first, *two, task=" "), 422, "task")
    refused(compare(http, ("external", ("f", b"words", "text/plain"))), 415, "text/plain")
    refused(http.post("/v1/compare", files=first), 422, "request")


def test_it_takes_two_episodes_of_what_a_request_may_hold():
    with serving(Brightness(), max_episodes=1) as running, client(running) as http:
        both = [*shots("first_external", 0, 1), *shots("second_external", 0, 2)]
        refused(compare(http, *both), 413, "2 episodes")
        moments = {"first": {"frame": 0}, "second": {"frame": 1}}
        assert told(compare(http, *shots("external", 0, 1), **moments)).winner == "second"


def test_the_numbers_are_those_of_the_score_route():
    def pictures(name):
        return [file(picture_bytes(seed, (8, 8)), name=name) for seed in range(4)]

    with serving(RandomWalk(0)) as running, client(running) as http:
        request = json.dumps({"episodes": [{"task": TASK}]})
        files = [("request", (None, request)), *pictures("external")]
        (scored,) = http.post("/v1/score", files=files).json()["episodes"]
        moments = {"first": {"frame": 1}, "second": {"frame": 3}}
        found = told(compare(http, *pictures("external"), **moments))
    assert found.first.progress == scored["steps"][1]["progress"]
    assert found.second.progress == scored["steps"][3]["progress"]


@given(percents, percents, st.floats(0, 200))
def test_swapping_the_sides_swaps_the_winner_and_keeps_the_margin(first, second, tie_margin):
    there, back = verdict(first, second, tie_margin), verdict(second, first, tie_margin)
    swapped = {"first": "second", "second": "first", "tie": "tie"}
    assert back == (swapped[there[0]], there[1])
    assert (there[0] == "tie") == (there[1] <= tie_margin)
