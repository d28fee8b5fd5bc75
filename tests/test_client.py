"""The client: a remote model is a reward model, patient with servers and clear about failures."""

import asyncio
import subprocess
import sys
import sysconfig
import threading
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from packaging.requirements import Requirement
from serving import SECRET, serving
from test_calibrated_ways import Talker, calibrated
from tiny import make_tiny_nano

import sole
from sole.client import AsyncRemoteRewardModel, RemoteRewardModel
from sole.client.calls import Call, Pause, Reply, Server
from sole.client.wire import Card, png, read_step, score_batches
from sole.data.episode import make_example_episode
from sole.errors import ConfigError, ServerError
from sole.rewarders.base import RewardModel, close_session
from sole.rewarders.beside import BesideCalibrated
from sole.rewarders.calibrated import success_at
from sole.rewarders.check import check_reward_model
from sole.rewarders.controls import Constant, Ramp, RandomWalk
from sole.rewarders.ensemble import EnsembleRewardModel
from sole.rewarders.load import load_reward_model
from sole.rewarders.sole import load_sole

ROOT = Path(__file__).parents[1]
LIMITS = {"max_episodes": 16, "max_body_bytes": 10**7, "max_request_px": 10**7}


def episodes(*lengths):
    return [make_example_episode(n, 12, seed=n, truth=False) for n in lengths]


def moments(episode):
    return [{n: v[t] for n, v in episode.views.items()} for t in range(episode.n_frames)]


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    return str(make_tiny_nano(tmp_path_factory.mktemp("nano")))


@pytest.fixture(scope="module")
def served(nano):
    with serving(load_sole(nano)) as running:
        yield running


@pytest.fixture
def remote(served):
    with RemoteRewardModel(served.url) as model:
        yield model


def test_a_remote_model_keeps_the_contract(remote):
    assert isinstance(remote, RewardModel)
    check_reward_model(remote, episodes(1, 4, 3))


def test_a_remote_model_that_needs_a_view_keeps_the_contract():
    needy = RandomWalk(1)
    needy.views = ("wrist",)
    with serving(needy) as running, RemoteRewardModel(running.url) as remote:
        check_reward_model(remote, episodes(2, 3))


def test_an_asynchronous_model_gives_the_same_scores(remote, served):
    (episode,) = episodes(4)

    async def run():
        async with await AsyncRemoteRewardModel.connect(served.url) as model:
            session = await model.thinking().start(episode.task)
            steps = [await session.step(moment) for moment in moments(episode)]
            await session.close()
            return await model.score([episode]), steps

    scores, steps = asyncio.run(run())
    assert scores == remote.score([episode])
    assert tuple(steps) == remote.thinking().score([episode])[0].steps


def test_frames_between_those_sent_are_interpolated_as_in_process(nano, served):
    (episode,) = episodes(6)
    here = load_sole(nano, every=2).score([episode])[0]
    with RemoteRewardModel(served.url, every=2) as model:
        there = model.score([episode])[0]
    assert there.steps == here.steps
    assert [s.scored for s in there.steps] == [True, False, True, False, True, True]


def test_thinking_and_fast_are_the_servers_ways(remote, nano):
    assert remote.thinking().model_id == load_sole(nano, think=True).model_id
    assert remote.thinking().fast().model_id == remote.model_id


def test_a_server_without_a_choice_is_taken_as_it_is():
    with serving(Ramp()) as running, RemoteRewardModel(running.url) as remote:
        assert remote.thinking() is remote
        assert remote.ways == ()


def test_the_threshold_of_a_served_calibration_counts_in_each_way_of_judging():
    fast, think = calibrated(Talker(), 0.07), calibrated(Talker(words=True), 0.4)
    records = {one.model.model_id: one.calibration for one in (fast, think)}
    model = BesideCalibrated(Talker(), fast.calibration, records)
    with serving(model) as running, RemoteRewardModel(running.url) as remote:
        assert success_at(remote, None) == success_at(remote.fast(), None) == 0.07
        assert success_at(remote.thinking(), None) == 0.4
        assert success_at(remote, 0.9) == 0.9


def test_a_served_model_without_calibration_has_no_threshold(remote):
    assert remote.success_threshold is None
    assert success_at(remote, None) == 0.5
    assert not remote.needs_whole_episode


def test_an_older_servers_card_is_read():
    body = {"model_id": "m", "models": {}, "views": [], "known_views": ["wrist"], "settings": {}}
    card = Card.read({**body, "limits": LIMITS})
    assert (card.success_thresholds, card.needs_whole_episode) == ({}, False)


def test_another_setting_than_that_of_a_served_calibrated_model_is_refused(nano):
    with serving(calibrated(load_sole(nano)), think="fast") as running:
        load_reward_model(running.url, from_zero_weight=0.25)
        with pytest.raises(ConfigError, match=r"from_zero_weight 0.9 was asked for.*0.25"):
            load_reward_model(running.url, from_zero_weight=0.9)


