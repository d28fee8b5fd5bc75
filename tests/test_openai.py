"""A model behind an OpenAI-compatible address: words, probabilities, failures, limits, the key."""

import email.utils
import logging
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from fake_openai import FakeEndpoint, fails, pictures_of, says, weighs
from hypothesis import given
from hypothesis import strategies as st
from serving import until

from sole import cli
from sole.data.episode import make_example_episode
from sole.errors import ConfigError, ModelError, ServerError
from sole.models import spoken
from sole.models.api import backend as api
from sole.models.api import wire
from sole.models.api.address import Address, parse_address
from sole.models.api.backend import OpenAIBackend, Usage
from sole.models.backend import ask_user
from sole.models.base import Question
from sole.models.spoken import SpokenReader
from sole.protocol.composite import Geometry
from sole.rewarders.check import check_reward_model
from sole.rewarders.load import load_reward_model
from sole.rewarders.methods import METHODS, TWO_WAYS, make_asking_model
from sole.rewarders.sole import Decoding, SoleRewardModel

KEY = "sk-very-secret"
WORDS = "<think>It moved.</think><answer>40%</answer>"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("SOLE_API_KEY", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def open_backend(endpoint, naps=None, **settings) -> OpenAIBackend:
    address = Address(f"http://{endpoint.host}/v1", "lab/judge", **settings)
    return OpenAIBackend(address, sleep=(naps if naps is not None else []).append)


def prompts(n: int = 1):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (n, 6, 8, 3), dtype=np.uint8)
    return [ask_user(["Before:", picture, f"Question {i}?"]) for i, picture in enumerate(pictures)]


def sequence(*answers):
    return lambda body, number: answers[min(number, len(answers) - 1)]


def number_of(body) -> int:
    return int(body["messages"][0]["content"][-1]["text"].split()[1].rstrip("?"))


# What is sent, and what comes back.


def test_a_prompt_arrives_with_its_pictures_in_place_and_without_loss():
    with FakeEndpoint(sequence(says("It is open."))) as endpoint:
        prompt = prompts()[0]
        reply = open_backend(endpoint).generate([prompt], max_new_tokens=9)[0]
    assert (reply.text, reply.n_tokens, reply.error) == ("It is open.", 7, None)
    asked = endpoint.asked[0]
    assert [p["type"] for p in asked["messages"][0]["content"]] == ["text", "image_url", "text"]
    np.testing.assert_array_equal(pictures_of(asked)[0], prompt.images[0])
    settings = {name: value for name, value in asked.items() if name != "messages"}
    assert settings == {"model": "lab/judge", "temperature": 0, "max_tokens": 9, "seed": 0}


def test_answers_keep_their_order_and_no_more_are_under_way_than_allowed():
    def answer(body, number):
        time.sleep(0.02 if number_of(body) % 3 == 0 else 0.005)
        return says(f"answer {number_of(body)}")

    with FakeEndpoint(answer) as endpoint:
        backend = open_backend(endpoint, concurrency=3)
        replies = backend.generate(prompts(12), max_new_tokens=9)
    assert [reply.text for reply in replies] == [f"answer {i}" for i in range(12)]
    assert 2 <= endpoint.most_at_once <= 3
    assert backend.usage == Usage(12, 0, 0, 1200, 84)
    assert backend.usage.price(2.0, 10.0) == pytest.approx((1200 * 2 + 84 * 10) / 1e6)


def test_words_in_parts_are_joined():
    answer = says([{"type": "text", "text": "It is "}, {"type": "text", "text": "open."}])
    with FakeEndpoint(sequence(answer)) as endpoint:
        assert open_backend(endpoint).generate(prompts(), max_new_tokens=9)[0].text == "It is open."


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (says(None, "content_filter"), "ended with content_filter"),
        (says("  ", "length"), "ended with length"),
        (says(None, refusal="I cannot."), "refused: I cannot."),
        ((200, {}, {"choices": []}), "no chat completion"),
        ((200, {}, {"choices": [{"message": "x"}]}), "no chat completion"),
        ((200, {}, [1]), "no JSON"),
        ((200, {}, b"<html>"), "no JSON"),
        (fails(400, "too many\npictures"), "400: too many pictures"),
        ((413, {}, b"<html>too large"), "413: no reason given"),
        ((422, {}, {"detail": "bad"}), "422: no reason given"),
    ],
)
def test_one_prompt_without_words_is_an_error_of_its_own(answer, complaint):
    def answer_both(body, number):
        return answer if number_of(body) == 0 else says("fine")

    with FakeEndpoint(answer_both) as endpoint:
        bad, good = open_backend(endpoint).generate(prompts(2), max_new_tokens=9)
    assert complaint in bad.error
    assert (bad.text, good.text) == ("", "fine")
    assert len(endpoint.asked) == 2


