"""Wilson and the bootstrap over questions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.intervals import Z_95, bootstrap_ratios, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17, 857-872, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_wilson_interval_is_that_of_the_literature(successes, n, low, high):
    interval = wilson(successes, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_at_both_ends_the_rate_is_exactly_z_standard_errors_away(case):
    successes, n = case
    for end in (wilson(successes, n).low, wilson(successes, n).high):
        assert (successes / n - end) ** 2 == pytest.approx(Z_95**2 * end * (1 - end) / n, abs=1e-9)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_holds_the_rate_and_stays_within_zero_and_one(case):
    successes, n = case
    interval = wilson(successes, n)
    assert 0 <= interval.low <= successes / n <= interval.high <= 1


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_rate_has_no_interval(successes, n):
    with pytest.raises(ValueError, match="not a rate"):
        wilson(successes, n)


def columns(*values):
    return np.array(values, dtype=float).T


def test_the_bootstrap_is_reproducible():
    tops, bottoms = columns([1, 5, 2, 4]), columns([6, 6, 6, 6])
    assert bootstrap_ratios(tops, bottoms) == bootstrap_ratios(tops, bottoms)


def test_questions_that_all_say_the_same_leave_no_doubt():
    [interval] = bootstrap_ratios(columns([3, 3, 3]), columns([6, 6, 6]))
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_the_interval_is_that_of_the_cluster_mean():
    random = np.random.default_rng(1)
    tops = random.binomial(6, 0.4, size=(200, 1)).astype(float)
    [interval] = bootstrap_ratios(tops, np.full((200, 1), 6.0))
    error = (tops / 6).std() / np.sqrt(200)
    assert interval.low == pytest.approx(tops.mean() / 6 - 1.96 * error, abs=0.005)
    assert interval.high == pytest.approx(tops.mean() / 6 + 1.96 * error, abs=0.005)


def test_draws_without_a_denominator_are_left_out():
    [interval] = bootstrap_ratios(columns([2, 4, 0, 0, 0]), columns([1, 1, 0, 0, 0]))
    assert (interval.low, interval.high) == (2, 4)


def test_one_question_has_no_interval():
    assert bootstrap_ratios(columns([2]), columns([6])) == [None]
    assert bootstrap_ratios(columns([2, 0], [1, 1]), columns([6, 0], [1, 1]))[0] is None


def test_a_thousand_draws_take_a_few_milliseconds():
    tops = np.random.default_rng(1).random((10, 6))
    bootstrap_ratios(tops, np.ones_like(tops))
    began = time.perf_counter()
    bootstrap_ratios(tops, np.ones_like(tops))
    assert time.perf_counter() - began < 0.1
