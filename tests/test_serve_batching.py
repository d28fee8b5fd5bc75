"""What is judged together, in which order, and how long answers and sessions are remembered."""

import asyncio
import time
from dataclasses import replace
from weakref import WeakSet

import numpy as np
import pytest
from fastapi import HTTPException
from tiny import make_tiny_nano

from sole.data.episode import EpisodeScore, StepScore, make_example_episode
from sole.errors import ModelError
from sole.progress.calibrate import Calibration, MonotoneMap
from sole.rewarders.base import StepsTogether
from sole.rewarders.calibrated import Calibrated
from sole.rewarders.controls import Constant, Ramp
from sole.rewarders.sole import load_sole
from sole.serve.batching import Batcher, ScoreJob, StepJob
from sole.serve.metrics import RequestCounts, exposition
from sole.serve.sessions import Answers, OpenSession, SessionTable

FRAME = {"external": np.zeros((8, 8, 3), np.uint8)}
BAD = {"external": np.ones((8, 8, 3), np.uint8)}
_SAME = MonotoneMap(x=(-100.0, 100.0), y=(-100.0, 100.0))
CALIBRATION = Calibration(
    model_id="constant:50", made_from="here", signal="progress", progress=_SAME,
    success=MonotoneMap(x=(0.0, 1.0), y=(0.0, 1.0)), success_threshold=0.8, wanted_fpr=0.1,
    fpr_bound=0.1, confidence=0.95, n_failed=40, n_successful=40,
)  # fmt: skip


class Noted(Constant):
    """Notes the size of every batch; breaks at the batches named."""

    def __init__(self, breaks_at=()):
        super().__init__(50)
        self.batches, self.breaks_at = [], breaks_at

    def step_sessions(self, sessions, views):
        return [StepScore(1.0)] * self._note("steps", len(sessions))

    def score(self, episodes):
        self._note("score", len(episodes))
        return [EpisodeScore((StepScore(0.0),), self.model_id, e.task) for e in episodes]

    def _note(self, kind, n):
        self.batches.append((kind, n))
        if len(self.batches) in self.breaks_at:
            raise RuntimeError("broke")
        return n


def judged(make_jobs, model, max_batch=8):
    """Submit jobs all at once; return their answers (or errors)."""

    async def run():
        batcher = Batcher(max_batch, wait_s=0.0)
        batcher.start()
        answers = [batcher.submit(job) for job in make_jobs()]
        done = await asyncio.gather(*answers, return_exceptions=True)
        await batcher.close()
        return done

    return asyncio.run(run())


def opened(model):
    return OpenSession(model, model.start("t"), 0.0)


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    return str(make_tiny_nano(tmp_path_factory.mktemp("nano")))


def test_steps_that_wait_are_judged_in_one_batch():
    model = Noted()
    assert isinstance(model, StepsTogether)
    sessions = [opened(model) for _ in range(5)]
    answers = judged(lambda: [StepJob(model, s, FRAME) for s in sessions], model)
    assert answers == [(0, StepScore(1.0))] * 5
    assert model.batches == [("steps", 5)]


class Slow(Noted):
    """Takes its time over a batch, as a model does."""

    def step_sessions(self, sessions, views):
        time.sleep(0.2)
        return super().step_sessions(sessions, views)


def test_robots_that_step_in_two_halves_come_together():
    async def robot(batcher, session, model, delay_s):
        await asyncio.sleep(delay_s)
        for _ in range(4):
            await batcher.submit(StepJob(model, session, FRAME))
            await asyncio.sleep(0.005)  # it acts and takes its next picture

    async def run(model):
        batcher = Batcher(8, wait_s=0.0)
        batcher.start()
        delays = [0.0, 0.0, 0.1, 0.1]
        await asyncio.gather(*(robot(batcher, opened(model), model, d) for d in delays))
        await batcher.close()

    model = Slow()
    asyncio.run(run(model))
    sizes = [n for _, n in model.batches]
    assert sizes[0] == 2, "they begin apart"
    assert sizes[1:4] == [4, 4, 4]
    assert sum(sizes) == 16


def test_nobody_is_waited_for_long():
    async def run(model):
        batcher = Batcher(8, wait_s=0.0)
        batcher.start()
        gone, stays = opened(model), opened(model)
        first = [batcher.submit(StepJob(model, s, FRAME)) for s in (gone, stays)]
        await asyncio.gather(*first)
        began = time.monotonic()
        await batcher.submit(StepJob(model, stays, FRAME))
        await batcher.close()
        return time.monotonic() - began

    assert asyncio.run(run(Slow())) < 0.2 * 1.5


