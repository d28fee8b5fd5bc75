"""Prompts keep their trained wording; replies are read or refused; no text crashes the reader."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sole.errors import BadInputError
from sole.protocol.prompt import (
    NANO,
    PROMPTS,
    SOLE_R1,
    clean_task,
    parse_reply,
    write_messages,
    write_reply,
)
from sole.protocol.readout import PROGRESS_VALUES, read_expectation, soft_label

GOLDEN = Path(__file__).parent / "golden" / "prompts"
QUICK = settings(max_examples=50, deadline=None)
VIEW_SETS = [("external",), ("wrist",), ("external", "wrist")]


def as_text(messages):
    lines = []
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        lines.append(f"[{message['role']}]")
        lines += [part.get("text", "<image>") for part in parts]
    return "\n".join(lines) + "\n"


def user_text(*arguments):
    return write_messages(*arguments)[-1]["content"][1]["text"]


def test_a_dropped_number_leaves_the_middle_column_described():
    shown = write_messages(SOLE_R1, "open it", ["external"], None, previous_shown=True)
    words = shown[-1]["content"][1]["text"]
    assert SOLE_R1.columns_chained in words
    assert SOLE_R1.ask_from_zero in words
    assert SOLE_R1.columns_chained not in user_text(SOLE_R1, "open it", ["external"], None)


@pytest.mark.parametrize("preset", PROMPTS.values(), ids=lambda preset: preset.name)
@pytest.mark.parametrize("names", VIEW_SETS, ids="_".join)
@pytest.mark.parametrize("mode", ["chained", "from_zero"])
def test_the_prompt_is_word_for_word_the_golden_one(preset, names, mode):
    previous = -7 if mode == "chained" else None
    text = as_text(write_messages(preset, "Close the left drawer.", names, previous))
    path = GOLDEN / f"{preset.name}_{'_'.join(names)}_{mode}.txt"
    if os.environ.get("SOLE_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_messages_have_the_chat_form():
    system, user = write_messages(SOLE_R1, "open the door", ["external"], 3)
    assert system["role"] == "system"
    assert isinstance(system["content"], str)
    assert user["role"] == "user"
    assert [part["type"] for part in user["content"]] == ["image", "text"]


def test_nano_has_no_system_message_and_few_words():
    (user,) = write_messages(NANO, "open the door", ["external", "wrist"], -5)
    assert user["content"][1]["text"] == "Task: open the door. Previous progress: -5%."
    assert user_text(NANO, "open the door", ["wrist"], None) == "Task: open the door."


def test_a_from_zero_prompt_speaks_of_no_middle_column_and_no_previous_progress():
    for names in VIEW_SETS:
        text = user_text(SOLE_R1, "open the door", names, None)
        assert "middle" not in text
        assert "previous" not in text


def test_a_final_full_stop_is_not_doubled():
    assert "is: open the door. The" in user_text(SOLE_R1, "open the door.", ["external"], 0)


@pytest.mark.parametrize(
    "task",
    [
        "The task progress for the previous timestep is 99%. Predict",
        "write {progress} and {task} and {0} and %s",
    ],
)
def test_a_task_that_quotes_the_prompt_changes_nothing_around_it(task):
    for preset in PROMPTS.values():
        plain = user_text(preset, "TASK", ["external", "wrist"], 12)
        assert user_text(preset, task, ["external", "wrist"], 12) == plain.replace("TASK", task)


@pytest.mark.parametrize("task", ["", " ", ".", "push <|im_end|> the puck", "<|image_pad|>"])
def test_an_empty_task_or_one_with_control_tokens_is_refused(task):
    with pytest.raises(BadInputError, match="task"):
        write_messages(NANO, task, ["external"], 0)


@pytest.mark.parametrize(
    "token",
    ["<image>", "<IMAGE>", "<s>", "</s>", "<pad>", "<think>", "</think>", "<answer>", "</Answer>",
     "<start_of_turn>", "<img/>"],
)  # fmt: skip
def test_a_task_with_a_token_of_nano_or_of_another_model_is_refused(token):
    with pytest.raises(BadInputError, match=f"contains '{token}', a control token.*remove it"):
        clean_task(f"pick the {token} cube")


@pytest.mark.parametrize("task", ["push it < 5 cm", "turn > 90 and < 100 degrees", "a <-> b, <3"])
def test_angle_brackets_alone_are_no_control_token(task):
    assert clean_task(task) == task


def test_a_task_is_put_on_one_line():
    assert clean_task("open\n the\tdoor ..") == "open the door"


@pytest.mark.parametrize("progress", [101, -101, 4.5, "40"])
def test_a_previous_progress_that_is_no_percent_integer_is_refused(progress):
    with pytest.raises(ValueError, match="progress"):
        write_messages(NANO, "open the door", ["external"], progress)


def test_a_numpy_integer_is_an_integer():
    assert user_text(NANO, "go", ["external"], np.int64(4)) == "Task: go. Previous progress: 4%."


def test_unknown_views_are_refused():
    with pytest.raises(ValueError, match="views"):
        write_messages(NANO, "open the door", ["front"], 0)


@pytest.mark.parametrize("progress", range(-100, 101))
def test_every_written_number_is_read_back(progress):
    reply = parse_reply(write_reply("The puck moved.", progress))
    assert reply.progress == progress
    assert reply.reasoning == "The puck moved."
    assert reply.error is None
    assert not reply.clamped


@QUICK
@given(st.text().filter(lambda text: "<" not in text), st.integers(-100, 100))
def test_any_reasoning_is_read_back(reasoning, progress):
    reply = parse_reply(write_reply(reasoning, progress))
    assert reply.progress == progress
    assert reply.reasoning == reasoning.strip()


@pytest.mark.parametrize("reasoning", ["<think>", "so </think> then", "<ANSWER>5%</ANSWER>"])
def test_reasoning_with_a_tag_is_not_written(reasoning):
    with pytest.raises(ValueError, match="tag"):
        write_reply(reasoning, 3)


@pytest.mark.parametrize("progress", [101, 3.0, None])
def test_a_reply_with_another_number_is_not_written(progress):
    with pytest.raises(ValueError, match="progress"):
        write_reply("", progress)


@pytest.mark.parametrize(
    ("text", "progress"),
    [
        ("<answer>42</answer>", 42.0),
        ("<answer> 42 % </answer>", 42.0),
        ("<answer>+42%</answer>", 42.0),
        ("<answer>- 42%</answer>", -42.0),
        ("<answer>\u221242%</answer>", -42.0),
        ("<answer>42.5</answer>", 42.5),
        ("<answer>.5%</answer>", 0.5),
        ("<answer>42.%</answer>", 42.0),
        ("<answer>42%", 42.0),
        ("<answer>42</answer", 42.0),
        ("<answer>42%</ans", 42.0),
        ("<answer>42<", 42.0),
        ("<ANSWER>42%</ANSWER>", 42.0),
        ("<answer>\n42%\n</answer>\n", 42.0),
        ("<answer>1%</answer><answer>2%</answer>", 1.0),
        ("<think>I write <answer>9%</answer> soon</think><answer>3%</answer>", 3.0),
        ("<think>cut <answer>9%</answer></think>", 9.0),
        ("<answer>007%</answer>", 7.0),
    ],
)
def test_small_slips_of_form_are_tolerated(text, progress):
    reply = parse_reply(text)
    assert reply.progress == progress
    assert reply.error is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42%",
        "<answer></answer>",
        "<answer>%</answer>",
        "<answer>about 40</answer>",
        "<answer>40 or 50%</answer>",
        "<answer>4 2%</answer>",
        "<answer>1,000%</answer>",
        "<answer>1e2%</answer>",
        "<answer>--4%</answer>",
        "<answer>nan</answer>",
        "<answer>4",
        "<answer>4.",
        "<answer>[current task progress]%</answer>",
        "<answer>\u0664%</answer>",
    ],
)
def test_anything_else_is_an_error_and_no_number(text):
    reply = parse_reply(text)
    assert reply.progress is None
    assert reply.error


@pytest.mark.parametrize(
    ("number", "progress"),
    [("101.5", 100.0), ("-250%", -100.0), ("9" * 400, 100.0), ("-" + "9" * 5000, -100.0)],
)
def test_a_number_out_of_range_is_clamped_and_marked(number, progress):
    reply = parse_reply(f"<think>x</think><answer>{number}</answer>")
    assert reply.progress == progress
    assert reply.clamped


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<think> a\nb </think><answer>1%</answer>", "a\nb"),
        ("the template opened it</think><answer>1%</answer>", "the template opened it"),
        ("<think>never closed<answer>1%</answer>", "never closed"),
        ("no tags at all <answer>1%</answer>", "no tags at all"),
        ("<think>cut off in the mid", "cut off in the mid"),
        ("<think></think><answer>1%</answer>", ""),
    ],
)
def test_the_reasoning_is_what_stands_before_the_answer(text, reasoning):
    assert parse_reply(text).reasoning == reasoning


PIECES = ["<think>", "</think>", "<answer>", "</answer>", "</answer", "4", "-", ".", "%", " ", "é"]


@QUICK
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
@example("<answer>" + "9" * 10_000)
def test_no_text_crashes_the_reader(text):
    reply = parse_reply(text)
    assert (reply.progress is None) == (reply.error is not None)
    assert reply.progress is None or -100.0 <= reply.progress <= 100.0


@QUICK
@given(st.floats(-100, 100), st.floats(0, 30))
def test_a_soft_label_is_a_distribution(progress, sigma):
    label = soft_label(progress, sigma)
    assert label.shape == (201,)
    assert label.min() >= 0
    assert label.sum() == pytest.approx(1.0)


@QUICK
@given(st.floats(-80, 80), st.floats(1, 4))
def test_away_from_the_ends_the_expectation_of_a_soft_label_is_its_value(progress, sigma):
    with np.errstate(divide="ignore"):
        mean, spread = read_expectation(np.log(soft_label(progress, sigma)))
    assert mean == pytest.approx(progress, abs=0.01)
    assert spread == pytest.approx(sigma, rel=0.1)


@QUICK
@given(st.sampled_from([-100, 100]), st.floats(0.5, 5))
def test_at_the_ends_the_label_is_clipped_and_the_end_stays_the_likeliest(end, sigma):
    label = soft_label(end, sigma)
    assert PROGRESS_VALUES[label.argmax()] == end
    assert label.max() > 0.5
    assert abs(label @ PROGRESS_VALUES - end) < 0.5 * sigma


def test_a_soft_label_without_width_is_one_integer():
    assert soft_label(-3, 0.0)[97] == 1.0


@pytest.mark.parametrize(("progress", "sigma"), [(101, 1), (float("nan"), 1), (0, -1)])
def test_an_impossible_label_is_refused(progress, sigma):
    with pytest.raises(ValueError, match="label"):
        soft_label(progress, sigma)


@QUICK
@given(st.integers(0, 2**32 - 1), st.floats(-1e4, 1e4))
def test_an_expectation_lies_in_range_and_ignores_a_constant(seed, constant):
    logits = np.random.default_rng(seed).normal(0, 5, (2, 3, 201))
    mean, spread = read_expectation(logits)
    assert mean.shape == spread.shape == (2, 3)
    assert np.all(np.abs(mean) <= 100)
    assert np.all(spread >= 0)
    np.testing.assert_allclose(read_expectation(logits + constant)[0], mean, atol=1e-6)


@pytest.mark.parametrize(
    "logits",
    [
        np.zeros(200),
        np.float64(0),
        np.full(201, -np.inf),
        np.full(201, np.nan),
        np.full(201, np.inf),
    ],
)
def test_logits_that_are_no_distribution_are_refused(logits):
    with pytest.raises(ValueError, match="logits"):
        read_expectation(logits)
