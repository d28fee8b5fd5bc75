"""Verifiable rewards: bounded, monotone, and hard to earn without the truth."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sole.data.episode import make_facts
from sole.protocol.prompt import write_reply
from sole.synth.reasoning import write_reasoning
from sole.train.verify import (
    Known,
    RewardWeights,
    accuracy_reward,
    direction_reward,
    format_reward,
    judge_reply,
    mean_terms,
    truth_reward,
)

percent = st.floats(-100, 100)
WEIGHTS = RewardWeights()
FAR = make_facts(gripper_to_object_m=0.3)
NEAR = make_facts(gripper_to_object_m=0.03)


@given(st.text(max_size=80), percent)
def test_any_text_gets_a_reward_within_the_bounds(text, true):
    verdict = judge_reply(text, Known(true, 0.0, 0, (FAR, FAR, NEAR)), WEIGHTS)
    assert 0.0 <= verdict.reward <= 0.5 + 1.5 + WEIGHTS.truth + WEIGHTS.direction


@given(percent, percent, percent, st.floats(0.5, 50))
def test_the_nearer_number_is_never_worth_less(one, other, true, tau):
    nearer, further = sorted((one, other), key=lambda value: abs(value - true))
    assert accuracy_reward(nearer, true, tau) >= accuracy_reward(further, true, tau)


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("<think></think><answer>40%</answer>", 0.5),
        ("<think>it moved.</think><answer>-40%</answer>", 0.5),
        ("<think>it moved.</think><answer>400%</answer>", 0.25),
        ("<think>it moved.<answer>40%</answer>", 0.25),
        ("<answer>40%</answer>", 0.25),
        ("<think>a</think><answer>40%</answer> and more", 0.25),
        ("<think>a</think><answer>4", 0.0),
        ("it is at 40%", 0.0),
        ("", 0.0),
    ],
)
def test_form_is_worth_a_half_when_exact_and_nothing_when_unreadable(text, worth):
    assert format_reward(text) == worth


def test_a_reply_written_from_the_truth_earns_everything():
    rng = np.random.default_rng(0)
    reasoning = write_reasoning("push the puck to the goal", FAR, FAR, NEAR, 0.0, 20.0, rng)
    known = Known(20.0, 0.0, 0, (FAR, FAR, NEAR))
    verdict = judge_reply(write_reply(reasoning, 20), known, WEIGHTS)
    assert verdict.reward == pytest.approx(2.0 + WEIGHTS.truth + WEIGHTS.direction)


def test_a_reasoning_about_other_facts_earns_less_truth():
    rng = np.random.default_rng(0)
    held = make_facts(contact=True, grasped=True, gripper_to_object_m=0.01, done_fraction=0.5)
    reasoning = write_reasoning("push the puck to the goal", FAR, FAR, held, 0.0, 60.0, rng)
    told = truth_reward(reasoning, (FAR, FAR, FAR))
    assert told is not None
    assert told < 0.5


def test_silence_and_a_single_safe_claim_are_no_truth():
    assert truth_reward("a fine day.", (FAR, FAR, FAR)) == 0.0
    assert truth_reward("the gripper is far from the puck.", (FAR, FAR, FAR)) == pytest.approx(
        1 / 3
    )


def test_truth_does_not_apply_without_a_reasoning_or_without_facts():
    assert truth_reward("", (FAR, FAR, FAR)) is None
    assert truth_reward("the gripper is near the puck.", None) is None


@given(percent, st.integers(-100, 100), percent)
def test_the_true_number_is_never_in_the_wrong_direction_of_an_honest_prompt(before, judged, now):
    known = Known(now, before, stated=round(before))
    right = direction_reward(now, known)
    assert right is not None
    assert right >= 0.5
    assert direction_reward(judged, known) in (0.0, 0.5, 1.0)


def test_direction_does_not_apply_to_a_prompt_that_states_a_wrong_number_or_none():
    assert direction_reward(10, Known(0.0, 50.0, stated=20)) is None
    assert direction_reward(10, Known(0.0, 50.0)) is None
    assert direction_reward(10, Known(0.0)) is None
    assert direction_reward(None, Known(0.0, 50.0, stated=50)) == 0.0


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan])
def test_a_tau_that_is_not_positive_is_refused(tau):
    with pytest.raises(ValueError, match="tau"):
        accuracy_reward(0, 0, tau)


@pytest.mark.parametrize(
    "known", [Known(3.0), Known(3.0, 2.0, 1, (FAR, None, NEAR)), Known(3.0, 2.0, None, (FAR,) * 3)]
)
def test_what_is_known_survives_json(known):
    back = Known.of_json(json.loads(json.dumps(known.as_json())))
    assert (back.true_progress, back.true_before, back.stated) == (
        known.true_progress, known.true_before, known.stated,
    )  # fmt: skip
    reply = "<think>the gripper is near the puck. it moved closer.</think><answer>3%</answer>"
    assert judge_reply(reply, back, WEIGHTS) == judge_reply(reply, known, WEIGHTS)


def test_means_leave_out_what_does_not_apply():
    read = judge_reply("<think></think><answer>40%</answer>", Known(30.0), WEIGHTS)
    lost = judge_reply("forty", Known(30.0), WEIGHTS)
    means = mean_terms([read, lost])
    assert means["mae"] == 10.0
    assert means["read"] == 0.5
    assert means["truth"] is None
