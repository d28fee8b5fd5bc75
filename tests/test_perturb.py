"""Operators on recorded episodes: frames, lengths, and labels that stay true."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sole.data.episode import Episode, Truth, make_example_episode, make_facts
from sole.sims.staged import NEARLY
from sole.synth import perturb
from sole.synth.claims import judge_text
from sole.synth.perturb import OPERATORS, order_labels
from sole.synth.reasoning import write_reasoning

GOAL_M = 0.2


def slide(places_m, task="push the puck to the goal"):
    """A puck on a line, seen as grey level; facts are worked out here, from the places alone."""
    places = np.asarray(places_m, float)
    frames = np.zeros((len(places), 4, 4, 3), np.uint8)
    frames += (100 + 500 * (places - places[0])).round().astype(np.uint8)[:, None, None, None]
    truth = truth_of(places)
    return Episode(task, {"external": frames}, truth=truth, env_name="example", policy="expert",
                   proprio=places[:, None].astype(np.float32))  # fmt: skip


def truth_of(places):
    done = (places - places[0]) / (GOAL_M - places[0])
    success = done >= 0.999
    progress = np.where(success, 100.0, np.clip(NEARLY * done, -100, NEARLY))
    facts = tuple(
        make_facts(
            object_moved_m=round(abs(x - places[0]), 4), done_fraction=round(d, 4),
            complete=bool(s), object_to_goal_m=round(abs(GOAL_M - x), 4),
        )
        for x, d, s in zip(places, done, success, strict=True)
    )  # fmt: skip
    return Truth(progress.astype(np.float32), success, facts)


PUSHED = (0.0, 0.0, 0.05, 0.1, 0.15, 0.2, 0.2)


@st.composite
def episodes(draw):
    """Attempts that end complete, undone, or worse than they began; with or without truth."""
    places = draw(
        st.lists(st.sampled_from([0.0, -0.1, 0.02, 0.07, 0.15, 0.19, 0.2]), min_size=2, max_size=9)
    )
    episode = slide([0.0, *places])
    return episode if draw(st.booleans()) else episode.without_truth()


OPERATED = st.tuples(episodes(), st.lists(st.sampled_from(sorted(OPERATORS)), max_size=3),
                     st.integers(0, 2**31))  # fmt: skip


def apply(episode, names, seed):
    rng = np.random.default_rng(seed)
    for name in names:
        if episode.n_frames >= perturb.MIN_FRAMES:
            episode = OPERATORS[name](episode, rng)
    return episode


def pictures(episode):
    return episode.views["external"][:, 0, 0, 0].tolist()


@given(episodes())
def test_reversal_twice_is_the_identity(episode):
    back = perturb.time_reversal(episode)
    again = perturb.time_reversal(back)
    assert pictures(back) == pictures(episode)[::-1]
    assert pictures(again) == pictures(episode)
    np.testing.assert_array_equal(again.proprio, episode.proprio)
    if episode.truth is not None:
        np.testing.assert_allclose(again.truth.true_progress, episode.truth.true_progress)
        np.testing.assert_array_equal(again.truth.true_success, episode.truth.true_success)


@given(OPERATED)
def test_labels_stay_in_range_and_begin_at_zero(case):
    made = apply(*case)
    labels = order_labels(made) if made.truth is None else made.truth.true_progress
    assert len(labels) == made.n_frames
    assert labels.dtype == np.float32
    assert labels[0] == 0.0
    assert labels.min() >= -100.0
    assert labels.max() <= 100.0


@given(OPERATED)
def test_progress_is_100_exactly_at_success_unless_the_clip_begins_complete(case):
    truth = apply(*case).truth
    if truth is None:
        return
    if truth.true_success[0]:
        assert truth.true_progress.max() == 0.0
    else:
        np.testing.assert_array_equal(truth.true_progress == 100.0, truth.true_success)


@given(OPERATED)
def test_facts_that_are_kept_are_those_of_the_new_start(case):
    """Compared with facts worked out anew from where the puck is, which only this test knows."""
    made = apply(*case)
    if made.truth is None or not made.truth.facts:
        return
    places = made.proprio[:, 0].astype(float)
    anew = truth_of(places).facts if abs(places[0] - GOAL_M) > 1e-6 else ()
    for kept, true in zip(made.truth.facts, anew, strict=False):
        assert kept["object_moved_m"] == pytest.approx(true["object_moved_m"], abs=1e-3)
        assert kept["done_fraction"] == pytest.approx(true["done_fraction"], abs=1e-3)
    assert [f["complete"] for f in made.truth.facts] == made.truth.true_success.tolist()


@given(OPERATED)
def test_composing_loses_nothing(case):
    """Whatever was done before, labels are those of the source's frames counted from the first."""
    made = apply(*case)
    episode = case[0]
    frames = made.extra.get(perturb.SOURCE, {"frames": range(episode.n_frames)})["frames"]
    at_once = perturb.follow(episode, list(frames), "at once")
    assert pictures(made) == pictures(at_once)
    if episode.truth is not None:
        np.testing.assert_allclose(made.truth.true_progress, at_once.truth.true_progress, atol=1e-4)
    np.testing.assert_allclose(order_labels(made), order_labels(at_once), atol=1e-4)