def waited_s(prepare):
    """How long a lone robot waits for its company, which comes first or not at all."""

    async def run():
        model, batcher = Noted(), Batcher(8, wait_s=0.0)
        first, other = opened(model), opened(model)
        batcher._batch_s = 100.0  # of an earlier batch of steps
        batcher.start()
        await prepare(batcher, model, first, other)
        began = time.monotonic()
        await asyncio.wait_for(batcher.submit(StepJob(model, first, FRAME)), 20)
        took_s = time.monotonic() - began
        await batcher.close()
        return took_s, batcher

    return asyncio.run(run())


def test_a_session_that_was_closed_is_not_waited_for():
    async def prepare(batcher, model, first, other):
        steps = [batcher.submit(StepJob(model, s, FRAME)) for s in (first, other)]
        await asyncio.gather(*steps)
        batcher._batch_s, other.ended = 100.0, True

    assert waited_s(prepare)[0] < 10


def test_a_long_score_is_no_reason_to_wait_long_and_does_not_wait_itself():
    async def prepare(batcher, model, first, other):
        batcher._lately.append(WeakSet([other]))
        await asyncio.wait_for(batcher.submit(ScoreJob(model, [make_example_episode(1, 4)])), 10)
        assert batcher._batch_s == 100.0
        assert [set(batch) for batch in batcher._lately] == [{other}]
        batcher._lately.clear()

    assert waited_s(prepare)[0] < 10


def test_a_table_says_to_a_session_that_it_was_closed():
    table = SessionTable(4, 10)
    session_id = table.open(Ramp(), "t")
    with table.using(session_id) as session:
        assert not session.ended
    table.close(session_id)
    assert session.ended


def test_a_batch_is_no_larger_than_allowed():
    model = Noted()
    sessions = [opened(model) for _ in range(5)]
    judged(lambda: [StepJob(model, s, FRAME) for s in sessions], model, max_batch=2)
    assert model.batches == [("steps", 2), ("steps", 2), ("steps", 1)]


def test_steps_of_one_session_wait_for_each_other_and_keep_their_order():
    model = Noted()
    one, other = opened(model), opened(model)
    jobs = [one, one, other, one]
    answers = judged(lambda: [StepJob(model, s, FRAME) for s in jobs], model)
    assert [index for index, _ in answers] == [0, 1, 0, 2]
    assert model.batches == [("steps", 2), ("steps", 1), ("steps", 1)]


def test_score_requests_are_joined_and_given_back_apart():
    model = Noted()
    episodes = [make_example_episode(1, 4, seed=k) for k in range(3)]
    groups = [episodes[:1], episodes[1:]]
    answers = judged(lambda: [ScoreJob(model, g) for g in groups], model)
    assert [len(answer) for answer in answers] == [1, 2]
    assert model.batches == [("score", 3)]


def test_a_request_larger_than_a_batch_goes_alone():
    model = Noted()
    many = [make_example_episode(1, 4)] * 5
    judged(lambda: [ScoreJob(model, many), ScoreJob(model, many[:1])], model, max_batch=2)
    assert model.batches == [("score", 5), ("score", 1)]


def test_the_oldest_job_decides_what_is_judged_next():
    model = Noted()
    episode = [make_example_episode(1, 4)]
    first, second = opened(model), opened(model)
    judged(
        lambda: [
            StepJob(model, first, FRAME), ScoreJob(model, episode),
            StepJob(model, second, FRAME), ScoreJob(model, episode),
        ],
        model,
    )  # fmt: skip
    assert model.batches == [("steps", 2), ("score", 2)]


def test_models_are_not_mixed():
    model, other = Noted(), Noted()
    sessions = [opened(model), opened(other)]
    judged(lambda: [StepJob(s.model, s, FRAME) for s in sessions], model)
    assert model.batches == other.batches == [("steps", 1)]


def test_a_batch_that_breaks_moves_no_session_and_the_next_one_runs():
    model = Noted(breaks_at=(1,))
    session = opened(model)
    answers = judged(lambda: [StepJob(model, session, FRAME) for _ in range(2)], model)
    assert isinstance(answers[0], ModelError)
    assert answers[1] == (0, StepScore(1.0))