def test_a_session_within_another_is_closed_on_the_server():
    with serving(Talker(), think="fast") as running, RemoteRewardModel(running.url) as remote:
        for model in (calibrated(remote), EnsembleRewardModel([remote, remote])):
            session = model.start("t")
            assert len(running.service.sessions) > 0
            close_session(session)
            assert len(running.service.sessions) == 0


def test_a_closed_session_is_over(remote):
    with remote.start("open the drawer") as session:
        session.step(moments(episodes(1)[0])[0])
    with pytest.raises(ValueError, match="closed"):
        session.step(moments(episodes(1)[0])[0])


def test_a_session_survives_a_restart_of_the_server(nano):
    (episode,) = episodes(5)
    frames = moments(episode)
    with serving(load_sole(nano)) as first:
        remote = RemoteRewardModel(first.url, patience_s=20)
        session = remote.start(episode.task)
        steps = [session.step(frame) for frame in frames[:3]]
    with serving(load_sole(nano), port=first.port), remote, session:
        steps += [session.step(frame) for frame in frames[3:]]
    assert tuple(steps) == load_sole(nano).score([episode])[0].steps
    assert session.n_recoveries == 1


class Gated(Constant):
    """Steps when its gate is open."""

    def __init__(self, percent):
        super().__init__(percent)
        self.gate, self.n_begun = threading.Event(), 0

    def start(self, task):
        inner = super().start(task)
        return SimpleNamespace(step=lambda views: self._step(inner, views))

    def _step(self, inner, views):
        self.n_begun += 1
        assert self.gate.wait(20)
        return inner.step(views)


def test_a_frame_whose_step_was_cancelled_counts_as_not_shown():
    frames, model = moments(episodes(3)[0]), Gated(40)

    async def run(running):
        async with await AsyncRemoteRewardModel.connect(running.url) as remote:
            session = await remote.start("t")
            model.gate.set()
            steps = [await session.step(frames[0])]
            model.gate.clear()
            cancelled = asyncio.create_task(session.step(frames[1]))
            while model.n_begun < 2:
                await asyncio.sleep(0.005)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            model.gate.set()
            steps.append(await session.step(frames[2]))
            n_open = len(running.service.sessions)
            await session.close()
            return steps, n_open

    with serving(model) as running:
        steps, n_open = asyncio.run(run(running))
        assert len(running.service.sessions) == 0
    assert [s.progress for s in steps] == [0, 40]
    assert n_open == 1, "the abandoned session was closed"


def test_a_session_survives_its_expiry():
    frames = moments(episodes(3)[0])
    with serving(Constant(40)) as running, RemoteRewardModel(running.url) as remote:
        session = remote.start("t")
        steps = [session.step(frames[0])]
        running.service.sessions._idle_timeout_s = -1
        running.service.sessions.expire()
        running.service.sessions._idle_timeout_s = 60
        steps += [session.step(frame) for frame in frames[1:]]
    assert [s.progress for s in steps] == [0, 40, 40]
    assert session.n_recoveries == 1


def test_another_model_after_a_restart_is_an_error(nano):
    (episode,) = episodes(2)
    with serving(Constant(20)) as first:
        remote = RemoteRewardModel(first.url)
    now = r"now serves constant:30.*began with constant:20"
    with serving(Constant(30), port=first.port), remote, pytest.raises(ServerError, match=now):
        remote.score([episode])


def test_a_server_that_is_gone_is_one_line():
    with serving(Ramp()) as running:
        remote = RemoteRewardModel(running.url, patience_s=0.2)
    with remote, pytest.raises(ServerError, match=r"cannot be reached .*sole serve"):
        remote.score(episodes(2))
    assert remote.n_retries >= 1


def test_a_token_is_sent_and_its_refusal_is_explained(monkeypatch):
    with serving(Ramp(), token=SECRET) as running:
        with pytest.raises(ConfigError, match="SOLE_TOKEN"):
            load_reward_model(running.url)
        monkeypatch.setenv("SOLE_TOKEN", SECRET)
        assert load_reward_model(running.url).model_id == "ramp"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://here", "http://", "http://[::1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigError, match="address"):
        RemoteRewardModel(url)


def test_another_kind_of_server_is_recognised(monkeypatch):
    with serving(Ramp()) as running:
        monkeypatch.setattr(type(running.service), "card", lambda self: {"name": "other"})
        with pytest.raises(ServerError):
            RemoteRewardModel(running.url, patience_s=0.2)


def drive(flow, replies):
    """Answer a flow's calls from a list; return its result and how long it paused."""
    answers, paused, answer = iter(replies), [], None
    while True:
        try:
            wanted = flow.send(answer)
        except StopIteration as end:
            return end.value, paused
        if isinstance(wanted, Pause):
            paused.append(wanted.seconds)
            answer = None
        else:
            answer = next(answers)


BUSY, DOWN = Reply(429, retry_after_s=1.0), Reply(None, failure="ConnectError")


def test_a_call_is_repeated_until_it_is_answered():
    server = Server("http://x", patience_s=60)
    body, paused = drive(
        server.ask(Call("GET", "/")), [BUSY, DOWN, Reply(503), Reply(200, {"a": 1})]
    )
    assert body == {"a": 1}
    assert len(paused) == server.n_retries == 3
    assert 0.5 <= paused[0] <= 1.0  # what the server asked for, give or take