def test_the_likeliest_first_tokens_are_weighed():
    table = {
        0: weighs({"True": -1.0, "False": -2.0}),
        1: weighs({" True": -2.0, "True": -2.0, "Yes": -3.0}),
    }
    with FakeEndpoint(lambda body, n: table[number_of(body)]) as endpoint:
        found = open_backend(endpoint).logprobs(prompts(2), ["True", "False"])
    np.testing.assert_allclose(found, [[-1, -2], [-2 + np.log(2), np.nan]])
    asked = endpoint.asked[0]
    assert (asked["max_tokens"], asked["logprobs"], asked["top_logprobs"]) == (1, True, 20)


def test_an_endpoint_without_probabilities_is_refused():
    with FakeEndpoint(sequence(says("True"))) as endpoint:
        backend = open_backend(endpoint)
        with pytest.raises(ModelError, match="gives no probabilities"):
            backend.logprobs(prompts(), ["True"])


def test_a_prompt_that_is_not_answered_has_no_probabilities():
    with FakeEndpoint(sequence(fails(400))) as endpoint:
        assert np.isnan(open_backend(endpoint).logprobs(prompts(), ["True", "False"])).all()


def test_plain_text_is_refused():
    with FakeEndpoint(sequence(says("x"))) as endpoint, pytest.raises(ModelError, match="plain"):
        open_backend(endpoint).logprobs([ask_user(["It is"], chat=False)], ["True"])


# Trying again.


@pytest.mark.parametrize("status", sorted(api.PASSING))
def test_a_passing_failure_is_tried_again_with_growing_pauses(status):
    naps = []
    with FakeEndpoint(sequence(fails(status), fails(status), says("at last"))) as endpoint:
        backend = open_backend(endpoint, naps)
        assert backend.generate(prompts(), max_new_tokens=9)[0].text == "at last"
    assert 0.25 <= naps[0] <= 0.5 <= naps[1] <= 1.0
    assert (backend.usage.requests, backend.usage.retries, backend.usage.failures) == (3, 2, 0)


def test_a_lost_connection_is_tried_again():
    with FakeEndpoint(sequence(None, says("at last"))) as endpoint:
        assert open_backend(endpoint).generate(prompts(), max_new_tokens=9)[0].text == "at last"


def test_tries_end_and_the_prompt_has_an_error():
    naps = []
    with FakeEndpoint(sequence(fails(503, "busy"))) as endpoint:
        backend = open_backend(endpoint, naps, retries=3)
        reply = backend.generate(prompts(), max_new_tokens=9)[0]
    assert reply.error == "the endpoint did not answer: 503: busy"
    assert (len(endpoint.asked), len(naps), backend.usage.failures) == (4, 3, 1)


def test_an_answer_that_takes_too_long_is_an_error():
    done = threading.Event()

    def slow(body, number):
        done.wait(5)
        return says("too late")

    with FakeEndpoint(slow) as endpoint:
        backend = open_backend(endpoint, timeout_s=0.1, retries=1)
        reply = backend.generate(prompts(), max_new_tokens=9)[0]
        done.set()
    assert reply.error == "the endpoint did not answer: no answer (ReadTimeout)"
    assert backend.usage.requests == 2


def test_the_endpoint_says_how_long_to_wait():
    naps = []
    later = email.utils.formatdate(time.time() + 30, usegmt=True)
    answers = [fails(429, Retry_After=x) for x in ("7", later, "1e9", "soon", "-3")]
    with FakeEndpoint(sequence(*answers, says("at last"))) as endpoint:
        open_backend(endpoint, naps, retries=9).generate(prompts(), max_new_tokens=9)
    assert naps[0] == 7
    assert 25 < naps[1] <= 30
    assert naps[2] == 60
    assert naps[3] <= 4
    assert naps[4] <= 8


