"""An episode as one growing conversation: what is shown, kept and counted."""

import json

import numpy as np
import pytest
from fake_backend import FakeBackend, words_of
from tiny_vlm import make_tiny_qwen3

from sole import cli
from sole.bench.tokens import TokensConfig, count_protocols, ratios
from sole.data.episode import Episode, make_example_episode
from sole.errors import BadInputError, ConfigError
from sole.models.backend import Capabilities
from sole.models.hf.backend import TransformersBackend
from sole.protocol import streaming
from sole.protocol.prompt import write_reply
from sole.protocol.streaming import Conversation
from sole.protocol.tokens import QWEN3_VL, VisionGeometry, count_pieces, count_question, prefilled
from sole.rewarders.check import check_reward_model
from sole.rewarders.load import load_reward_model
from sole.rewarders.methods import make_question_model


def episode(n_frames, views=("external", "wrist"), size=4):
    frames = {
        name: np.stack([np.full((size, size, 3), 10 * t + k, np.uint8) for t in range(n_frames)])
        for k, name in enumerate(views)
    }
    return Episode("open the drawer", frames)


def says(*replies):
    """A model that says these one after the other, over and over."""
    turns = iter(replies * 50)
    return FakeBackend(reply=lambda prompt: next(turns))


def model_of(backend, think=True):
    return make_question_model("stream", backend, think=think)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(streaming, "TILE_PX", 8)


def test_every_question_begins_with_all_that_was_said_before():
    backend = says(write_reply("It moved.", 12), write_reply("More.", 30))
    model_of(backend).score([episode(3)])
    first, second = map(words_of, backend.asked)
    told = first + "\n\nassistant\n" + write_reply("It moved.", 12)
    assert second.startswith(told)
    assert first.count("[picture") == 4
    assert second.removeprefix(told).split() == [
        "user", "[picture", "20]", "[picture", "21]", *streaming.NEXT.split(),
    ]  # fmt: skip


def test_the_first_moment_is_zero_percent_and_says_which_views_there_are():
    talk = Conversation.start("open the drawer.", {"wrist": np.zeros((4, 4, 3), np.uint8)})
    text = words_of_talk(talk)
    assert "one picture, the robot's wrist camera's" in text
    assert "The task description is: open the drawer. This is the very first timestep" in text
    assert text.endswith("assistant\n<think></think><answer>0%</answer>")


def words_of_talk(talk):
    return words_of(type("Told", (), {"messages": talk.messages, "images": talk.images}))


def test_a_task_with_braces_is_written_as_it_is():
    talk = Conversation.start("open {task} {views}", {"wrist": np.zeros((4, 4, 3), np.uint8)})
    assert "is: open {task} {views}." in words_of_talk(talk)


def test_a_reply_that_cannot_be_read_is_an_error_and_left_out_of_what_follows():
    backend = says(write_reply("", 10), "no number", write_reply("", 30))
    steps = model_of(backend).score([episode(4)])[0].steps
    assert [s.progress for s in steps] == [0, 10, None, 30]
    assert "no <answer>" in steps[2].error
    assert "no number" not in words_of(backend.asked[2])
    assert "[picture 20]" not in words_of(backend.asked[2])


def test_without_words_progress_is_the_expectation_over_all_answers():
    shares = {write_reply("", 40): 0.5, write_reply("", 60): 0.25, write_reply("", 100): 0.25}
    backend = FakeBackend(weigh=lambda prompt, answer: shares.get(answer, 0.0))
    step = model_of(backend, think=False).score([episode(2)])[0].steps[1]
    assert step.progress == pytest.approx(60.0)
    assert step.success_probability == pytest.approx(0.25)
    assert step.uncertainty == pytest.approx(np.sqrt(0.5 * 400 + 0.25 * 1600))


def test_sessions_answer_as_a_whole_episode_and_keep_the_contract():
    def reply(prompt):
        return write_reply("", int(prompt.images[-1][0, 0, 0]) % 100)

    model = model_of(FakeBackend(reply=reply))
    check_reward_model(model, [make_example_episode(n, 8, seed=n) for n in (1, 4, 3)])
    assert model.costs.model_calls > 0


@pytest.mark.slow
def test_a_model_of_transformers_keeps_the_contract(tmp_path):
    model = load_reward_model(f"stream:{make_tiny_qwen3(tmp_path)}", device="cpu")
    check_reward_model(model, [make_example_episode(n, 8, seed=n, truth=False) for n in (2, 3)])


