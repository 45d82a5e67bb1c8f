"""The load report: what each weekday asks and costs by its schedules, and what to move where days differ too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.orm import Session

from visibility.billing.pricing import PricingConfig, quote
from visibility.domain import Scope
from visibility.estimates import usual_reading_cost
from visibility.rebalancing import DAYS, TOLERANCE, Move, answers_per_day, is_balanced, recommend_moves
from visibility.settings import Settings
from visibility.store.schedules import DayLoad, WeeklyPlan, loads_of, partner_pricing, weekly_plans

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class ExpectedCosts:
    """What one answer costs at the vendor, and its reading for one org; USD."""

    answer_usd: Decimal
    reading_usd: Decimal


def expected_costs(settings: Settings) -> ExpectedCosts:
    """Return what an answer and its reading usually cost; reading by rule alone, where it was chosen, costs nothing.

    Needs no key. Raises ConfigurationError for an unknown model.
    """
    by_rule = settings.llm.rule_only_fallback and not settings.llm.configured
    reading = Decimal(0) if by_rule else usual_reading_cost(settings.llm)
    return ExpectedCosts(settings.brightdata.price_per_record_usd, reading)


class Quotes:
    """What one evaluated answer is quoted at expected costs, per partner and number of orgs it is evaluated for."""

    def __init__(self, pricing: Mapping[UUID, PricingConfig], costs: ExpectedCosts) -> None:
        self._pricing, self._costs = pricing, costs
        self._prices: dict[tuple[UUID, int], Decimal] = {}

    def price(self, partner_id: UUID, readers: int) -> Decimal:
        """Return the price, USD. Raises ConfigurationError for a pricing config out of range."""
        config = self._pricing.get(partner_id)
        shared_by = readers if config is None or config.share_answer_cost else 1
        price = self._prices.get((partner_id, shared_by))
        if price is None:
            price = self._prices[partner_id, shared_by] = quote(
                config,
                expected_answer_cost_usd=self._costs.answer_usd,
                expected_evaluation_cost_usd=self._costs.reading_usd,
                shared_by=shared_by,
            )
        return price


class WeekdayLoad(BaseModel):
    """One weekday as scheduled; `off_mean` is a ratio (0.25: a quarter above the mean), None in an empty week.

    `evaluations`: each answer of a network is read for every member. `answers_after`: once the moves are made.
    """

    weekday: str
    orgs: int
    networks: int
    answers: int
    evaluations: int
    off_mean: float | None
    vendor_cost_usd: Decimal
    reading_cost_usd: Decimal
    charges_usd: Decimal
    answers_after: int

    @property
    def runs(self) -> int:
        """Batches of the day: one per org and per network."""
        return self.orgs + self.networks


class RecommendedMove(BaseModel):
    """One schedule to move to another weekday, with its answers of a day."""

    scope: Scope
    owner_id: UUID
    name: str
    from_day: str
    to_day: str
    answers: int


class Transfer(BaseModel):
    """All moves from one weekday to another."""

    from_day: str
    to_day: str
    schedules: int
    answers: int


class LoadReport(BaseModel):
    """A week by its schedules; costs are expectations in USD, `tolerance` is a ratio of the mean.

    `balanced`: no day is off; `balanced_after`: none will be once `moves`, largest first, are made.
    """

    flow_run_id: UUID | None
    report_date: date
    orgs: int
    networks: int
    replicates: int
    days: list[WeekdayLoad]
    mean_answers: float
    tolerance: float
    balanced: bool
    balanced_after: bool
    recommendation: str
    transfers: list[Transfer]
    moves: list[RecommendedMove]
    price_per_answer_usd: Decimal
    reading_cost_per_evaluation_usd: Decimal

    @property
    def reason(self) -> None:
        """A report that is there has not failed."""
        return


def load_report_of(
    session: Session, costs: ExpectedCosts, *, replicates: int, report_date: date, flow_run_id: UUID | None
) -> LoadReport:
    """Read all schedules and prices, three statements, and make the report. Raises ConfigurationError for a price."""
    plans, pricing = weekly_plans(session, replicates=replicates), partner_pricing(session)
    return report_on(plans, pricing, costs, replicates=replicates, report_date=report_date, flow_run_id=flow_run_id)


def report_on(
    plans: Sequence[WeeklyPlan],
    pricing: Mapping[UUID, PricingConfig],
    costs: ExpectedCosts,
    *,
    replicates: int,
    report_date: date,
    flow_run_id: UUID | None = None,
) -> LoadReport:
    """Return the report of these plans; no plan at all is an empty, balanced week."""
    moves = recommend_moves(plans)
    before = answers_per_day(plans)
    after = loads_after(before, moves)
    scopes = Counter(plan.scope for plan in plans)
    return LoadReport(
        flow_run_id=flow_run_id,
        report_date=report_date,
        orgs=scopes["org"],
        networks=scopes["network"],
        replicates=replicates,
        days=weekday_loads(plans, after, pricing, costs),
        mean_answers=sum(before) / DAYS,
        tolerance=float(TOLERANCE),
        balanced=is_balanced(before),
        balanced_after=is_balanced(after),
        recommendation=recommendation_of(before, after, moves),
        transfers=transfers_of(moves),
        moves=[_recommended(move) for move in moves],
        price_per_answer_usd=costs.answer_usd,
        reading_cost_per_evaluation_usd=costs.reading_usd,
    )


def weekday_loads(
    plans: Sequence[WeeklyPlan], after: Sequence[int], pricing: Mapping[UUID, PricingConfig], costs: ExpectedCosts
) -> list[WeekdayLoad]:
    """Return the seven weekdays, Monday first, with what they ask, cost and charge."""
    loads = loads_of(plans)
    mean = sum(load.expected for load in loads) / DAYS
    charges = charges_per_day(plans, pricing, costs)
    evaluations = [sum(plan.expected * plan.readers for plan in plans if dow in plan.days) for dow in range(DAYS)]
    return [_weekday(load, evaluations[load.dow], mean, charges[load.dow], after[load.dow], costs) for load in loads]


def charges_per_day(
    plans: Sequence[WeeklyPlan], pricing: Mapping[UUID, PricingConfig], costs: ExpectedCosts
) -> list[Decimal]:
    """Return per weekday what payers would be quoted for the answers, USD: a network's once per member."""
    days = [Decimal(0)] * DAYS
    quotes = Quotes(pricing, costs)
    for plan in plans:
        price = quotes.price(plan.partner_id, plan.readers)
        for dow in plan.days:
            days[dow] += price * plan.expected * plan.readers
    return days


