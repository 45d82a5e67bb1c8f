"""The labelled set is read as the product reads, and several answers per call are held against one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from evals.__main__ import llm_settings, measure
from evals.labelled import labelled_orgs
from evals.report import Measured, figures_table, not_measured, worse_than_single
from evals.scoring import MEASURES, Rate, Score
from visibility.settings import Settings


@pytest.fixture(scope="module")
def measured() -> list[Measured]:
    with llm_settings(Settings(), sandbox=True) as (_, settings):
        return asyncio.run(measure(settings, [1, 4]))


def test_the_set_has_enough_cases_of_every_kind_that_is_hard() -> None:
    kinds = [case.kind for org in labelled_orgs() for case in org.cases]
    assert 60 <= len(kinds) <= 100
    hard = ("look-alike", "ordinary-words", "table", "list", "negative", "absence", "injection", "non-latin")
    assert min(kinds.count(kind) for kind in hard) >= 4


def test_four_answers_per_call_are_read_no_worse_than_one_by_the_sandbox(measured: list[Measured]) -> None:
    assert worse_than_single(measured) == []
    assert [len(one.calls) for one in measured if one.way == "joint"] == [64, 16]


def test_what_the_sandbox_finds_does_not_fall(measured: list[Measured]) -> None:
    least = {"mention": (0.97, 0.91), "passages": (0.88, 0.88), "sentiment": (0.97, 0.91), "competitors": (1.0, 0.84)}
    least |= {"citations": (1.0, 1.0), "owned citations": (1.0, 1.0)}
    for measure_name, (precision, recall) in least.items():
        score = measured[0].scores[measure_name]
        assert (score.precision.value or 0) >= precision and (score.recall.value or 0) >= recall, measure_name
    assert set(least) == set(MEASURES)


def test_a_single_answer_lost_among_several_is_a_verdict_against_them(measured: list[Measured]) -> None:
    single, several = measured[0], measured[1]
    recall = single.scores["mention"].recall
    lost = Score(single.scores["mention"].precision, Rate(recall.hits - 1, recall.n))
    worse = replace(several, scores={**several.scores, "mention": lost})
    assert worse_than_single([single, worse]) == ["joint, 4 answers per call: mention is worse than with one."]
    assert figures_table("a reader", [single, worse]).row_count == 2 * len(MEASURES)


def test_single_answers_that_were_not_read_measure_nothing(measured: list[Measured]) -> None:
    assert not_measured(measured) == []
    assert not_measured([replace(measured[0], unread=2), replace(measured[1], unread=2)]) == [
        "joint, one answer per call: 2 answers could not be read, so that nothing is measured."
    ]
