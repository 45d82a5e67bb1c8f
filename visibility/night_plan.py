"""What a night would do, before anything is started: whom it would ask, what that costs whom, how long it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import ceil
from typing import Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.orm import Session

from visibility.batches import refuse_real_balances
from visibility.domain import Scope
from visibility.load_report import WEEKDAYS, ExpectedCosts, Quotes, expected_costs
from visibility.night_duration import Bound, Extent, bounds_of, pace_of
from visibility.night_payers import Charge, OverLimit, PlannedPayer, charges_of, over_limits, payers_of
from visibility.providers.routing import provider_of
from visibility.settings import Settings
from visibility.store import nights as store
from visibility.store.nights import LeftReading, Measured
from visibility.store.schedules import Scheduled, partner_pricing, scheduled_networks, scheduled_orgs
from visibility.versions import intended_version

NightOf = Literal["orgs", "networks"]
OwnerState = Literal["new", "to be resumed", "done"]

SCOPES: dict[NightOf, Scope] = {"orgs": "org", "networks": "network"}
_STATES: dict[str, OwnerState] = {"none": "new", "open": "to be resumed", "done": "done"}

Item = TypeVar("Item")


class PlannedOwner(BaseModel):
    """An org or network that is scheduled; `to_ask` of its `expected` answers are still to be asked."""

    owner_id: UUID
    name: str
    state: OwnerState
    expected: int
    to_ask: int


class NightPlan(BaseModel):
    """The night of a date as it would run now; costs and charges are expectations in USD, times in seconds.

    `runs`: shards of orgs, or flow runs of networks. `vendor_jobs` where those of a shard are full. The longest of
    the `bounds`, which is the first, decides how long it takes; `measured_…` say how many of each they rest on. With
    `llm_batch` reading may take up to a day more, at half the cost.
    """

    run_date: date
    weekday: str
    what: NightOf
    sandbox: bool
    owners: list[PlannedOwner]
    runs: int
    to_ask: int
    to_evaluate: int
    vendor_jobs: int
    vendor_cost_usd: Decimal
    reading_cost_usd: Decimal
    charges_usd: Decimal
    payers: list[PlannedPayer]
    over_limit: list[OverLimit]
    measured_jobs: int
    measured_calls: int
    bounds: list[Bound]
    seconds: float
    llm_batch: bool

    @property
    def reason(self) -> None:
        """A plan that is there has not failed."""
        return

    def count(self, state: OwnerState) -> int:
        """Return how many of the scheduled are in the state."""
        return sum(owner.state == state for owner in self.owners)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is left to do: the orgs or networks, their answers that are to be read, and what that costs."""

    owners: Sequence[Scheduled]
    left: Sequence[LeftReading]
    costs: ExpectedCosts
    charges: Sequence[Charge]

    @property
    def evaluations(self) -> int:
        asked = sum(owner.to_ask * _readers(owner) for owner in self.owners)
        return asked + sum(one.unread for one in self.left)


def scheduled(session: Session, what: NightOf, run_date: date, settings: Settings) -> list[Scheduled]:
    """Return who is scheduled on the weekday of the date, with what is left to do for each, by name.

    Raises InvalidInput for a simulation in a database of real evaluations.
    """
    if settings.sandbox:
        refuse_real_balances(session)
    look = {"orgs": scheduled_orgs, "networks": scheduled_networks}[what]
    return look(
        session,
        run_date,
        extractor_version=intended_version(settings.llm),
        max_attempts=settings.max_attempts,
        replicates=settings.replicates,
    )


