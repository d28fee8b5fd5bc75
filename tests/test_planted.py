"""Lies are planted where the facts say otherwise, and the checker finds them."""

import json
from itertools import pairwise

import numpy as np
import pytest

from sole.cli import main
from sole.data.episode import Truth, make_facts
from sole.data.lerobot import EpisodeWriter
from sole.synth.collect import collect_episode
from sole.synth.planted import OPPOSITES, plant
from sole.synth.reasoning import _TABLES

PUSHED = Truth(
    np.array([0, 20, 50, 70, 100], np.float32),
    np.array([False, False, False, False, True]),
    tuple(
        make_facts(gripper_to_object_m=far, offset_m=(far, 0.0, 0.0), contact=far < 0.03,
                   done_fraction=done, object_moved_m=done / 5, complete=done == 1.0)
        for far, done in ((0.3, 0.0), (0.15, 0.0), (0.02, 0.0), (0.02, 0.5), (0.02, 1.0))
    ),
)  # fmt: skip


def lies(n):
    rng = np.random.default_rng(0)
    moments = list(pairwise(range(5))) * n
    return [plant("push the puck to the goal", PUSHED, a, b, rng) for a, b in moments]


def test_every_planted_lie_is_caught_and_nothing_beside_it():
    told = lies(30)
    assert all(lie is not None and lie.caught for lie in told)
    assert sum(lie.others_false for lie in told) == 0
    assert len({lie.kind for lie in told}) >= 7


def test_a_lie_is_what_the_writer_would_say_elsewhere():
    assert all((kind, lie) in _TABLES for (kind, _), lie in OPPOSITES.items())
    assert all(value != lie for (_, value), lie in OPPOSITES.items())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("told") / "set"
    with EpisodeWriter(folder, fps=80 / 6) as writer:
        writer.add(collect_episode("metaworld/reach", "noisy", 3, size_px=32, n_frames=12))
    return folder


def test_the_check_prints_and_records_both_rates(dataset, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    flags = ["--data", str(dataset), "--planted", "8", "--json", "--figures", str(figures)]
    assert main(["check", "reasoning", *flags]) == 0
    found = json.loads(capsys.readouterr().out)["measured"]
    assert found["reasoning.planted_caught"] == {"k": 8, "n": 8, "unit": ""}
    assert found["reasoning.true_rate"]["k"] == found["reasoning.true_rate"]["n"] > 20
    recorded = {entry["name"]: entry for entry in json.loads(figures.read_text())}
    assert recorded["reasoning.planted_caught"]["value"] == 1.0
    assert recorded["reasoning.planted_caught"]["command"].startswith("sole check reasoning")


def test_too_few_moments_for_so_many_lies_is_one_line(dataset, capsys):
    assert main(["check", "reasoning", "--data", str(dataset), "--planted", "900"]) != 0
    assert "raise --episodes" in capsys.readouterr().err


def test_an_unknown_check_names_the_others(capsys):
    assert main(["check", "nothing"]) == 2
    assert "reasoning" in capsys.readouterr().err