@given(OPERATED, st.booleans(), st.integers(0, 99))
def test_a_mismatched_instruction_never_has_success(case, first, seed):
    episode, names, number = case
    if first:
        made = apply(perturb.mismatched_instruction(episode, "open the door"), names, number)
    else:
        made = perturb.mismatched_instruction(apply(*case), "open the door")
    assert made.task == "open the door"
    assert not order_labels(made).any()
    assert "mismatched" in made.policy
    if made.truth is not None:
        assert not made.truth.any_success
        assert not made.truth.true_progress.any()
        assert made.truth.facts == ()


@pytest.mark.parametrize("sentence", ["", "  ", "Push the puck to the goal"])
def test_a_mismatched_instruction_must_be_another_one(sentence):
    with pytest.raises(ValueError, match="another sentence"):
        perturb.mismatched_instruction(slide(PUSHED), sentence)


@given(st.integers(2, 12), st.data())
def test_rewind_ends_where_it_says(n_frames, data):
    turn = data.draw(st.integers(1, n_frames - 1))
    back_to = data.draw(st.integers(0, turn - 1))
    episode = slide(np.linspace(0, GOAL_M, n_frames))
    made = perturb.rewind(episode, turn, back_to)
    assert made.n_frames == 1 + turn + (turn - back_to)
    assert pictures(made)[-1] == pictures(episode)[back_to]
    assert pictures(made)[turn] == max(pictures(made)) == pictures(episode)[turn]
    assert made.truth.true_progress[-1] == episode.truth.true_progress[back_to]
    assert made.truth.facts[-1] == episode.truth.facts[back_to]


def test_nested_reversal_goes_forward_back_and_forward():
    made = perturb.nested_reversal(slide(PUSHED), turn=4, back_to=2, stop=5)
    assert made.extra[perturb.SOURCE]["frames"] == [0, 1, 2, 3, 4, 3, 2, 3, 4, 5]
    assert made.truth.true_progress[[4, 6, 9]].tolist() == [71.25, 23.75, 100.0]


def test_a_frozen_tail_gains_nothing():
    made = perturb.freeze(slide(PUSHED), at=3, n_more=4)
    assert made.n_frames == 8
    assert set(made.truth.true_progress[3:].tolist()) == {47.5}
    assert len(set(pictures(made)[3:])) == 1


def test_a_clip_counts_from_its_first_frame():
    made = perturb.clip(slide(PUSHED), 3, 7)
    assert made.truth.true_progress.tolist() == [0.0, 47.5, 100.0, 100.0]
    assert order_labels(made).tolist() == pytest.approx([0.0, 100 / 3, 200 / 3, 100.0])


@given(st.integers(1, 12), st.floats(0.2, 5.0))
def test_changed_speed_keeps_both_ends(n_frames, factor):
    episode = slide(np.linspace(0, 0.19, n_frames))
    made = perturb.change_speed(episode, factor)
    assert made.fps == episode.fps
    assert made.n_frames == (1 + max(round((n_frames - 1) / factor), 1) if n_frames > 1 else 1)
    assert pictures(made)[0] == pictures(episode)[0]
    assert pictures(made)[-1] == pictures(episode)[-1]
    assert np.all(np.diff(made.truth.true_progress) >= 0)


def test_success_played_backwards_falls_from_zero_and_loses_facts_nobody_can_know():
    made = perturb.time_reversal(slide(PUSHED))
    assert made.truth.true_progress.tolist() == pytest.approx(
        [0, 0, -28.75, -52.5, -76.25, -100, -100]
    )
    assert made.truth.true_success.tolist() == [True, True, False, False, False, False, False]
    assert made.truth.facts == ()