def plan_night(
    session: Session, what: NightOf, run_date: date, settings: Settings, *, cores: int, time_scale: float = 1.0
) -> NightPlan:
    """Plan the night of a date, in six statements for any number of orgs; changes nothing and needs no key.

    Raises ConfigurationError for an unknown model or a partner's impossible price, InvalidInput as `scheduled`.
    """
    owners = scheduled(session, what, run_date, settings)
    todo = [owner for owner in owners if owner.state != "done"]
    resumed = [owner.batch_id for owner in todo if owner.batch_id is not None]
    left = store.left_readings(session, resumed, intended_version(settings.llm))
    costs = expected_costs(settings)
    work = _Work(todo, left, costs, charges_of(todo, left, Quotes(partner_pricing(session), costs)))
    purses = store.purses(session, {charge.payer for charge in work.charges}, resumed)
    limited = store.limited_orgs(session, {charge.org_id for charge in work.charges}, resumed)
    measured = store.measured(session, sandbox=settings.sandbox, longest_call_seconds=settings.llm.llm_timeout_seconds)
    jobs = vendor_jobs(what, todo, settings)
    bounds = bounds_of(_extent(what, work, jobs, settings, cores), pace_of(measured, time_scale), settings)
    return NightPlan(
        run_date=run_date,
        weekday=WEEKDAYS[run_date.weekday()],
        what=what,
        sandbox=settings.sandbox,
        owners=[_planned_owner(owner) for owner in owners],
        runs=len(groups(what, todo, settings.shard_orgs)),
        payers=payers_of(work.charges, purses),
        over_limit=over_limits(work.charges, limited),
        vendor_jobs=jobs,
        bounds=bounds,
        seconds=bounds[0].seconds if bounds else 0.0,
        llm_batch=settings.llm.llm_batch,
        **_costs(work),
        **_counts(measured),
    )


def groups(what: NightOf, owners: Sequence[Item], shard_orgs: int) -> list[Sequence[Item]]:
    """Split what is to be done into flow runs: shards of orgs in their order, or one run per network."""
    size = shard_orgs if what == "orgs" else 1
    return [owners[first : first + size] for first in range(0, len(owners), size)]


def vendor_jobs(what: NightOf, owners: Sequence[Scheduled], settings: Settings) -> int:
    """Return how many jobs carry the questions, where those in flight at the same time fill them."""
    together = groups(what, owners, min(settings.shard_orgs, settings.orgs_in_flight))
    most = settings.brightdata.max_inputs_per_job
    return sum(ceil(inputs / most) for group in together for inputs in _inputs(group).values())


def _inputs(owners: Sequence[Scheduled]) -> Counter[str]:
    """Count the inputs of vendor jobs per engine; models of other providers have none."""
    inputs: Counter[str] = Counter()
    for owner in owners:
        for model, number in _shares(owner):
            provider = provider_of(model) or ""
            if provider.startswith("brightdata:"):
                inputs[provider] += number
    return inputs


def _shares(owner: Scheduled) -> Iterator[tuple[str, int]]:
    """Yield how many of the owner's open questions each of its models gets: equally many but for the rest."""
    each, rest = divmod(owner.to_ask, len(owner.models) or 1)
    for place, model in enumerate(owner.models):
        yield model, each + (place < rest)


def _extent(what: NightOf, work: _Work, jobs: int, settings: Settings, cores: int) -> Extent:
    members = sum(map(_readers, work.owners)) if what == "networks" else 0
    return Extent(
        scope=SCOPES[what],
        owners=len(work.owners),
        flows=len(work.owners) + members,
        starts=len(groups(what, work.owners, settings.shard_orgs)) if settings.shards > 1 else 0,
        jobs=jobs,
        calls=ceil(work.evaluations / settings.llm.answers_per_call),
        cores=cores,
    )


def _costs(work: _Work) -> dict[str, Any]:
    asked = sum(_inputs(work.owners).values())
    return {
        "to_ask": sum(owner.to_ask for owner in work.owners),
        "to_evaluate": work.evaluations,
        "vendor_cost_usd": asked * work.costs.answer_usd,
        "reading_cost_usd": work.evaluations * work.costs.reading_usd,
        "charges_usd": sum((charge.amount_usd for charge in work.charges), Decimal(0)),
    }


def _counts(measured: Measured) -> dict[str, Any]:
    return {"measured_jobs": measured.jobs, "measured_calls": measured.calls}


def _readers(owner: Scheduled) -> int:
    return 1 if owner.scope == "org" else len(owner.members)


def _planned_owner(owner: Scheduled) -> PlannedOwner:
    return PlannedOwner(
        owner_id=owner.owner_id,
        name=owner.name,
        state=_STATES[owner.state],
        expected=owner.expected,
        to_ask=owner.to_ask,
    )
