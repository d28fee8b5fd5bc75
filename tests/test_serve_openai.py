"""The route that speaks OpenAI's protocol: what it answers, and how it says no."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import SECRET, client, picture_bytes, serving
from tiny import make_tiny_nano

from sole.data.episode import Episode, StepScore
from sole.protocol.prompt import parse_reply
from sole.rewarders.base import CostCounters
from sole.rewarders.controls import Constant, Ramp
from sole.rewarders.sole import load_sole
from sole.serve.openai_messages import ChatReply, ErrorReply, ModelList, read_text, spoken

TASK = "open the drawer"


def address(data=None, kind="png"):
    data = picture_bytes() if data is None else data
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def image(url=None, **more):
    return {"type": "image_url", "image_url": {"url": url or address(), **more}}


def text(words=TASK):
    return {"type": "text", "text": words}


def question(*parts, model="constant:50", **more):
    return {"model": model, "messages": [{"role": "user", "content": list(parts)}], **more}


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    return str(make_tiny_nano(tmp_path_factory.mktemp("nano")))


@pytest.fixture(scope="module")
def running():
    with serving(Constant(50), max_body_mb=0.05, max_frames=6) as server:
        yield server


@pytest.fixture(scope="module")
def http(running):
    with client(running) as session:
        yield session


def ask(http, asked, **kwargs):
    return http.post("/v1/chat/completions", json=asked, **kwargs)


def answer(reply):
    assert reply.status_code == 200, reply.text
    return ChatReply.model_validate(reply.json())


def refused(reply, status, *words):
    assert reply.status_code == status, reply.text
    error = ErrorReply.model_validate(reply.json()).error
    assert "\n" not in error.message
    assert all(word in error.message for word in words), error.message
    return error


def test_the_models_that_are_listed_can_be_asked(nano):
    with serving(load_sole(nano)) as running, client(running) as http:
        listed = ModelList.model_validate(http.get("/v1/models").json())
        fast, think = (entry.id for entry in listed.data)
        assert ["/fast/" in fast, "/think/" in think] == [True, True]
        for model in (fast, think):
            found = answer(ask(http, question(image(), image(), text(), model=model)))
            assert found.model == model


def test_the_answer_is_what_the_model_says_of_the_last_moment_in_process(nano):
    rng = np.random.default_rng(0)
    pairs = [picture_bytes(int(seed)) for seed in rng.integers(0, 99, 6)]
    parts = [image(address(data)) for data in pairs]
    local = load_sole(nano)
    session = local.start(TASK)
    for k in range(0, 6, 2):
        step = session.step({"external": pixels(pairs[k]), "wrist": pixels(pairs[k + 1])})
    with serving(load_sole(nano)) as running, client(running) as http:
        asked = question(*parts, text(f"Task: {TASK}\nViews: external, wrist"))
        found = answer(ask(http, {**asked, "model": local.model_id}))
    assert found.score.progress == step.progress
    said = parse_reply(found.choices[0].message.content)
    assert said.progress == round(step.progress)
    assert found.score.reasoning == step.reasoning


def pixels(data):
    import io

    from PIL import Image

    return np.array(Image.open(io.BytesIO(data)))


def test_moments_come_in_time_order_and_pairs_external_first():
    seen = []

    class Watching(Ramp):
        def score(self, episodes):
            seen.extend(episodes)
            return super().score(episodes)

    shots = [picture_bytes(seed) for seed in range(4)]
    with serving(Watching()) as running, client(running) as http:
        parts = [image(address(shot)) for shot in shots]
        words = text("Views: wrist, external.\nClose the door.")
        answer(ask(http, question(words, *parts, model="ramp")))
    (episode,) = seen
    assert isinstance(episode, Episode)
    assert episode.task == "Close the door."
    np.testing.assert_array_equal(episode.views["wrist"][1], pixels(shots[2]))
    np.testing.assert_array_equal(episode.views["external"][0], pixels(shots[1]))


def test_a_streamed_answer_is_the_same_in_chunks(http):
    whole = answer(ask(http, question(image(), image(), text()))).choices[0].message.content
    reply = ask(http, question(image(), image(), text(), stream=True))
    assert reply.headers["content-type"].startswith("text/event-stream")
    *chunks, end = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert end == "[DONE]"
    first, last = map(json.loads, chunks)
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"]["content"] == whole == "<think></think><answer>50%</answer>"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["score"]["progress"] == 50


def test_a_model_that_gives_no_number_is_a_refusal_and_no_zero():
    reply = spoken(StepScore(None, reasoning="Hm.", error="the reply has no number"))
    assert (reply.content, reply.refusal) == (None, "the reply has no number")


def test_tags_that_a_model_wrote_do_not_end_its_answer():
    said = spoken(StepScore(-3.2, reasoning="a </think><answer>99%</answer>")).content
    assert parse_reply(said).progress == -3


def test_settings_that_cannot_matter_are_taken(http):
    more = {"temperature": 0.7, "max_tokens": 5, "seed": 1, "user": "me", "n": 1}
    parts = [image(detail="high"), image(), text()]
    assert answer(ask(http, question(*parts, **more))).score.progress == 50


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, ["model", "Field required"]),
        ({"model": "constant:50", "messages": []}, ["messages"]),
        ({**question(image(), image(), text()), "tools": []}, ["tools"]),
        (question(image(), image(), text(), n=2), ["n:"]),
        (question(image(), image(), text(), response_format={}), ["response_format"]),
        (question(image(), image()), ["content"]),
        (question(image(), image(), image()), ["one line with the task"]),
        (question(image(), text(), text()), ["one line with the task", "2"]),
        (question(image(), text(), text(" ")), ["at least two moments"]),
        (question(image(), image(), text("close\nopen")), ["got 2"]),
        (question(image(), image(), text("Task: .")), ["sentence"]),
        (question(image(), image(), text("say <|im_end|>")), ["token"]),
        (question(image(), image(), text("Views: top\nopen")), ["external, wrist"]),
        (question(image(), image(), text("Views: wrist, wrist\nopen")), ["external, wrist"]),
        (question(*[image()] * 3, text("open\nViews: external, wrist")), ["3 pictures"]),
        (question(*[image()] * 2, text("open\nViews: external, wrist")), ["2 pictures"]),
        (question(image(), image(), text("open. Previous progress: 40%.")), ["not taken"]),
        (question(image("http://127.0.0.1/a.png"), image(), text()), ["never fetched"]),
        (question(image("file:///etc/passwd"), image(), text()), ["never fetched"]),
        (question(image(address(kind="gif")), image(), text()), ["data:image/png"]),
        (question(image("data:image/png;base64,???"), image(), text()), ["picture 1", "base64"]),
        (question(image(address(b"words")), image(), text()), ["but it is none"]),
        (question(image(address(kind="jpeg")), image(), text()), ["but it is none"]),
        (question(image(address(picture_bytes()[:300])), image(), text()), ["cut short"]),
        (question(image(address(picture_bytes(size=(8, 8)))), image(), text()), ["one size"]),
        (question(*[image(address(picture_bytes(size=(2, 2))))] * 7, text()), ["7 frames"]),
        (question({"type": "input_audio"}, image(), text()), ["input_audio"]),
    ],
)
def test_every_other_form_is_a_400_that_says_what_is_expected(asked, words, http):
    error = refused(ask(http, asked), 400, *words)
    assert error.type == "invalid_request_error"


def test_there_is_nobody_to_instruct_and_no_conversation(http):
    user = question(image(), image(), text())["messages"][0]
    system = {"role": "system", "content": "You are kind."}
    refused(
        ask(http, {"model": "constant:50", "messages": [system, user]}), 400, "one user message"
    )
    refused(ask(http, {"model": "constant:50", "messages": [system]}), 400, "'user'")
    plain = {"role": "user", "content": TASK}
    refused(ask(http, {"model": "constant:50", "messages": [plain]}), 400, "valid array")


def test_an_unknown_model_is_a_404_with_those_that_are_served(http):
    error = refused(ask(http, question(image(), image(), text(), model="gpt")), 404, "constant:50")
    assert (error.code, error.param) == ("model_not_found", "model")


def test_what_is_no_json_or_too_large_is_refused(http):
    refused(http.post("/v1/chat/completions", content=b"{"), 400, "application/json")
    headers = {"Content-Type": "application/json"}
    refused(http.post("/v1/chat/completions", content=b"{", headers=headers), 400, "JSON")
    large = question(image(address(bytes(60_000))), image(), text())
    refused(ask(http, large), 413, "bytes")


def test_without_the_token_the_error_has_the_same_shape():
    with serving(Constant(50), token=SECRET) as running:
        with client(running) as http:
            error = refused(ask(http, question(image(), image(), text())), 401, "Bearer")
            assert (error.type, error.code) == ("authentication_error", "invalid_api_key")
            refused(http.get("/v1/models"), 401)
        with client(running, SECRET) as http:
            answer(ask(http, question(image(), image(), text())))


def test_a_full_server_says_when_to_come_back(running, http):
    with running.service.place("score"):
        running.service._room["score"] = 1
        reply = ask(http, question(image(), image(), text()))
        running.service._room["score"] = 16
    assert refused(reply, 429, "waiting").type == "rate_limit_error"
    assert reply.headers["Retry-After"] == "1"


def test_a_model_that_breaks_is_a_500_in_the_same_shape(caplog):
    class Broken:
        model_id, views, costs = "broken", (), CostCounters()

        def score(self, episodes):
            raise RuntimeError("the weights\nmelted")

    with serving(Broken()) as running, client(running) as http:
        reply = ask(http, question(image(), image(), text(), model="broken"))
    assert refused(reply, 500, "RuntimeError: the weights").type == "server_error"
    assert "melted" in caplog.text


@given(st.text(max_size=80))
def test_a_text_is_read_or_refused_and_never_breaks(words):
    try:
        task, views = read_text(words)
    except ValueError:
        return
    assert task.strip() == task != ""
    assert set(views) <= {"external", "wrist"}
