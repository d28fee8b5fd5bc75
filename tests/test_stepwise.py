"""Words against their own number, the truth and the text before; numbers of single frames."""

import math

import numpy as np
import pytest

from sole.data.episode import (
    Episode,
    EpisodeScore,
    StepScore,
    Truth,
    make_example_episode,
    make_facts,
)
from sole.evals.reasoning import contradictions, direction, told_direction
from sole.evals.stepwise import number_metrics, told, word_metrics
from sole.synth.claims import Claim, extract_claims

UP = "The gripper moved closer to the puck, which helps."
DOWN = "The gripper moved away from the puck, which hurts."


def episode(curve, task="a") -> Episode:
    """The gripper is as far away as progress is missing, so that facts and progress agree."""
    true = np.asarray(curve, np.float32)
    facts = tuple(make_facts(gripper_to_object_m=0.4 - 0.004 * float(p)) for p in curve)
    base = make_example_episode(len(curve), 16)
    return Episode("do it", base.views, truth=Truth(true, true >= 100, facts), env_name=f"f/{task}")


def score(numbers, texts, **more) -> EpisodeScore:
    steps = [StepScore(n, reasoning=t, **more) for n, t in zip(numbers, texts, strict=True)]
    return EpisodeScore((StepScore(0.0), *steps), "m")


def words(curve, numbers, texts):
    return word_metrics(told([episode(curve)], [score(numbers, texts)]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [(UP, 1), (DOWN, -1), ("The gripper moved closer to the puck.", 1),
     ("Nothing has changed.", 0), ("A fine day.", None),
     ("The gripper moved closer to the puck, but the puck moved away from the goal.", None)],
)  # fmt: skip
def test_a_text_says_which_way_the_step_went(text, expected):
    assert told_direction(extract_claims(text)) == expected


def test_what_is_told_since_the_start_is_not_about_the_last_step():
    assert told_direction([Claim("gripper_moved", "closer", since_start=True)]) is None


def test_two_points_either_way_are_no_change():
    assert [direction(p) for p in (2.0, 2.5, 0.0, -2.0, -3.0)] == [0, 1, 0, 0, -1]


def test_words_that_follow_the_truth_but_not_their_number_are_told_apart():
    found = words([0, 20, 40, 30], [30.0, 10.0, 30.0], [UP, UP, DOWN])
    assert found["words_true"] == found["words_true_kappa"] == 1.0
    assert found["words_own"] == pytest.approx(1 / 3)  # up 30, down 20, up 20
    assert found["words_own_opposite"] == pytest.approx(2 / 3)
    assert (found["words_true_opposite"], found["n_directions"]) == (0.0, 3.0)


def test_always_saying_better_earns_no_kappa():
    found = words([0, 20, 40, 30, 50], [9.0, 20.0, 15.0, 30.0], [UP] * 4)
    assert found["words_own"] == 0.75
    assert found["words_own_kappa"] == 0.0


def test_change_counts_from_the_picture_that_was_shown():
    unread = StepScore(None, reasoning=UP, error="no number")
    said = EpisodeScore((StepScore(0.0), unread, StepScore(50.0, reasoning=UP)), "m")
    texts = told([episode([0, 30, 10])], [said])
    assert [t.true for t in texts] == [30.0, 10.0]
    assert [t.own for t in texts] == [0.0, 50.0]


@pytest.mark.parametrize(
    ("claims", "judged", "wrong"),
    [([("touch", "yes"), ("touch", "no")], 20, ("itself",)),
     ([("touch", "no"), ("hold", "yes")], 20, ("itself",)),
     ([("distance", "at"), ("distance", "far")], 20, ("itself",)),
     ([("stage", "complete"), ("stage", "half")], 90, ("itself",)),
     ([("stage", "complete")], 74, ("number",)), ([("stage", "complete")], 75, ()),
     ([("stage", "half")], 100, ("number",)), ([("stage", "half")], 99, ()),
     ([("touch", "yes"), ("hold", "yes"), ("distance", "at")], 60, ())],
)  # fmt: skip
def test_what_cannot_both_be_is_a_contradiction(claims, judged, wrong):
    assert contradictions([Claim(*c) for c in claims], judged) == wrong


@pytest.mark.parametrize(
    ("event", "state", "wrong"),
    [("touched", ("touch", "yes"), True), ("touched", ("touch", "no"), False),
     ("released", ("hold", "no"), True), ("left", ("touch", "yes"), False)],
)  # fmt: skip
def test_an_event_that_the_text_before_has_told_already_comes_too_late(event, state, wrong):
    found = contradictions([Claim("event", event)], 50.0, [Claim(*state)])
    assert found == (("before",) if wrong else ())


def test_coherence_is_the_share_of_texts_without_a_contradiction():
    done, touching = "The task is complete.", "The gripper is touching the puck."
    found = words([0, 20, 40, 60], [20.0, 40.0, 60.0], [done, touching, "A fine day."])
    assert found["coherence"] == 0.5  # the fine day claims nothing
    assert found["n_texts"] == 3.0


def test_nothing_said_is_not_measured():
    found = word_metrics([])
    assert all(math.isnan(found[n]) for n in ("hallucination", "words_own", "coherence"))
    assert (found["n_claims"], found["n_texts"]) == (0.0, 0.0)


def test_one_task_has_no_interval_and_two_have_one():
    curve, numbers = [0, 20, 40], [10.0, 50.0]
    one = number_metrics([episode(curve)], [score(numbers, [UP, UP])])
    assert math.isnan(one["frame_pearson_low"])
    pair = [episode(curve), episode([0, 60, 10], "b")]
    two = number_metrics(pair, [score(numbers, [UP, UP])] * 2)
    assert two["frame_pearson_low"] <= two["frame_pearson"] <= two["frame_pearson_high"]


def test_numbers_of_single_frames_by_hand():
    found = number_metrics([episode([0, 20, 40])], [score([24.0, 36.0], [None, None])])
    assert found["progress_error"] == 4.0  # both are 4 off, in bins of their own
    assert found["frame_spearman"] == pytest.approx(1.0)
    assert "spread_spearman" not in found


def test_a_model_that_knows_where_it_is_unsure_is_seen():
    true, said = [0, 20, 40, 60], [20.0, 45.0, 90.0]
    steps = [StepScore(n, uncertainty=abs(n - t)) for n, t in zip(said, true[1:], strict=True)]
    judged = EpisodeScore((StepScore(0.0), *steps), "m")
    assert number_metrics([episode(true)], [judged])["spread_spearman"] == pytest.approx(1.0)


def test_frames_that_were_not_read_are_left_out():
    unread = EpisodeScore((StepScore(0.0), StepScore(None, error="x"), StepScore(40.0)), "m")
    assert number_metrics([episode([0, 20, 40])], [unread])["progress_error"] == 0.0
    none = EpisodeScore((StepScore(0.0), *[StepScore(None, error="x")] * 2), "m")
    assert number_metrics([episode([0, 20, 40])], [none]) == {}
