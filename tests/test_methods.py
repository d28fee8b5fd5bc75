"""The asking methods: formulas against hand-computed cases, prompts, failures, costs, contract."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_backend import FakeBackend, film, greys, words_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_vlm import make_tiny_llava, make_tiny_qwen3

from sole import cli
from sole.data.episode import StepScore, make_example_episode
from sole.errors import ConfigError
from sole.models.backend import Capabilities, Prompt, ask_user
from sole.models.hf.backend import TransformersBackend
from sole.progress.calibrate import Calibration
from sole.rewarders import gvl, load, lrm, topreward, vlac
from sole.rewarders.asking import AskingModel, Said
from sole.rewarders.calibrated import Calibrated
from sole.rewarders.check import check_reward_model
from sole.rewarders.controls import Constant
from sole.rewarders.gvl import CausalGvl, ShuffledGvl
from sole.rewarders.methods import METHODS, TWO_WAYS, make_asking_model
from sole.rewarders.reading import before_field, read_field, spread_frames
from sole.rewarders.rlvlmf import read_preference
from sole.rewarders.roboreward import RoboReward
from sole.rewarders.topreward import TopReward

GOLDEN = Path(__file__).parent / "golden" / "methods"


def progress(model, *values: int) -> list[float | None]:
    return [step.progress for step in model.score([film(values)])[0].steps]


def model_of(method: str, *, reply=None, weigh=None, think=False) -> AskingModel:
    return make_asking_model(method, FakeBackend(reply, weigh), think=think)


# The formulas.


def test_topreward_maps_the_log_probability_of_true_between_fixed_bounds():
    chances = {2: math.exp(-20), 3: math.exp(-10), 4: 0.5, 5: math.exp(-30)}
    model = model_of("topreward", weigh=lambda p, c: chances[len(p.images)] * (c == " True"))
    expected = [0, 25, 75, 100, 0]  # (r + 25) / 20; above -5 and below -25 it is clipped
    assert progress(model, 1, 2, 3, 4, 5) == pytest.approx(expected)
    assert all(not prompt.chat for prompt in model.backend.asked)


def test_topreward_odds_cancel_what_makes_both_words_unlikely():
    table = {" True": 3e-9, " False": 1e-9}
    step = model_of("topreward-odds", weigh=lambda p, c: table[c]).score([film([1, 2])])[0].steps[1]
    assert step.progress == pytest.approx(75)
    assert step.success_probability == pytest.approx(0.75)


def test_topreward_chat_weighs_the_first_word_of_a_reply():
    model = model_of("topreward-chat", weigh=lambda p, c: {"True": 0.1, "False": 0.3}[c])
    assert progress(model, 1, 2) == pytest.approx([0, 25])
    assert model.backend.asked[0].chat


def test_odds_too_far_apart_for_a_float_are_certain():
    said = [Said(logprobs=(-800.0, -1.0))]
    assert TopReward("topreward-odds").ask("t", [np.zeros((2, 2, 3), np.uint8)] * 2, think=False)
    assert topreward._read_odds(said, 0.0).progress == 0


@pytest.mark.parametrize(("grade", "percent"), [(1, 0), (2, 25), (3, 50), (4, 75), (5, 100)])
def test_roboreward_spreads_five_grades_over_the_percent(grade, percent):
    model = model_of("roboreward", reply=lambda p: f"It is near.\nANSWER: {grade}", think=True)
    step = model.score([film([1, 2])])[0].steps[1]
    assert (step.progress, step.reasoning) == (percent, "It is near.")
    assert step.success_probability == (grade == 5)


def test_roboreward_without_words_is_the_expectation_of_the_grades():
    table = {"ANSWER: 1": 0.1, "ANSWER: 5": 0.3}
    model = model_of("roboreward", weigh=lambda p, c: table.get(c, 0.0))
    step = model.score([film([1, 2])])[0].steps[1]
    assert step.progress == pytest.approx(75)  # 1/4 of 0 and 3/4 of 100
    assert step.success_probability == pytest.approx(0.75)
    assert step.uncertainty == pytest.approx(100 * math.sqrt(0.75 * 0.25))


def test_vlac_adds_the_share_of_what_is_left_or_lost():
    changes = {2: "+50", 3: "-20", 4: "+100", 5: "-100", 6: "-30"}
    model = model_of(
        "vlac", reply=lambda p: f"It moved. Change: {changes[greys(p)[1]]}%", think=True
    )
    # 0 + 100 * .5; 50 - 50 * .2; 40 + 60; 100 - 100; 0 stays 0
    assert progress(model, 1, 2, 3, 4, 5, 6) == pytest.approx([0, 50, 40, 100, 0, 0])
    assert [greys(p) for p in model.backend.asked] == [[1, 2], [2, 3], [3, 4], [4, 5], [5, 6]]


def test_vlac_without_words_adds_the_expected_change():
    table = {"Change: +40%": 0.3, "Change: -20%": 0.1}
    model = model_of("vlac", weigh=lambda p, c: table.get(c, 0.0))
    step = model.score([film([1, 2])])[0].steps[1]
    assert step.progress == pytest.approx(25)  # (3 * 40 - 20) / 4 of 100
    assert step.uncertainty == pytest.approx(math.sqrt(0.75 * 15**2 + 0.25 * 45**2))


@given(st.floats(0, 100), st.floats(-100, 100))
def test_a_signed_change_never_leaves_0_to_100(value, change):
    after = vlac.add_change(value, change)
    assert -1e-9 <= after <= 100 + 1e-9
    assert (after >= value - 1e-9) == (change > -1e-12 or value * -change <= 1e-7)


def nearer_is_brighter(prompt: Prompt) -> str:
    a, b = greys(prompt)
    return f'Because. {{"more_complete_image": "Image{"B" if b > a else "A"}"}}'


def test_lrm_contrastive_adds_votes_of_both_orders():
    model = model_of("lrm-contrastive", reply=nearer_is_brighter, think=True)
    assert progress(model, 5, 6, 7, 3, 4) == [0, 10, 20, 10, 20]
    assert [greys(p) for p in model.backend.asked[:2]] == [[5, 6], [6, 5]]


def test_a_preference_for_a_place_cancels():
    always_a = '{"more_complete_image": "ImageA"}'
    assert progress(model_of("lrm-contrastive", reply=lambda p: always_a, think=True), 1, 2) == [
        0,
        0,
    ]
    model = model_of("rlvlmf", reply=lambda p: "Label: 1", think=True)
    assert progress(model, 1, 2) == [0, 0]


def test_lrm_contrastive_without_words_is_the_difference_of_probabilities():
    def weigh(prompt, candidate):
        later_is_b = greys(prompt) == [1, 2]
        return {"ImageA": 0.2, "ImageB": 0.6}[candidate[25:31]] if later_is_b else 0.4

    # (0.75 - 0.25) and 0, averaged, times 10 points
    assert progress(model_of("lrm-contrastive", weigh=weigh), 1, 2) == pytest.approx([0, 2.5])


def test_votes_stop_at_plus_and_minus_100():
    model = model_of("lrm-contrastive", reply=nearer_is_brighter, think=True)
    assert progress(model, *range(13))[-3:] == [100, 100, 100]
    assert progress(model, *range(13)[::-1])[-3:] == [-100, -100, -100]


def test_lrm_progress_is_the_share_beside_the_first_picture():
    shares = {2: '"completion_progress": "0.4"', 3: "completion_progress: 1.0"}
    model = model_of("lrm-progress", reply=lambda p: f"{{{shares[greys(p)[1]]}}}", think=True)
    assert progress(model, 1, 2, 3) == pytest.approx([0, 40, 100])
    assert [greys(p) for p in model.backend.asked] == [[1, 2], [1, 3]]


def test_lrm_progress_without_words_is_the_expected_share():
    table = {'{"completion_progress": 0.2}': 0.1, '{"completion_progress": 0.6}': 0.3}
    model = model_of("lrm-progress", weigh=lambda p, c: table.get(c, 0.0))
    step = model.score([film([1, 2])])[0].steps[1]
    assert (step.progress, step.uncertainty) == pytest.approx((50, 100 * math.sqrt(0.03)))


def test_lrm_completion_is_yes_or_no():
    replies = {2: '{"task_complete": "no"}', 3: 'Open. ```json {"task_complete": "Yes"}```'}
    model = model_of("lrm-completion", reply=lambda p: replies[greys(p)[0]], think=True)
    steps = model.score([film([1, 2, 3])])[0].steps
    assert [s.progress for s in steps] == [0, 0, 100]
    assert [s.success_probability for s in steps] == [0, 0, 1]
    assert steps[2].reasoning == "Open."


def tri_reply(prompt: Prompt) -> str:
    if len(prompt.images) == 1:
        return 'Seen. {"task_complete": "yes"}'
    if "ImageA:" in words_of(prompt):
        return nearer_is_brighter(prompt)
    return '{"completion_progress": 0.7}'


def test_lrm_joint_reward_is_the_mean_of_the_three():
    model = model_of("lrm", reply=tri_reply, think=True)
    step = model.score([film([1, 2])])[0].steps[1]
    assert step.progress == pytest.approx(100 * (1 + 0.7 + 1) / 3)
    assert step.success_probability == 1
    assert step.reasoning == "Because.\nSeen."
    assert progress(model, 2, 1)[1] == pytest.approx(100 * (0 + 0.7 + 1) / 3)


def test_lrm_joint_reward_without_words_is_the_mean_of_expectations():
    table = {"A": 0.1, "B": 0.3, "0.5": 0.2, "yes": 0.1, "no": 0.4}

    def weigh(prompt, candidate):
        if candidate.startswith('{"more'):
            return (
                table[candidate[30]]
                if greys(prompt) == [1, 2]
                else table["BA"[candidate[30] == "B"]]
            )
        return table.get(candidate.split(": ")[1].strip('"}'), 0.0)

    model = model_of("lrm", weigh=weigh)
    # c = 3/4 - 1/4 in both orders, p = 0.5, k = 1/5
    assert progress(model, 1, 2)[1] == pytest.approx(100 * (0.75 + 0.5 + 0.2) / 3)
    assert model.costs.model_calls == 4


def test_rlvlmf_adds_the_preference_of_both_orders():
    def reply(prompt):
        a, b = greys(prompt)
        return f"Image 1 shows .. Label: {-1 if a == b else int(b > a)}"

    assert progress(model_of("rlvlmf", reply=reply, think=True), 5, 6, 6, 3) == [0, 10, 10, 0]


def test_rlvlmf_without_words_is_the_difference_of_probabilities():
    table = {"Label: 0": 0.1, "Label: 1": 0.5, "Label: -1": 0.4}

    def weigh(prompt, candidate):
        return table[candidate] if greys(prompt) == [1, 2] else 1.0

    # 0.5 - 0.1 in one order and 0 in the other, averaged
    assert progress(model_of("rlvlmf", weigh=weigh), 1, 2)[1] == pytest.approx(2)
    assert read_preference([Said("Label: -1"), Said("Label: 0")]) == 0.5


def test_gvl_undoes_its_permutation():
    def reply(prompt):
        said = [f"Frame {i}: grey. Completion: {g}%" for i, g in enumerate(greys(prompt)[1:], 1)]
        return "\n".join(said)

    model = model_of("gvl", reply=reply)
    values = [0, 70, 10, 90, 30, 50, 20]
    assert progress(model, *values) == values
    assert len(model.backend.asked) == 1
    shown = greys(model.backend.asked[0])
    assert shown[0] == 0
    assert sorted(shown) == sorted(values)
    assert shown != values
    model = model_of("gvl-causal", reply=reply)
    assert progress(model, *values) == values
    assert [len(p.images) for p in model.backend.asked] == [2, 3, 4, 5, 6, 7]
    assert max(greys(model.backend.asked[0])) == 70  # no later frame


def test_gvl_asks_the_same_whatever_else_is_in_the_batch():
    episodes = [film([1, 2, 3, 4, 5]), film([5, 4, 3, 2]), film([9])]
    alone, together = (FakeBackend(lambda p: "nothing") for _ in range(2))
    for episode in episodes[::-1]:
        ShuffledGvl(alone).score([episode])
    ShuffledGvl(together).score(episodes)
    assert [greys(p) for p in alone.asked[::-1]] == [greys(p) for p in together.asked]
    other = FakeBackend(lambda p: "nothing")
    ShuffledGvl(other, seed=1).score(episodes)
    assert [greys(p) for p in other.asked] != [greys(p) for p in together.asked]


def test_gvl_thins_a_long_episode_and_interpolates():
    def reply(prompt):
        return " ".join(
            f"Frame {i}: x Completion: {g}%" for i, g in enumerate(greys(prompt)[1:], 1)
        )

    model = ShuffledGvl(FakeBackend(reply), max_frames=3)
    score = model.score([film([0, 10, 20, 30, 80])])[0]
    assert score.judged_progress.tolist() == [0, 10, 20, 50, 80]
    assert [step.scored for step in score.steps] == [True, False, True, False, True]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Frame 2: x Completion: 5%", "no percentage for frame 1"),
        ("Frame 1: x Completion: 5%\nFrame 1: x Completion: 9%", "several percentages for frame 1"),
        ("Frame 1: x Completion: 500%", "500% for frame 1"),
        ("Completion: 5%", "no percentage"),
        ("Frame 1: I cannot tell.", "no percentage"),
    ],
)
def test_gvl_says_what_it_could_not_read(text, error):
    step = gvl.read_frames(text, 2)[0]
    assert step.progress is None
    assert error in step.error


# What all methods share.


def reply_to(prompt: Prompt) -> str:
    """Something every method can read."""
    frames = "\n".join(f"Frame {i}: x Completion: {i}%" for i in range(1, 40))
    return (
        '{"more_complete_image": "ImageB"} {"completion_progress": 0.5} {"task_complete": "no"} '
        f"Label: 1 ANSWER: 2 Change: 3% {frames}"
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("think", [False, True])
def test_every_method_counts_what_it_costs(method, think):
    model = model_of(method, reply=reply_to, weigh=lambda p, c: 0.5, think=think)
    model.score([film([1, 2, 3]), film([4, 5, 6, 7])])
    calls = {"gvl": 2, "lrm": 20, "lrm-contrastive": 10, "rlvlmf": 10}.get(method, 5)
    assert model.costs.model_calls == len(model.backend.asked) == calls
    assert (model.costs.episodes, model.costs.frames) == (2, 7)
    assert model.costs.parse_failures == 0
    assert model.costs.generated_tokens > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("think", [False, True])
def test_an_answer_that_failed_is_an_error_and_nothing_is_carried_on(method, think):
    def fails(prompt):
        return 9 in greys(prompt) and 3 not in greys(prompt)

    def reply(prompt):
        return OSError("the line is dead") if fails(prompt) else reply_to(prompt)

    def weigh(prompt, candidate):
        return np.nan if fails(prompt) else 0.5

    model = model_of(method, reply=reply, weigh=weigh, think=think)
    if method == "gvl":
        steps = model_of(method, reply=lambda p: OSError("dead")).score([film([1, 2, 3])])[0].steps
        assert [s.error for s in steps] == [None, "dead", "dead"]
        return
    frames = [{"external": film([v]).views["external"][0]} for v in (1, 2, 9, 3)]
    session = model.start("open the drawer")
    steps = [session.step(frame) for frame in frames]
    assert steps[2].progress is None
    assert steps[2].error in {"the line is dead", "the model gave no probabilities of the answers"}
    assert steps[3].progress is not None
    assert model.costs.parse_failures == 1


READS_NOTHING = [(m, t) for m in METHODS for t in (False, True) if t or m.startswith("gvl")]


@pytest.mark.parametrize(("method", "think"), [p for p in READS_NOTHING if p[0][:3] != "top"])
@pytest.mark.parametrize("words", ["", "I am sorry.", "ANSWER: 12 Change: Label: 7 {}", "NA"])
def test_words_that_say_nothing_are_errors(method, think, words):
    model = model_of(method, reply=lambda p: words, think=think)
    steps = model.score([film([1, 2])])[0].steps
    assert steps[1].progress is None
    assert steps[1].error
    assert model.costs.parse_failures == 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_needs_the_external_view_and_scores_one_frame_as_0(method):
    model = model_of(method, reply=reply_to, weigh=lambda p, c: 0.5)
    assert progress(model, 7) == [0]
    assert model.backend.asked == []
    wrist = replace(film([1, 2]), views={"wrist": film([1, 2]).views["external"]})
    with pytest.raises(ValueError, match="external"):
        model.score([wrist])


@pytest.mark.parametrize("method", [m for m in METHODS if m != "gvl"])
def test_sessions_in_one_batch_answer_as_alone(method):
    def weigh(prompt, candidate):
        return 1 + (sum(greys(prompt)) * len(candidate)) % 7

    model = model_of(method, reply=reply_to, weigh=weigh)
    films = [film([1, 2, 3]), film([4, 6, 8], task="push the puck")]
    sessions = [model.start(f.task) for f in films]
    moments = [[{"external": f.views["external"][t]} for f in films] for t in range(3)]
    together = [model.step_sessions(sessions, views) for views in moments]
    alone = model.score(films)
    for i, score in enumerate(alone):
        assert [row[i].progress for row in together] == [s.progress for s in score.steps]
    with pytest.raises(ValueError, match="each one once"):
        model.step_sessions([sessions[0], sessions[0]], moments[0])


def test_gvl_refuses_a_session():
    with pytest.raises(ValueError, match="looks at the whole episode"):
        model_of("gvl").start("open the drawer")


def test_gvl_still_needs_the_whole_episode_when_calibrated():
    model = model_of("gvl")
    record = Calibration.model_construct(model_id=model.model_id, success_threshold=0.5)
    assert Calibrated(model, record).needs_whole_episode
    other = record.model_copy(update={"model_id": "constant:1"})
    assert not Calibrated(Constant(1), other).needs_whole_episode


@pytest.mark.parametrize("method", TWO_WAYS)
def test_a_method_with_two_ways_changes_between_them(method):
    model = model_of(method)
    assert model.thinking().model_id == f"{method}:fake/think/e1"
    assert model.thinking().fast().model_id == model.model_id == f"{method}:fake/fast/e1"


@pytest.mark.parametrize(
    ("method", "able", "complaint"),
    [
        ("topreward", Capabilities("exact", plain=False), "after a plain text"),
        ("topreward-odds", Capabilities("first_token", plain=True), "after a plain text"),
        ("topreward-chat", Capabilities("none", plain=False), "of the first word"),
        ("roboreward", Capabilities("first_token", plain=False), "add --think"),
    ],
)
def test_a_backend_that_cannot_is_refused(method, able, complaint):
    with pytest.raises(ConfigError, match=complaint):
        make_asking_model(method, FakeBackend(capabilities=able))


def test_only_every_second_frame_is_asked_about():
    model = make_asking_model("lrm-progress", FakeBackend(reply_to), think=True, every=2)
    score = model.score([film([1, 2, 3, 4])])[0]
    assert [s.scored for s in score.steps] == [True, False, True, True]
    assert [greys(p) for p in model.backend.asked] == [[1, 3], [1, 4]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("think", [False, True])
def test_the_prompt_is_word_for_word_the_golden_one(method, think):
    """SOLE_WRITE_GOLDEN=1 writes them anew, after a change that was meant."""
    model = model_of(method, reply=reply_to, weigh=lambda p, c: 0.5, think=think)
    model.score([film([1, 2, 3], task="Open the  drawer.")])
    last = model.backend.asked[-4:] if method == "lrm" else model.backend.asked[-2:]
    text = "\n=====\n".join(words_of(prompt) for prompt in last) + "\n"
    path = GOLDEN / f"{method}_{'think' if think else 'fast'}.txt"
    if os.environ.get("SOLE_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize("task", ["open {task} {n}", 'close "it"', "100% {0}"])
@pytest.mark.parametrize("method", METHODS)
def test_a_task_with_braces_is_written_as_it_is(method, task):
    model = model_of(method, reply=reply_to, weigh=lambda p, c: 0.5)
    model.score([film([1, 2], task=task)])
    assert all(task in words_of(prompt) for prompt in model.backend.asked)


# Reading.


def test_a_field_is_found_however_it_is_wrapped():
    assert read_field("x ```json\n{'done': 'yes',}\n```", "done") == "yes"
    assert read_field('{"progress":0.3}', "progress") == "0.3"
    assert read_field("nothing", "done") is None
    assert before_field("Why.\n```json\n{'done': 1}", "done") == "Why."
    assert before_field("", "done") == ""


@settings(max_examples=40)
@given(st.integers(1, 200), st.integers(2, 40))
def test_thinned_frames_keep_both_ends(n_frames, most):
    kept = spread_frames(n_frames, most)
    assert kept[0] == 0
    assert kept[-1] == n_frames - 1
    assert len(kept) == min(n_frames, most)
    assert np.all(np.diff(kept) > 0)


def test_pictures_and_places_must_be_as_many():
    picture = np.zeros((2, 2, 3), np.uint8)
    message = {"role": "user", "content": [{"type": "image"}]}
    with pytest.raises(ValueError, match="1 places for 2 pictures"):
        Prompt((picture, picture), (message,))
    with pytest.raises(ValueError, match="uint8"):
        ask_user([picture.astype(float)])
    with pytest.raises(ValueError, match="one message"):
        Prompt((picture, picture), (message, message), chat=False)


# With models of transformers.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def backends(folder, tmp_path_factory):
    qwen = make_tiny_qwen3(tmp_path_factory.mktemp("qwen3"))
    return {"llava": TransformersBackend(str(folder), device="cpu"),
            "qwen3": TransformersBackend(str(qwen), device="cpu")}  # fmt: skip


SHORT = [(m, "qwen3" if m == "topreward" or m.startswith("gvl") else "llava") for m in METHODS]


@pytest.mark.parametrize(("method", "family"), SHORT)
def test_every_method_keeps_the_contract(backends, method, family):
    model = make_asking_model(method, backends[family])
    model.method.max_new_tokens = 6
    episodes = [make_example_episode(n, 40, seed=n, truth=False) for n in (2, 3)]
    session = "refused" if method == "gvl" else "equals_score"
    check_reward_model(model, episodes, session=session)
    if not method.startswith("gvl"):  # a random model writes nothing that could be read
        assert not np.isnan(model.score(episodes)[1].judged_progress).any()


def test_replies_of_a_real_model_are_read_with_their_failures(backends):
    model = make_asking_model("roboreward", backends["llava"], think=True)
    model.method.max_new_tokens = 6
    check_reward_model(model, [make_example_episode(n, 40, seed=n, truth=False) for n in (2, 3)])
    assert model.costs.parse_failures > 0


@pytest.mark.parametrize("method", METHODS)
def test_one_door_opens_every_method(method, folder):
    model = load.load_reward_model(f"{method}:{folder}", device="cpu", every=2, think="always")
    assert isinstance(model, AskingModel)
    way = "/think" if method in TWO_WAYS else ""
    assert model.model_id == f"{method}:{model.backend.model_id}{way}/e2"


def test_the_flag_of_sole_changes_nothing_for_other_methods(folder):
    model = load.load_reward_model(f"vlac:{folder}", device="cpu", from_zero_weight=0.25)
    assert model.model_id.endswith("/fast/e1")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("gvl", "say which model is asked, such as gvl:Qwen"),
        ("gvl:", "say which model is asked"),
        ("gvl:nano", "its own question about progress only"),
        ("gvl:nowhere", "there is no such folder"),
        ("lrm:lab/judge:published", "belongs to the SOLE question"),
        ("grl:lab/judge", "METHOD:MODEL"),
    ],
)
def test_a_wrong_name_is_refused(name, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load.load_reward_model(name)


def test_words_of_the_fast_way_are_not_made_up():
    step = model_of("lrm-completion", weigh=lambda p, c: 0.5).score([film([1, 2])])[0].steps[1]
    assert step == StepScore(50.0, success_probability=0.5)
    assert RoboReward().ask("t", [np.zeros((2, 2, 3), np.uint8)] * 2, think=True).queries
    assert CausalGvl().max_new_tokens == gvl.TOKENS_A_FRAME * gvl.MAX_FRAMES
    assert lrm.VOTE_PERCENT == 10


@pytest.mark.parametrize(("method", "code"), [("lrm-completion", 0), ("gvl", 1)])
def test_sole_score_takes_a_method_and_a_model(method, code, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gvl, "TOKENS_A_FRAME", 1)
    np.save(tmp_path / "film.npy", make_example_episode(3, 40).views["external"])
    flags = ["--task", "open the drawer", "--model", f"{method}:{folder}", "--no-think", "--json"]
    assert cli.main(["score", str(tmp_path / "film.npy"), *flags]) == code
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert len(steps) == 3
    assert [step["error"] is None for step in steps] == [True, code == 0, code == 0]