def test_pauses_grow_but_not_beyond_the_patience():
    server = Server("http://x", patience_s=30)
    with pytest.raises(ServerError, match="cannot be reached"):
        drive(server.ask(Call("GET", "/")), [DOWN] * 1000)
    assert server.n_retries < 40


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_refusal_is_not_repeated(status):
    server = Server("http://x", patience_s=60)
    with pytest.raises(ServerError, match=f"{status}: bad"):
        drive(server.ask(Call("GET", "/")), [Reply(status, {"error": "bad"})])


def test_a_repeated_call_keeps_its_id(served):
    call = Call("POST", "/v1/sessions", json={"task": "t"})
    assert call.request_id != Call("POST", "/v1/sessions").request_id
    with httpx.Client(base_url=served.url, trust_env=False) as http:
        key = {"Idempotency-Key": call.request_id}
        replies = [http.post(call.path, json=call.json, headers=key).json() for _ in range(2)]
    assert replies[0] == replies[1]


def test_many_episodes_go_in_requests_that_the_server_takes():
    many = episodes(*[3] * 7)
    assert [n for n, _ in score_batches(many, None, LIMITS)] == [7]
    assert [n for n, _ in score_batches(many, None, {**LIMITS, "max_episodes": 3})] == [3, 3, 1]
    few_bytes = {**LIMITS, "max_body_bytes": 12_000}
    sizes = [sum(len(p[1][1]) for p in parts) for _, parts in score_batches(many, None, few_bytes)]
    assert len(sizes) > 1
    assert max(sizes) < 12_000
    few_pixels = {**LIMITS, "max_request_px": 2 * 6 * 144}
    assert [n for n, _ in score_batches(many, None, few_pixels)] == [2, 2, 2, 1]


@pytest.mark.parametrize("picture", [np.zeros((4, 4)), np.zeros((4, 4, 3)), [[0]], None])
def test_only_uint8_rgb_is_sent(picture):
    with pytest.raises(ValueError, match="uint8"):
        png(picture, "view external")


@pytest.mark.parametrize("body", [None, {}, {"progress": 1}, {"progress": 900.0}])
def test_an_answer_that_is_no_score_is_an_error(body):
    with pytest.raises(ServerError, match="no score"):
        read_step(body)


def test_an_answer_that_is_no_card_is_an_error():
    with pytest.raises(ServerError, match="sole serve"):
        Card.read(["a page"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"device": "cuda"}, "device"), ({"from_zero_weight": 0.5}, r"0\.5 was asked.*0\.25")],
)
def test_what_the_server_has_decided_cannot_be_asked_otherwise(options, complaint, served):
    with pytest.raises(ConfigError, match=complaint):
        load_reward_model(served.url, **options)


def test_a_server_of_one_way_is_refused_for_the_other(nano):
    with serving(load_sole(nano), think="fast") as running:
        with pytest.raises(ConfigError, match="only this way: fast"):
            load_reward_model(running.url, think="always")
        assert "/fast/" in load_reward_model(running.url, think="auto").model_id


def test_a_remote_model_loads_by_its_address(served, nano):
    model = load_reward_model(served.url, think="always", from_zero_weight=0.25)
    with model:
        assert model.model_id == load_sole(nano, think=True).model_id


def test_the_client_imports_no_framework():
    heavy = ("torch", "transformers", "fastapi", "pydantic", "av", "pyarrow")
    program = f"import sys, sole.client; sys.exit(','.join(set({heavy}) & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_client_works_where_nothing_else_is_installed(tmp_path):
    """An interpreter that finds httpx, numpy and pillow with their needs, and no other package."""
    packages = Path(sysconfig.get_path("purelib"))
    for name in ("httpx", "httpcore", "h11", "anyio", "idna", "certifi", "sniffio",
                 "numpy", "numpy.libs", "PIL", "pillow.libs", "typing_extensions.py"):  # fmt: skip
        if (packages / name).exists():
            (tmp_path / name).symlink_to(packages / name)
    (tmp_path / "sole").symlink_to(Path(sole.__file__).parent)
    program = (
        "import sys; from sole.client import RemoteRewardModel; import numpy as np\n"
        "with RemoteRewardModel(sys.argv[1]) as model, model.start('open it') as session:\n"
        "    for _ in range(2): step = session.step({'external': np.zeros((8, 8, 3), np.uint8)})\n"
        "print(step.progress)"
    )
    with serving(Constant(20)) as running:
        command = [sys.executable, "-S", "-P", "-c", program, running.url]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)}
        )
    assert done.stdout.strip() == "20.0", done.stderr


def test_the_extra_for_clients_brings_httpx_numpy_and_pillow_only():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = project["dependencies"] + project["optional-dependencies"]["client"]
    assert sorted(Requirement(line).name for line in brought) == ["httpx", "numpy", "pillow"]


def test_the_task_of_a_score_is_that_of_the_episode(remote):
    named = replace(episodes(2)[0], task=" Open the drawer ")
    assert remote.score([named])[0].task == " Open the drawer "