class Picky(Noted):
    """Refuses BAD, and a batch that holds it, before any session moves."""

    def __init__(self, error=ValueError):
        super().__init__()
        self.error, self.n_moved = error, 0

    def step_sessions(self, sessions, views):
        if any(v is BAD for v in views):
            raise self.error("a bad picture")
        self.n_moved += len(sessions)
        return super().step_sessions(sessions, views)

    def score(self, episodes):
        if any(e.task == "bad" for e in episodes):
            raise self.error("a bad episode")
        return super().score(episodes)


def failed(answers):
    return [isinstance(answer, ModelError) for answer in answers]


def test_a_step_that_breaks_its_batch_fails_alone():
    model = Picky()
    sessions = [opened(model) for _ in range(3)]
    views = [FRAME, BAD, FRAME]
    pairs = list(zip(sessions, views, strict=True))
    answers = judged(lambda: [StepJob(model, s, v) for s, v in pairs], model)
    assert failed(answers) == [False, True, False]
    assert [session.n_steps for session in sessions] == [1, 0, 1]


def test_steps_are_not_repeated_where_sessions_may_have_moved():
    model = Picky(ModelError)
    sessions = [opened(model) for _ in range(3)]
    pairs = list(zip(sessions, [FRAME, BAD, FRAME], strict=True))
    assert all(failed(judged(lambda: [StepJob(model, s, v) for s, v in pairs], model)))
    assert model.n_moved == 0


@pytest.mark.parametrize("error", [ValueError, ModelError])
def test_a_score_request_that_breaks_its_batch_fails_alone(error):
    model = Picky(error)
    good = make_example_episode(1, 4)
    groups = [[good], [replace(good, task="bad")], [good, good]]
    answers = judged(lambda: [ScoreJob(model, g) for g in groups], model)
    assert failed(answers) == [False, True, False]


class OneByOne(Constant):
    """Steps each session by itself; BAD breaks it."""

    def __init__(self, error):
        super().__init__(50)
        self.error, self.n_moved = error, 0

    def start(self, task):
        return self

    def step(self, views):
        if views is BAD:
            raise self.error("a bad picture")
        self.n_moved += 1
        return StepScore(1.0)


@pytest.mark.parametrize("error", [ValueError, ModelError, RuntimeError])
@pytest.mark.parametrize("calibrated", [False, True])
def test_sessions_stepped_one_by_one_fail_alone_and_move_once(error, calibrated):
    inner = OneByOne(error)
    model = Calibrated(inner, CALIBRATION) if calibrated else inner
    sessions = [opened(model) for _ in range(3)]
    pairs = list(zip(sessions, [FRAME, BAD, FRAME], strict=True))
    answers = judged(lambda: [StepJob(model, s, v) for s, v in pairs], model)
    assert failed(answers) == [False, True, False]
    assert inner.n_moved == 2


def test_a_model_that_cannot_step_together_is_stepped_one_by_one():
    model = Ramp(expected_steps=3)
    sessions = [opened(model) for _ in range(2)]
    answers = judged(lambda: [StepJob(model, s, FRAME) for s in [*sessions, *sessions]], model)
    assert [(i, step.progress) for i, step in answers] == [(0, 0), (0, 0), (1, 50), (1, 50)]


@pytest.mark.parametrize("think", [False, True])
def test_sessions_stepped_together_are_as_stepped_one_by_one(think, nano):
    episodes = [make_example_episode(4, 24, seed=k, truth=False) for k in range(3)]
    model = load_sole(nano, think=think)
    moments = [[{n: v[t] for n, v in e.views.items()} for t in range(4)] for e in episodes]
    alone = []
    for episode, frames in zip(episodes, moments, strict=True):
        session = model.start(episode.task)
        alone.append([session.step(frame) for frame in frames])
    sessions = [model.start(e.task) for e in episodes]
    together = [[model.step_sessions(sessions[:1], [moments[0][0]])[0]], [], []]
    for tick in range(4):  # the first session is one frame ahead of the others
        active = [k for k in range(3) if len(together[k]) < 4]
        views = [moments[k][len(together[k])] for k in active]
        scores = model.step_sessions([sessions[k] for k in active], views)
        for k, step in zip(active, scores, strict=True):
            together[k].append(step)
        assert len(scores) == (3 if tick < 3 else 2)
    for one, other in zip(alone, together, strict=True):
        assert [s.reasoning for s in one] == [s.reasoning for s in other]
        assert [s.error for s in one] == [s.error for s in other]
        progress = [[np.nan if s.progress is None else s.progress for s in x] for x in (one, other)]
        np.testing.assert_allclose(*progress, atol=0.01)