def test_a_session_of_another_model_is_refused():
    one, other = (model_of(says("")) for _ in range(2))
    with pytest.raises(ValueError, match="has started"):
        one.step_sessions([other.start("t")], [{}])


def test_views_must_stay_the_same():
    session = model_of(says(write_reply("", 1))).start("open it")
    views = {n: v[0] for n, v in episode(1).views.items()}
    session.step(views)
    with pytest.raises(ValueError, match="expected views"):
        session.step({"external": views["external"]})


def test_an_endpoint_without_probabilities_must_be_read_in_words():
    backend = FakeBackend(capabilities=Capabilities("first_token", plain=False))
    assert model_of(backend).thinking().think
    with pytest.raises(ConfigError, match="--think"):
        model_of(backend).fast()


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((384, 384), 144), ((784, 1176), 888), ((773, 1162), 864), ((32, 32), 64)],
)
def test_picture_tokens_follow_the_rounded_size(size, tokens):
    assert QWEN3_VL.picture_tokens(*size) == tokens


def test_counts_are_those_of_the_models_own_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "TILE_PX", 64)
    backend = TransformersBackend(str(make_tiny_qwen3(tmp_path)), device="cpu")
    pictures, tokenizer = backend.network.processor.image_processor, backend.network.tokenizer
    size = pictures.size
    vision = VisionGeometry(
        pictures.patch_size, pictures.merge_size, size["shortest_edge"], size["longest_edge"]
    )
    talk = Conversation.start("open the drawer", {n: v[0] for n, v in episode(1).views.items()})
    talk = talk.asking({n: v[0] for n, v in episode(1).views.items()})
    seen = backend.network.see(backend.network.write(talk.messages), talk.images)
    counted = count_question(
        talk.messages, talk.images, vision=vision,
        count_text=lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]),
    )  # fmt: skip
    line_ends = len(tokenizer("system\n", add_special_tokens=False)["input_ids"]) - 2
    roles = sum(
        len(tokenizer(f"{m['role']}\n", add_special_tokens=False)["input_ids"]) - 2
        for m in (*talk.messages, {"role": "assistant"})
    )
    assert line_ends >= 0  # the tiny tokenizer writes a role in several tokens, Qwen's in one
    assert counted.n_tokens + roles == seen["input_ids"].shape[1]


def test_a_prefix_cache_reads_whole_blocks_only_once():
    def question(*spans):
        return type(count_question([], []))(tuple(spans))

    asked = [question(("a", 40), ("b", 5)), question(("a", 40), ("b", 5), ("reply", 7), ("c", 9))]
    after = [question(*asked[0].spans, ("reply", 7)), asked[1]]
    assert prefilled(asked, after=after, block=16) == [45, 61 - 48]
    assert prefilled(asked, after=after, block=1) == [45, 9]
    assert prefilled([asked[0]] * 2, after=[asked[0]] * 2, block=1) == [45, 1]


def test_streaming_reads_at_most_a_third_of_the_published_protocol(monkeypatch):
    monkeypatch.setattr(streaming, "TILE_PX", 384)
    counted = count_protocols(TokensConfig())
    assert counted["published"].questions == counted["streaming"].questions == 24
    assert (counted["published"].per_moment, counted["streaming"].per_moment) == (888, 288)
    found = {figure.name: figure.value for figure in ratios(counted)}
    assert found["tokens.streaming_ratio"] <= 1 / 3
    assert found["tokens.streaming_ratio_cached"] <= 1 / 3


def test_the_counts_of_words_are_qwens():
    assert count_pieces("You are an expert roboticist") == 6
    assert count_pieces("<think></think><answer>-40%</answer>") == 10
    with pytest.raises(BadInputError, match="--model"):
        count_pieces("open the zyzzyva")


def test_sole_bench_tokens_prints_and_records(tmp_path, monkeypatch, capsys):
    figures = tmp_path / "figures.json"
    assert cli.main(["bench", "tokens", "--frames", "4", "--figures", str(figures)]) == 0
    assert "prompt tokens, all questions" in capsys.readouterr().out
    assert cli.main(["bench", "tokens", "--frames", "4", "--views", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["streaming"]["questions"] == 3
    names = {entry["name"] for entry in json.loads(figures.read_text())}
    assert "tokens.streaming_ratio" in names


def test_a_task_of_unknown_words_is_one_line(capsys):
    assert cli.main(["bench", "tokens", "--task", "open the zyzzyva"]) == 2
    assert "--model" in capsys.readouterr().err