IDLE = OpenAIBackend(Address("http://127.0.0.1:9/v1", "m"))


@given(st.integers(0, 50), st.floats(0, 1e6))
def test_a_pause_is_never_longer_than_a_minute(tries, asked_s):
    assert 0 < IDLE._pause_s(tries, asked_s) <= 60


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        (401, "set SOLE_API_KEY to its key"),
        (403, "may use this model"),
        (404, "usually ends in /v1"),
        (307, "refuses"),
    ],
)
def test_what_refuses_every_prompt_stops_at_once(status, complaint):
    with FakeEndpoint(sequence(fails(status, "go away"))) as endpoint:
        backend = open_backend(endpoint, concurrency=1)
        with pytest.raises(ServerError, match=complaint) as caught:
            backend.generate(prompts(20), max_new_tokens=9)
    assert "go away" in str(caught.value)
    assert len(endpoint.asked) < 20


def test_what_refuses_every_prompt_waits_for_no_other_try():
    begun = threading.active_count()

    def answer(body, number):
        return fails(429, Retry_After="60") if number_of(body) == 0 else fails(401)

    with FakeEndpoint(answer) as endpoint:
        backend = OpenAIBackend(Address(f"http://{endpoint.host}/v1", "m", concurrency=2))
        began = time.monotonic()
        with pytest.raises(ServerError, match="refuses"):
            backend.generate(prompts(2), max_new_tokens=9)
        assert time.monotonic() - began < 40
    backend._client.close()
    until(lambda: threading.active_count() <= begun)
    assert backend.usage.failures == 0


def test_ctrl_c_waits_for_no_answer_and_no_other_try():
    hold = threading.Event()

    def answer(body, number):
        if number_of(body) == 0:
            return fails(429, Retry_After="60")
        hold.wait(60)
        return says("too late")

    with FakeEndpoint(answer) as endpoint:
        script = CTRL_C.format(host=endpoint.host)
        running = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
        until(lambda: len(endpoint.asked) == 2, 120)
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        try:
            _, said = running.communicate(timeout=60)
        finally:
            hold.set()
            running.kill()
    assert (running.returncode, said) == (7, b"")
    assert time.monotonic() - began < 40


CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from sole.models.api.address import Address
from sole.models.api.backend import OpenAIBackend
from sole.models.backend import ask_user
backend = OpenAIBackend(Address("http://{host}/v1", "m", concurrency=2))
try:
    backend.generate([ask_user([f"Question {{i}}?"]) for i in (0, 1)], max_new_tokens=9)
except KeyboardInterrupt:
    raise SystemExit(7) from None
