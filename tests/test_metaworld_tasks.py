"""The table of Meta-World tasks is complete, split as the design says, and unambiguous."""

from collections import Counter

import pytest

from sole.errors import BadInputError
from sole.sims.metaworld_tasks import DEV_TASKS, TASKS, TEST_TASKS, split, task_named


def test_the_table_has_every_task_of_the_suite():
    env_dict = pytest.importorskip("metaworld.env_dict")
    names = {name.removesuffix("-v3") for name in env_dict.ALL_V3_ENVIRONMENTS}
    assert set(TASKS) == names


def test_the_split_is_17_test_8_dev_25_train():
    assert Counter(task.split for task in TASKS.values()) == {"test": 17, "dev": 8, "train": 25}


def test_every_held_out_name_is_a_task():
    assert set(TASKS) >= TEST_TASKS | DEV_TASKS


def test_no_sentence_belongs_to_two_tasks():
    sentences = [s for t in TASKS.values() for s in (t.sentence, *t.paraphrases)]
    assert [s for s, count in Counter(sentences).items() if count > 1] == []


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_sentences_are_plain_and_there_are_enough(task):
    assert len(task.paraphrases) >= 4
    for sentence in (task.sentence, *task.paraphrases):
        assert sentence == sentence.lower().strip(" .")
        assert "  " not in sentence


def test_an_unknown_task_is_refused_with_the_list():
    with pytest.raises(BadInputError, match="drawer-open"):
        split("drawer-opne")


def test_the_version_suffix_may_be_given():
    assert task_named("reach-v3") is TASKS["reach"]
