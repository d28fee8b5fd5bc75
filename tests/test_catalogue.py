"""sole models list: every loadable name is there, and its costs are those that are counted."""

import json

import numpy as np
import pytest
from fake_backend import FakeBackend, film

from sole import cli
from sole.models.base import Answer
from sole.rewarders.catalogue import CATALOGUE
from sole.rewarders.load import CHOICES
from sole.rewarders.methods import METHODS, make_asking_model
from sole.rewarders.sole import Decoding, SoleRewardModel

ENTRIES = {entry.name: entry for entry in CATALOGUE}


class CountingReader:
    """Answers 1 percent to everything and counts the questions."""

    model_id = "counting"

    def __init__(self):
        self.n_questions = 0

    def see(self, views):
        return list(views)

    def ask(self, questions, *, think):
        self.n_questions += len(questions)
        return [Answer(1.0, 1.0, 0.0, "<think></think><answer>1%</answer>", 1)] * len(questions)


def test_every_name_that_can_be_loaded_is_listed():
    names = {name.removesuffix(":MODEL") for name in ENTRIES}
    assert {*METHODS, *CHOICES} <= names
    assert len(ENTRIES) == len(CATALOGUE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_frames", [1, 2, 25, 40])
def test_listed_costs_are_what_is_counted(method, n_frames):
    backend = FakeBackend(lambda p: "", lambda p, c: 0.5)
    make_asking_model(method, backend).score([film(np.arange(n_frames))])
    entry = ENTRIES[f"{method}:MODEL"]
    assert entry.calls(n_frames) == len(backend.asked)
    assert entry.pictures(n_frames) == sum(len(p.images) for p in backend.asked)


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("nano", 0.25),
        ("Philip-MIT/SOLE-R1-8B:published", 0.0),
        ("openai:http://HOST:PORT/v1#MODEL", 0.0),
    ],
)
def test_listed_costs_of_the_sole_question_are_what_is_counted(name, weight):
    reader = CountingReader()
    SoleRewardModel(reader, Decoding(from_zero_weight=weight)).score([film(np.arange(25))])
    assert ENTRIES[name].calls(25) == reader.n_questions


def test_the_table_shows_every_model(capsys):
    assert cli.main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ENTRIES)
    assert "48 calls with 48 pictures" in out


def test_machines_get_json_for_their_number_of_frames(capsys):
    assert cli.main(["models", "list", "--json", "--frames", "3"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(ENTRIES)
    assert (rows["lrm:MODEL"]["model_calls"], rows["lrm:MODEL"]["pictures"]) == (8, 14)
    assert rows["http://HOST:PORT"]["model_calls"] is None
    assert rows["gvl:MODEL"]["judges_running_episodes"] is False
    assert all(row["licence"] and row["source"] for row in rows.values())


@pytest.mark.parametrize("argv", [[], ["show"]])
def test_what_is_not_list_is_refused(argv, capsys):
    assert cli.main(["models", *argv]) == 2
    assert "sole models: expected one of list, got" in capsys.readouterr().err