"""


def test_an_address_where_nobody_listens_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        naps = []
        address = Address(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "m")
        with pytest.raises(ServerError, match="cannot be reached at http://127"):
            OpenAIBackend(address, sleep=naps.append).generate(prompts(), max_new_tokens=9)
    assert naps == []


def test_an_endpoint_that_goes_away_is_waited_for():
    naps = []
    with FakeEndpoint(sequence(says("here"))) as endpoint:
        backend = open_backend(endpoint, naps, retries=2)
        backend.generate(prompts(), max_new_tokens=9)
    backend._client.close()
    backend = open_backend(endpoint, naps, retries=2)
    backend._reached = True
    with pytest.raises(ServerError, match="cannot be reached"):
        backend.generate(prompts(), max_new_tokens=9)
    assert len(naps) == 2


def test_settings_that_a_model_does_not_take_are_left_out(caplog):
    def picky(body, number):
        for name in ("max_tokens", "temperature"):
            if name in body:
                return fails(400, f"Unsupported parameter: {name}", name)
        return says("fine")

    with FakeEndpoint(picky) as endpoint, caplog.at_level(logging.WARNING):
        replies = open_backend(endpoint, concurrency=4).generate(prompts(8), max_new_tokens=9)
    assert [reply.text for reply in replies] == ["fine"] * 8
    assert endpoint.asked[-1]["max_completion_tokens"] == 9
    assert "max_tokens" not in endpoint.asked[-1]
    said = [record.getMessage() for record in caplog.records]
    assert [s for s in said if "takes no" in s] == [
        f"lab/judge@{endpoint.host} takes no temperature: replies may vary"
    ]


def test_a_setting_that_is_refused_although_left_out_is_an_error():
    with FakeEndpoint(sequence(fails(400, "no", "max_tokens"))) as endpoint:
        reply = open_backend(endpoint).generate(prompts(), max_new_tokens=9)[0]
    assert reply.error
    assert len(endpoint.asked) == 2


# The key.


def test_the_key_goes_into_the_header_and_nowhere_else(monkeypatch, caplog):
    monkeypatch.setenv("SOLE_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with FakeEndpoint(sequence(fails(429, f"quota of {KEY}"))) as endpoint:
        backend = open_backend(endpoint, retries=1)
        reply = backend.generate(prompts(), max_new_tokens=9)[0]
    assert endpoint.keys == [f"Bearer {KEY}"] * 2
    assert "quota of ***" in reply.error
    seen = f"{caplog.text}{backend!r}{backend.model_id}{backend.address}{reply}"
    assert KEY not in seen


def test_the_key_of_openai_is_sent_to_openai_only(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FakeEndpoint(sequence(says("x"))) as endpoint:
        open_backend(endpoint).generate(prompts(), max_new_tokens=9)
    assert endpoint.keys == [None]
    official = parse_address("openai:https://api.openai.com/v1#gpt")
    assert OpenAIBackend(official)._client.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["sk-\n-secret", "sk-ü-secret", "sk secret"])
def test_what_is_no_key_is_refused_and_not_repeated(key, monkeypatch):
    monkeypatch.setenv("SOLE_API_KEY", key)
    with pytest.raises(ConfigError, match="SOLE_API_KEY: holds characters") as caught:
        OpenAIBackend(Address("http://127.0.0.1:9/v1", "m"))
    assert "secret" not in str(caught.value)


def test_half_a_key_does_not_stay_where_a_message_is_cut():
    body = {"error": {"message": "x" * 195 + KEY + "\x1b[31m"}}
    said, _ = wire.read_error(body, 400, KEY)
    assert KEY[:5] not in said
    assert "\x1b" not in said


# Addresses.


def test_an_address_is_taken_apart():
    found = parse_address("openai:https://h:8/v1/?timeout_s=2.5&retries=0#Qwen/Qwen3-VL-8B:x")
    assert found == Address("https://h:8/v1", "Qwen/Qwen3-VL-8B:x", 8, 2.5, 0)


@pytest.mark.parametrize(
    "name",
    [
        "openai:", "openai:http://h/v1", "openai:h/v1#m", "openai:ftp://h#m", "openai:http://#m",
        "openai:http://h:port/v1#m", "openai:http://[::1/v1#m", "openai:#m",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(name):
    with pytest.raises(ConfigError, match="expected an address and a model, such as openai:http"):
        load_reward_model(name, think=True)


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("speed=9", "no setting 'speed'"),
        ("concurrency=0", "concurrency from 1 to 256"),
        ("concurrency=2.5", "concurrency from"),
        ("timeout_s=nan", "timeout_s from"),
        ("retries=", "retries from"),
    ],
)
def test_a_wrong_setting_is_refused(query, complaint):
    with pytest.raises(ConfigError, match=complaint):
        parse_address(f"openai:http://h/v1?{query}#m")


def test_a_key_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="an address holds no key") as caught:
        parse_address(f"openai:http://user:{KEY}@h/v1#m")
    assert KEY not in str(caught.value)


# Reward models through it.


def judge(body, number):
    """A reply that every way of asking can read, a little different for every question."""
    level = sum(int(picture[0, 0, 0]) for picture in pictures_of(body)) % 90
    if "logprobs" in body:
        return weighs({"True": -1.0, "False": -1.0 - level / 30})
    frames = " ".join(f"Frame {i}: x Completion: {i + level % 5}%" for i in range(1, 10))
    return says(
        '{"more_complete_image": "ImageB"} {"completion_progress": 0.5} {"task_complete": "no"} '
        f"Label: 1 ANSWER: 2 Change: {level}% {frames}"
        f"<think>It moved.</think><answer>{level}%</answer>"
    )


def episodes():
    return [make_example_episode(n, 24, seed=n, truth=False) for n in (2, 3)]


def test_the_sole_question_through_an_address_keeps_the_contract(monkeypatch):
    monkeypatch.setattr(spoken, "SOLE_R1_8B", Geometry(tile_px=28, separator_px=0))
    with FakeEndpoint(judge) as endpoint:
        model = load_reward_model(endpoint.name, think="always")
        check_reward_model(model, episodes())
        step = model.score(episodes()[:1])[0].steps[1]
    assert step.reasoning == "It moved."
    assert step.uncertainty is None
    assert step.progress == sum(int(p[0, 0, 0]) for p in pictures_of(endpoint.asked[-1])) % 90
    assert model.model_id == f"lab/judge@{endpoint.host}/spoken/think/z0/e1"


def test_the_sole_question_has_the_released_words_and_picture():
    with FakeEndpoint(sequence(says(WORDS))) as endpoint:
        load_reward_model(endpoint.name, think="always").score(episodes()[:1])
    system, user = endpoint.asked[0]["messages"]
    assert system["content"][0]["text"].startswith("You are an expert roboticist")
    assert "Predict the task progress" in user["content"][1]["text"]
    assert pictures_of(endpoint.asked[0])[0].shape == (784, 1176, 3)


METHODS_THERE = [m for m in METHODS if m not in {"topreward", "topreward-odds"}]


@pytest.mark.parametrize("method", METHODS_THERE)
def test_every_method_that_can_keeps_the_contract_through_an_address(method):
    with FakeEndpoint(judge) as endpoint:
        model = load_reward_model(f"{method}:{endpoint.name}", think="always")
        session = "refused" if method == "gvl" else "equals_score"
        check_reward_model(model, episodes(), session=session)
        assert not np.isnan(model.score(episodes())[1].judged_progress).any()


def test_no_answer_in_the_end_is_an_error_with_its_reason():
    with FakeEndpoint(sequence(fails(400, "the picture is too large"))) as endpoint:
        models = [
            SoleRewardModel(SpokenReader(open_backend(endpoint)), Decoding(True, 0.0)),
            make_asking_model("vlac", open_backend(endpoint), think=True),
        ]
        for model in models:
            step = model.score(episodes()[:1])[0].steps[1]
            assert step.progress is None
            assert step.error == "the endpoint did not answer: 400: the picture is too large"
            assert model.costs.parse_failures == 1


def test_a_reader_of_words_has_no_fast_way():
    with FakeEndpoint(judge) as endpoint:
        reader = SpokenReader(open_backend(endpoint))
        seen = reader.see([{"external": np.zeros((8, 8, 3), np.uint8)}] * 2)
        with pytest.raises(ModelError, match="in its words only"):
            reader.ask([Question("push", *seen)], think=False)


@pytest.mark.parametrize(
    ("method", "options", "complaint"),
    [
        ("", {"think": "fast"}, "add --think .*--from-zero-weight 0"),
        ("", {"think": "always", "from_zero_weight": 0.25}, "--from-zero-weight 0"),
        ("", {"think": "always", "device": "cuda"}, "runs elsewhere"),
        ("topreward:", {}, "after a plain text"),
        *[(f"{method}:", {"think": "fast"}, "add --think") for method in TWO_WAYS],
    ],
)
def test_what_an_address_cannot_do_is_refused(method, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_reward_model(f"{method}openai:http://127.0.0.1:9/v1#m", **options)


def test_sole_score_takes_an_address(tmp_path, capsys):
    np.save(tmp_path / "film.npy", make_example_episode(3, 40).views["external"])
    with FakeEndpoint(sequence(says(WORDS))) as endpoint:
        flags = ["--task", "open the drawer", "--model", endpoint.name, "--json"]
        assert cli.main(["score", str(tmp_path / "film.npy"), *flags]) == 0
    assert '"final_progress": 40.0' in capsys.readouterr().out


def test_a_message_of_an_endpoint_is_one_short_line():
    said, parameter = wire.read_error({"error": {"message": "a\n" * 500, "param": 3}}, 400)
    assert "\n" not in said
    assert len(said) < 210
    assert parameter is None