def test_a_session_twice_or_of_another_model_is_refused(nano):
    model = load_sole(nano)
    session = model.start("t")
    with pytest.raises(ValueError, match="each one once"):
        model.step_sessions([session, session], [FRAME, FRAME])
    with pytest.raises(ValueError, match="has started"):
        model.step_sessions([model.thinking().start("t")], [FRAME])


def test_a_wrong_picture_moves_no_session(nano):
    model = load_sole(nano)
    sessions = [model.start("t") for _ in range(2)]
    with pytest.raises(ValueError, match="uint8"):
        model.step_sessions(sessions, [FRAME, {"external": np.zeros((8, 8, 3))}])
    assert sessions[0].chain is None


def test_a_session_keeps_its_own_frames_alive_and_not_those_of_its_batch(nano):
    model = load_sole(nano)
    sessions = [model.start("t") for _ in range(8)]
    model.step_sessions(sessions, [FRAME] * 8)
    maps = sessions[0].chain.first.maps
    assert maps.untyped_storage().nbytes() == maps.nbytes


def test_closing_lets_the_running_batch_end_and_gives_up_the_rest():
    async def run(model):
        batcher = Batcher(1, wait_s=0.0)
        batcher.start()
        answers = [batcher.submit(StepJob(model, opened(model), FRAME)) for _ in range(4)]
        while not model.batches:
            await asyncio.sleep(0.005)
        await batcher.close()
        late = batcher.submit(StepJob(model, opened(model), FRAME))
        return await asyncio.wait_for(asyncio.gather(*answers, late, return_exceptions=True), 20)

    class Begun(Noted):
        """Notes a batch when it begins, and takes its time over it."""

        def step_sessions(self, sessions, views):
            scores = super().step_sessions(sessions, views)
            time.sleep(0.3)
            return scores

    model = Begun()
    answers = asyncio.run(run(model))
    assert answers[0] == (0, StepScore(1.0))
    assert failed(answers) == [False, True, True, True, True]
    assert model.batches == [("steps", 1)]


def test_an_answer_is_given_again_until_it_is_forgotten():
    async def run():
        started = []

        def do(value):
            future = asyncio.get_running_loop().create_future()
            future.set_result(value)
            started.append(value)
            return future

        answers = Answers(kept=2)
        got = [await answers.once(key, b"", lambda k=key: do(k)) for key in "aabbca"]
        unnamed = [await answers.once(None, b"", lambda: do("-")) for _ in range(2)]
        return "".join(got + unnamed), "".join(started)

    assert asyncio.run(run()) == ("aabbca--", "abca--")


def test_a_failure_is_not_kept():
    async def run():
        loop = asyncio.get_running_loop()
        answers, futures = Answers(), [loop.create_future() for _ in range(2)]
        futures[0].set_exception(ModelError("broke"))
        futures[1].set_result(1)
        with pytest.raises(ModelError):
            await answers.once("k", b"", lambda: futures[0])
        await asyncio.sleep(0)
        return await answers.once("k", b"", lambda: futures[1])

    assert asyncio.run(run()) == 1


def test_a_session_in_use_does_not_expire():
    now = [0.0]
    table = SessionTable(4, idle_timeout_s=10, clock=lambda: now[0])
    session_id = table.open(Ramp(), "t")
    with table.using(session_id):
        now[0] = 100.0
        table.expire()
    assert (len(table), table.n_expired) == (1, 0)
    now[0] = 111.0
    table.expire()
    assert (len(table), table.n_expired) == (0, 1)
    with pytest.raises(HTTPException, match="expired"), table.using(session_id):
        pass


def test_only_so_many_ended_sessions_are_remembered(monkeypatch):
    monkeypatch.setattr("sole.serve.sessions._REMEMBERED_ENDS", 1)
    table = SessionTable(4, 10)
    for session_id in [table.open(Ramp(), "t", request_id=str(k)) for k in range(2)]:
        table.close(session_id)
    assert (len(table._ended), len(table._asked)) == (1, 0)


def test_buckets_of_the_histogram_add_up():
    counts = RequestCounts()
    for seconds in (0.001, 0.03, 99.0):
        counts.add("GET", "/x", 200, seconds)
    lines = exposition(counts, {}, {}).splitlines()
    assert 'sole_request_seconds_bucket{route="/x",le="0.005"} 1' in lines
    assert 'sole_request_seconds_bucket{route="/x",le="30.0"} 2' in lines
    assert 'sole_request_seconds_bucket{route="/x",le="+Inf"} 3' in lines
    assert 'sole_request_seconds_count{route="/x"} 3' in lines
