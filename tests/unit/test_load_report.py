"""The load of a week, what it costs, and which schedules to move where days differ too much."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from io import StringIO
from itertools import product
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from visibility.billing.pricing import PricingConfig
from visibility.load_display import load_as_markdown, print_load_report
from visibility.load_report import ExpectedCosts, LoadReport, loads_after, report_on
from visibility.rebalancing import answers_per_day, is_balanced, recommend_moves
from visibility.store.schedules import WeeklyPlan

PARTNER = UUID(int=1)
COSTS = ExpectedCosts(Decimal("0.002"), Decimal("0.001"))


def plan(number: int, days: Sequence[int], expected: int, *, name: str = "", readers: int | None = None) -> WeeklyPlan:
    scope = "org" if readers is None else "network"
    return WeeklyPlan(
        UUID(int=number), scope, name or f"Org {number:03}", PARTNER, False, tuple(days), expected, readers or 1
    )


def report(plans: Sequence[WeeklyPlan], pricing: PricingConfig | None = None) -> LoadReport:
    prices = {PARTNER: pricing} if pricing else {}
    return report_on(plans, prices, COSTS, replicates=1, report_date=date(2026, 11, 22))


def excess(loads: Sequence[int]) -> int:
    """How far the days are beyond a fifth of the mean, in 35ths of an answer, written down once more."""
    return sum(max(0, abs(35 * load - 5 * sum(loads)) - sum(loads)) for load in loads)


weeks = st.lists(
    st.tuples(st.sets(st.integers(0, 6), min_size=1), st.one_of(st.integers(0, 12), st.integers(0, 400))), max_size=30
).map(lambda drawn: [plan(number, sorted(days), size) for number, (days, size) in enumerate(drawn)])


@given(weeks)
def test_after_the_moves_every_day_is_within_the_bound_or_no_single_move_helps(plans: list[WeeklyPlan]):
    moves = recommend_moves(plans)
    days = {one.owner_id: set(one.days) for one in plans}
    for move in moves:
        days[move.owner_id].remove(move.from_dow)
        assert move.to_dow not in days[move.owner_id]
        days[move.owner_id].add(move.to_dow)
    loads = [sum(one.expected for one in plans if dow in days[one.owner_id]) for dow in range(7)]
    assert loads == loads_after(answers_per_day(plans), moves)
    if is_balanced(loads):
        return
    for one, giver, taker in product(plans, range(7), range(7)):
        if giver in days[one.owner_id] and taker not in days[one.owner_id]:
            moved = list(loads)
            moved[giver] -= one.expected
            moved[taker] += one.expected
            assert excess(moved) >= excess(loads)


@given(weeks)
def test_a_balanced_week_recommends_nothing_and_moves_never_make_a_week_worse(plans: list[WeeklyPlan]):
    before, moves = answers_per_day(plans), recommend_moves(plans)
    assert not (is_balanced(before) and moves)
    assert excess(loads_after(before, moves)) <= excess(before)


def test_the_moves_are_named_largest_first_and_only_as_many_as_are_needed():
    plans = [plan(dow, [dow], 300) for dow in range(7)]
    plans += [plan(10, [0], 80, name="Large"), plan(11, [0], 50, name="Medium"), plan(12, [0, 1], 10, name="Small")]
    made = report(plans)
    moves = [("Large", "Monday", "Wednesday", 80)]
    assert [(move.name, move.from_day, move.to_day, move.answers) for move in made.moves] == moves
    assert [day.answers_after for day in made.days] == [360, 310, 380, 300, 300, 300, 300]


def test_a_large_schedule_that_would_overload_its_new_day_stays_where_small_ones_do():
    plans = [plan(0, [0], 240), *(plan(dow, [dow], 300) for dow in range(1, 7)), plan(7, [0], 120, name="Large")]
    made = report([*plans, *(plan(10 + number, [0], 30) for number in range(8))])
    assert [move.answers for move in made.moves] == [30] * 7
    assert (made.balanced, made.balanced_after) == (False, True)
    assert made.recommendation == "Move 7 schedules with 210 answers; then every day is within 20% of the mean."


def test_a_single_schedule_cannot_be_balanced_and_the_report_says_so():
    made = report([plan(1, [3], 60)])
    assert (made.moves, made.balanced, made.balanced_after) == ([], False, False)
    assert made.recommendation.startswith("No single move brings every day within 20% of the mean")


def test_a_networks_answer_is_bought_once_and_read_and_charged_for_every_member():
    margin = PricingConfig("Beacon", Decimal("0.05"), Decimal("0.5"))
    monday = report([plan(1, [0], 10), plan(2, [0], 5, readers=4)], margin).days[0]
    assert (monday.answers, monday.evaluations, monday.runs) == (15, 30, 2)
    assert (monday.vendor_cost_usd, monday.reading_cost_usd) == (Decimal("0.030"), Decimal("0.030"))
    # (0.002 + 0.001) / 0.5 for each of 10; (0.002 / 4 + 0.001) / 0.5 for each of 5 x 4
    assert monday.charges_usd == Decimal("0.06") + Decimal("0.06")
    assert report([plan(2, [0], 5, readers=4)]).days[0].charges_usd == Decimal("1.00")


def test_nothing_scheduled_is_an_empty_balanced_week():
    made = report([])
    assert (made.balanced, made.moves, made.recommendation) == (True, [], "Nothing is scheduled.")
    assert {day.off_mean for day in made.days} == {None}
    assert "| Sunday | 0 | 0 | 0 |" in load_as_markdown(made)


def test_a_page_marks_days_that_are_off_and_shows_the_largest_moves_with_their_names_escaped():
    page = load_as_markdown(report([plan(number, [0], 10 + number, name=f"A|{number:02}") for number in range(70)]))
    assert "| +600% \\! |" in page
    assert "the 25 largest of" in page
    assert "| A\\|" in page


def test_the_page_fits_into_a_terminal_of_80_columns():
    plans = [plan(number, [0], 60, name=f"Org {number}") for number in range(7)]
    page = Console(width=80, record=True, file=StringIO())
    print_load_report(report(plans), {}, page)
    shown = page.export_text()
    assert "Move 6 schedules with 360 answers" in " ".join(shown.split())
    assert re.search(r"^Monday +7 +0 +420 +\+600% ! +0.84 +0.42 +21.00 +60 *$", shown, re.MULTILINE)