def loads_after(loads: Sequence[int], moves: Sequence[Move]) -> list[int]:
    """Return the answers per weekday once the moves are made."""
    after = list(loads)
    for move in moves:
        after[move.from_dow] -= move.answers
        after[move.to_dow] += move.answers
    return after


def transfers_of(moves: Sequence[Move]) -> list[Transfer]:
    """Return the moves added up per pair of days, most answers first."""
    answers: Counter[tuple[int, int]] = Counter()
    schedules: Counter[tuple[int, int]] = Counter()
    for move in moves:
        answers[move.from_dow, move.to_dow] += move.answers
        schedules[move.from_dow, move.to_dow] += 1
    return [
        Transfer(from_day=WEEKDAYS[giver], to_day=WEEKDAYS[taker], schedules=schedules[giver, taker], answers=number)
        for (giver, taker), number in sorted(answers.items(), key=lambda item: (-item[1], item[0]))
    ]


def recommendation_of(before: Sequence[int], after: Sequence[int], moves: Sequence[Move]) -> str:
    """Say in a sentence or two what to do about the week."""
    bound = f"{float(TOLERANCE):.0%} of the mean"
    if not sum(before):
        return "Nothing is scheduled."
    if is_balanced(before):
        return f"Nothing to move: every day is within {bound}."
    answers = sum(move.answers for move in moves)
    told = f"Move {_counted(len(moves), 'schedule')} with {_counted(answers, 'answer')}"
    if is_balanced(after):
        return f"{told}; then every day is within {bound}."
    rest = f"no further single move brings every day within {bound}: schedules are too few or too large."
    return f"{told}; {rest}" if moves else rest[0].upper() + rest[1:].replace(" further", "")


def _weekday(
    load: DayLoad, evaluations: int, mean: float, charges: Decimal, after: int, costs: ExpectedCosts
) -> WeekdayLoad:
    return WeekdayLoad(
        weekday=WEEKDAYS[load.dow],
        orgs=load.orgs,
        networks=load.networks,
        answers=load.expected,
        evaluations=evaluations,
        off_mean=load.expected / mean - 1 if mean else None,
        vendor_cost_usd=load.expected * costs.answer_usd,
        reading_cost_usd=evaluations * costs.reading_usd,
        charges_usd=charges,
        answers_after=after,
    )


def _recommended(move: Move) -> RecommendedMove:
    return RecommendedMove(
        scope=move.scope,
        owner_id=move.owner_id,
        name=move.name,
        from_day=WEEKDAYS[move.from_dow],
        to_day=WEEKDAYS[move.to_dow],
        answers=move.answers,
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
