"""A change between two dates is called one by the rule, and by nothing else."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.changes import CHANGE, FEW_QUESTIONS, NO_DIFFERENCE, NOISE, Change, changes
from visibility.intervals import wilson, wilson_difference
from visibility.sums import SUMS

BEFORE, AFTER = date(2026, 11, 22), date(2026, 11, 23)
QUESTIONS = 12


def row(day: date, question: int, **sums: Any) -> dict[str, Any]:
    """The sums of one question on a date: twenty runs, all answered and evaluated, unless something else is said."""
    given: dict[str, Any] = dict.fromkeys(SUMS, 0) | {"expected": 20, "answered": 20, "evaluated": 20}
    named = sums.get("mentioned", 0)
    found = {"ranked": named, "ranks": named, "rank_visibility": named, "text_voice_known": 20, "competitors": 20}
    keys = {"run_date": day, "model": "chatgpt", "location": "US", "question_id": f"q{question}", "versions": ("v1",)}
    costs = {"answer_cost_usd": Decimal(0), "evaluation_cost_usd": Decimal(0)}
    return {**given, **found, **costs, **keys, **sums}


def frame(before: dict[str, Any], after: dict[str, Any]) -> pd.DataFrame:
    rows = [row(day, number, **sums) for day, sums in ((BEFORE, before), (AFTER, after)) for number in range(QUESTIONS)]
    return pd.DataFrame(rows)


def compared(before: dict[str, Any], after: dict[str, Any], **options: bool) -> dict[str, Change]:
    return {change.after.name: change for change in changes(frame(before, after), BEFORE, AFTER, **options)}


def test_a_large_difference_with_everything_else_the_same_is_a_change():
    change = compared({"mentioned": 4}, {"mentioned": 15})["mention_rate"]
    assert (change.verdict, change.reason) == (CHANGE, None)
    assert change.difference == pytest.approx(0.55)
    assert 0 < change.low < 0.55 < change.high


def test_a_small_difference_is_within_the_noise_and_says_why():
    change = compared({"mentioned": 9}, {"mentioned": 10})["mention_rate"]
    assert (change.verdict, change.reason) == (NOISE, NO_DIFFERENCE)


@pytest.mark.parametrize(
    ("side", "reason"),
    [
        ({"answered": 15, "evaluated": 15}, "coverage on 2026-11-23 is below 80%"),
        ({"versions": ("v2",)}, "the extractor version is not the same"),
        ({"versions": ("v1", "v2")}, "the extractor version is not the same"),
        ({"model": "gemini"}, "not the same models were asked"),
        ({"location": "CA"}, "not the same locations were asked"),
        ({"question_id": "new"}, "not the same questions were asked"),
        ({"answered": 20, "evaluated": 0}, "no value on 2026-11-23: no answer was evaluated"),
    ],
)
def test_whatever_else_differs_a_large_difference_is_no_change(side: dict[str, Any], reason: str):
    change = compared({"mentioned": 2}, {"mentioned": min(15, side.get("evaluated", 15)), **side})["mention_rate"]
    assert (change.verdict, change.reason) == (NOISE, reason)


def test_coverage_of_exactly_the_threshold_is_enough():
    change = compared({"mentioned": 2}, {"mentioned": 15, "answered": 16, "evaluated": 16})["mention_rate"]
    assert change.verdict == CHANGE


def test_pairs_of_a_network_are_compared_over_questions():
    runs, pairs = (
        compared({"mentioned": 4}, {"mentioned": 15}, pairs=pairs)["mention_rate"] for pairs in (False, True)
    )
    assert pairs.verdict == CHANGE
    assert (pairs.low, pairs.high) == (pytest.approx(0.55), pytest.approx(0.55))  # every question moved alike
    assert runs.low < pairs.low


def test_one_question_alone_says_that_it_takes_two():
    both = frame({"mentioned": 4}, {"mentioned": 15})
    change = {one.after.name: one for one in changes(both[both["question_id"] == "q0"], BEFORE, AFTER)}
    assert change["average_rank"].reason == "no interval: it takes answers to two questions"
    assert change["mention_rate"].verdict == CHANGE  # Wilson's needs no second question


def test_a_handful_of_questions_that_agree_is_no_change_of_a_figure_over_questions():
    both = frame({"mentioned": 4, "sentiment": -4, "judged": 4}, {"mentioned": 4, "sentiment": 4, "judged": 4})
    for number, verdict in ((5, NOISE), (6, CHANGE)):
        few = both[both["question_id"].isin([f"q{place}" for place in range(number)])]
        change = {one.after.name: one for one in changes(few, BEFORE, AFTER)}["sentiment_index"]
        assert (change.difference, change.verdict) == (2, verdict)
        assert change.reason == (FEW_QUESTIONS if verdict == NOISE else None)


COUNTS = st.integers(0, 20)


@given(COUNTS, COUNTS)
def test_a_verdict_is_a_change_exactly_where_the_interval_leaves_out_zero(before: int, after: int):
    for change in compared({"mentioned": before}, {"mentioned": after}).values():
        outside = change.low is not None and not change.low <= 0 <= change.high
        assert (change.verdict == CHANGE) == outside == (change.reason is None)
        if change.low is not None:
            assert change.low - 1e-9 <= change.difference <= change.high + 1e-9


@given(COUNTS)
def test_what_stays_the_same_never_changes(count: int):
    for change in compared({"mentioned": count, "sentiment": 0}, {"mentioned": count, "sentiment": 0}).values():
        assert change.verdict == NOISE and change.difference in (0, None)


@given(COUNTS, COUNTS)
def test_backwards_a_rate_changes_by_the_opposite(before: int, after: int):
    there = compared({"mentioned": before}, {"mentioned": after})["mention_rate"]
    back = compared({"mentioned": after}, {"mentioned": before})["mention_rate"]
    assert (back.low, back.high) == (pytest.approx(-there.high), pytest.approx(-there.low))
    assert back.verdict == there.verdict


SIDE = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(SIDE, SIDE)
def test_the_interval_of_a_difference_of_rates_is_possible_and_holds_the_difference(before, after):
    interval = wilson_difference(before, after)
    difference = after[0] / after[1] - before[0] / before[1]
    assert -1 - 1e-9 <= interval.low <= difference + 1e-9
    assert difference - 1e-9 <= interval.high <= 1 + 1e-9


def test_the_interval_of_a_difference_is_newcombes():
    # Newcombe (1998), table II, case a: 56/70 against 48/80, method 10: 0.0524 to 0.3339
    interval = wilson_difference((48, 80), (56, 70))
    assert (interval.low, interval.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
    assert wilson(56, 70).low < 0.8