def test_the_complete_head_of_a_reversed_success_can_be_cut_off():
    made = perturb.without_complete_head(perturb.time_reversal(slide(PUSHED)))
    assert made.truth.true_progress.tolist() == pytest.approx([0, -23.75, -47.5, -71.25, -71.25])
    assert not made.truth.any_success
    assert perturb.without_complete_head(slide(PUSHED)).n_frames == len(PUSHED)
    assert perturb.without_complete_head(perturb.clip(slide(PUSHED), 5, 7)) is None


def test_facts_are_kept_where_the_object_has_not_moved():
    episode = slide([0.0, 0.0, 0.0, 0.1])
    assert perturb.clip(episode, 1, 4).truth.facts == episode.truth.facts[1:]
    assert perturb.clip(episode, 2, 4).truth.facts[1]["done_fraction"] == 0.5
    assert perturb.time_reversal(episode).truth.facts == ()
    lifted = [make_facts(object_height_m=h) for h in (0.02, 0.0, 0.1)]
    raised = replace(episode.subset([0, 1, 2]), truth=Truth(np.zeros(3), np.zeros(3, bool),
                     tuple(lifted)))  # fmt: skip
    heights = [f["object_height_m"] for f in perturb.clip(raised, 1, 3).truth.facts]
    assert heights == [0.0, 0.1]
    heights = [f["object_height_m"] for f in perturb.time_reversal(raised).truth.facts]
    assert heights == pytest.approx([0.0, -0.1, -0.08])


def test_a_reaching_task_keeps_its_facts_and_counts_what_is_done_from_the_new_start():
    """The object is the goal there: it never moves, and the whole way is the motion."""
    done = (0.0, 0.5, 0.75, 1.0)
    facts = tuple(make_facts(done_fraction=d, complete=d == 1) for d in done)
    truth = Truth(NEARLY * np.array(done), np.array(done) == 1, facts)
    episode = replace(slide((0, 0, 0, 0)), truth=truth)
    clipped = perturb.clip(episode, 1, 4).truth.facts
    assert [f["done_fraction"] for f in clipped] == [0.0, 0.5, 1.0]
    back = perturb.time_reversal(episode)
    assert [f["done_fraction"] for f in back.truth.facts] == [0.0, -0.25, -0.5, -1.0]
    assert perturb.time_reversal(back).truth.facts == facts


@given(OPERATED)
def test_reasoning_about_a_perturbed_episode_is_true(case):
    made = apply(*case)
    if made.truth is None or not made.truth.facts or made.n_frames < 2:
        return
    facts, progress = made.truth.facts, made.truth.true_progress
    rng = np.random.default_rng(0)
    text = write_reasoning(
        made.task, facts[0], facts[-2], facts[-1], float(progress[-2]), float(progress[-1]), rng
    )
    verdicts = [verdict for _, verdict in judge_text(text, facts[-2], facts[-1], facts[0])]
    assert verdicts
    assert False not in verdicts


def test_time_order_is_a_proxy_of_its_own_name_for_real_video():
    video = make_example_episode(5, truth=False)
    assert order_labels(video).tolist() == [0, 25, 50, 75, 100]
    assert order_labels(perturb.time_reversal(video)).tolist() == [0, -25, -50, -75, -100]
    assert order_labels(perturb.rewind(video, 2)).tolist() == [0, 25, 50, 25, 0]
    assert perturb.time_reversal(video).truth is None


def test_where_frames_come_from_can_be_written_as_json():
    made = perturb.rewind(perturb.time_reversal(slide(PUSHED)), 3, 1)
    assert json.loads(json.dumps(made.extra)) == made.extra
    assert made.policy == "expert+reversed+rewound"
    assert made.actions is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda e: perturb.rewind(e, 2, 2),
        lambda e: perturb.rewind(e, 99, 0),
        lambda e: perturb.nested_reversal(e, 3, 3, 4),
        lambda e: perturb.nested_reversal(e, 3, 1, 99),
        lambda e: perturb.freeze(e, 99, 1),
        lambda e: perturb.freeze(e, 1, 0),
        lambda e: perturb.clip(e, 3, 3),
        lambda e: perturb.clip(e, 0, 99),
        lambda e: perturb.change_speed(e, 0.0),
        lambda e: perturb.change_speed(e, float("nan")),
        lambda e: perturb.follow(e, [], "empty"),
    ],
)
def test_frames_that_are_not_there_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        wrong(slide(PUSHED))
