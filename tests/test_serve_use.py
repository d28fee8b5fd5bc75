"""A served model in use: sole score, sole rl across a restart, and the measurement under load."""

import json
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_env import PointEnv
from serving import serving, until

from sole.cli import main as sole
from sole.evals import faults
from sole.evals import serving as load
from sole.rewarders.controls import Constant, RandomWalk
from sole.rl.config import RlConfig
from sole.rl.train import train
from sole.samples import path as sample

TINY = {
    "env": "fake/point", "episodes": 12, "eval_episodes": 2, "eval_every": 12, "n_envs": 4,
    "random_episodes": 8, "updates_per_episode": 2, "batch_size": 16, "threads": 1,
}  # fmt: skip


def judgements(folder: Path):
    """What a run wrote down, but for its clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("wall_s", "_seconds")
    return [{k: v for k, v in line.items() if not k.endswith(timed)} for line in lines]


def test_a_video_is_scored_by_a_server(capsys):
    with serving(RandomWalk(0)) as running:
        flags = ["--task", "open the drawer", "--layout", "side-by-side", "--json"]
        assert sole(["score", str(sample()), *flags, "--model", running.url, "--every", "9"]) == 0
        assert len(running.service.sessions) == 0
    there = json.loads(capsys.readouterr().out)
    assert there["model_id"] == "random:0/client-e9"
    assert there["steps"][0]["progress"] == 0


class WholeOnly(Constant):
    """Knows no running episode, as gvl."""

    needs_whole_episode = True

    def score(self, episodes):
        return Constant(40).score(episodes)

    def start(self, task):
        raise ValueError("looks at whole episodes")


def test_a_served_model_of_whole_episodes_is_shown_the_whole_video(capsys):
    with serving(WholeOnly(40)) as running:
        flags = ["--task", "open the drawer", "--layout", "side-by-side", "--json"]
        assert sole(["score", str(sample()), *flags, "--model", running.url, "--every", "9"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"][-1]["progress"] == 40


def test_an_unreachable_server_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("sole.client.flows._FIRST_PATIENCE_S", 0.2)
    with serving(RandomWalk(0)) as running:
        pass
    assert sole(["score", str(sample()), "--task", "t", "--model", running.url]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "cannot be reached" in line


def test_a_training_run_goes_on_when_its_server_is_restarted(tmp_path):
    here = RlConfig(run_dir=tmp_path / "here", **TINY)
    train(here, envs=[PointEnv(4) for _ in range(4)], model=RandomWalk(0))
    failures = []

    def run(url):
        try:
            there = RlConfig(run_dir=tmp_path / "there", reward=url, **TINY)
            train(there, envs=[PointEnv(4) for _ in range(4)])
        except BaseException as error:
            failures.append(error)
            raise

    with serving(RandomWalk(0)) as first:
        training = threading.Thread(target=run, args=(first.url,))
        training.start()
        until(lambda: first.service.usual.costs.episodes > 0)
    with serving(RandomWalk(0), port=first.port) as second:
        training.join(60)
        assert failures == []
        assert second.service.usual.costs.episodes > 0
    assert judgements(tmp_path / "there") == judgements(tmp_path / "here")


@pytest.fixture
def figures(tmp_path):
    return tmp_path / "figures.json"


def test_the_load_is_measured_and_recorded(figures, capsys):
    flags = ["--model", "ramp", "--requests", "40", "--clients", "4", "--sessions", "2"]
    flags += ["--memory-requests", "40", "--side-px", "16", "--figures", str(figures)]
    assert load.main(flags) == 0
    found = {entry["name"]: entry["value"] for entry in json.loads(figures.read_text())}
    assert found["serve.requests"] == 40
    assert found["serve.requests_in_all"] == 40 + 40 + 5 + 10
    assert found["rewarders.count"] >= 25
    assert found["serve.errors"] == 0
    assert 0 < found["serve.p50_ms"] <= found["serve.p95_ms"]
    assert "serve.batching_gain" in capsys.readouterr().out


@pytest.mark.slow
def test_every_fault_is_survived(tmp_path, capsys):
    record = tmp_path / "figures.json"
    flags = ["--model", "random", "--sessions", "50", "--episodes", "4", "--figures", str(record)]
    assert faults.main(flags) == 0, capsys.readouterr().out
    found = {entry["name"]: entry["value"] for entry in json.loads(record.read_text())}
    assert found["faults.tried"] == found["faults.survived"] == 16


def test_a_stopped_server_ends_well_and_said_where_it_was():
    command = [sys.executable, "-m", "sole.cli", "serve", "--model", "ramp", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        assert "serving ramp at http://127.0.0.1:" in line
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_a_large_buffer_is_given_back_once_it_is_free():
    program = """
import re
from pathlib import Path
import numpy as np
from sole.serve.memory import return_large_buffers

def rss_mb():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\\s+(\\d+)", status).group(1)) / 1000

assert return_large_buffers()
np.ones(20 * 2**20, np.uint8)  # would raise the threshold of an untaught glibc to 20 MB
before = rss_mb()
kept = []
for k in range(20):
    large = np.ones(12 * 2**20 + k * 2**18, np.uint8)
    kept.append(np.ones(100_000, np.uint8))  # lies behind it
    del large
assert rss_mb() - before < 12, rss_mb() - before
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
