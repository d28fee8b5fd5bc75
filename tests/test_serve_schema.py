"""The published schema holds together, and no JSON whatever breaks a route."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import client, file, picture_bytes, serving

from sole.rewarders.controls import Constant
from sole.serve.messages import Refusal
from sole.serve.openai_messages import ErrorReply

_PICTURE = f"data:image/png;base64,{base64.b64encode(picture_bytes(size=(8, 8))).decode()}"
_IMAGE = {"type": "image_url", "image_url": {"url": _PICTURE, "detail": "low"}}
_TEXT = {"type": "text", "text": "Task: open it.\nViews: external"}
CHAT = {
    "model": "constant:50", "stream": False, "temperature": 0.5,
    "messages": [{"role": "user", "content": [_IMAGE, _IMAGE, _TEXT]}],
}  # fmt: skip
STREAM = {"task": "open it", "think": None, "layout": "separate", "every": 2, "pictures": True}
COMPARE = {
    "task": "open it", "first": {"frame": 0}, "second": {"views": {"external": "external"}},
    "tie_margin": 0.5, "think": None,
}  # fmt: skip
_WORDS = st.sampled_from(["model", "role", "user", "type", "text", "url", "views", "external"])
_LEAVES = st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=6) | _WORDS
_ANYTHING = st.recursive(
    _LEAVES | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def http():
    with serving(Constant(50)) as running, client(running) as session:
        yield session


def places(value, at=()):
    """Every place inside a JSON value."""
    yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*at, key))


def put(value, at, other):
    """The same JSON with something else at one place."""
    if not at:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = put(copy[at[0]], at[1:], other)
    return copy


def changed(good):
    """A good request with anything at any place of it."""
    return st.builds(put, st.just(good), st.sampled_from(list(places(good))), _ANYTHING)


def refs(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].removeprefix("#/components/schemas/")
        for inner in value.values():
            yield from refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from refs(inner)


def send(http, path, request):
    files = [("request", (None, json.dumps(request))), file(), file(), file()]
    return http.post(path, files=files)


def test_the_requests_that_are_changed_here_are_good_ones(http):
    assert http.post("/v1/chat/completions", json=CHAT).status_code == 200
    assert send(http, "/v1/stream", STREAM).status_code == 200
    assert send(http, "/v1/compare", COMPARE).status_code == 200


@settings(max_examples=100, deadline=None)
@given(asked=changed(CHAT))
def test_a_chat_with_anything_anywhere_is_answered_or_refused_in_openais_shape(http, asked):
    reply = http.post("/v1/chat/completions", json=asked)
    if reply.status_code != 200:
        assert reply.status_code in {400, 404}, reply.text
        assert ErrorReply.model_validate(reply.json()).error.message


@settings(max_examples=60, deadline=None)
@given(asked=changed(STREAM))
def test_a_stream_asked_with_anything_anywhere_is_told_or_refused(http, asked):
    reply = send(http, "/v1/stream", asked)
    if reply.status_code == 200:
        assert reply.text.split("\n\n")[-2].startswith("event: end\n")
    else:
        assert reply.status_code == 422, reply.text
        assert "\n" not in Refusal.model_validate(reply.json()).error


@settings(max_examples=60, deadline=None)
@given(asked=changed(COMPARE))
def test_a_comparison_asked_with_anything_anywhere_is_made_or_refused(http, asked):
    reply = send(http, "/v1/compare", asked)
    if reply.status_code != 200:
        assert reply.status_code == 422, reply.text
        assert "\n" not in Refusal.model_validate(reply.json()).error


def test_every_reference_of_the_schema_leads_somewhere(http):
    schema = http.get("/openapi.json").json()
    assert set(refs(schema)) <= set(schema["components"]["schemas"])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/score", "ScoreRequest"),
        ("/v1/sessions", "SessionRequest"),
        ("/v1/stream", "StreamRequest"),
        ("/v1/compare", "CompareRequest"),
        ("/v1/chat/completions", "ChatRequest"),
    ],
)
def test_the_schema_says_what_a_route_takes_that_reads_its_body_by_itself(path, name, http):
    schema = http.get("/openapi.json").json()
    assert name in set(refs(schema["paths"][path]["post"]["requestBody"]))
    assert schema["components"]["schemas"][name]["additionalProperties"] is False


def test_the_schema_says_in_which_shape_each_route_refuses(http):
    paths = http.get("/openapi.json").json()["paths"]
    shapes = {
        path: set(refs(paths[path][method]["responses"]["4XX"]))
        for path, method in [("/v1/chat/completions", "post"), ("/v1/stream", "post")]
    }
    assert shapes == {"/v1/chat/completions": {"ErrorReply"}, "/v1/stream": {"Refusal"}}
