"""P1, P2, P3, P10, P11, P12, and P14 by the number of orgs: shards of a night, vendors without latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from benchmarks import shards, town
from benchmarks.plan import Plan
from benchmarks.report import Figure
from benchmarks.shards import Ran, Shards
from benchmarks.stage import Stage
from benchmarks.usage import Usage

IN_FLIGHT = 100
WARM = 2  # orgs that are evaluated first: imports, connections
FLAT = 1.15
BARE_DAYS_AGO = 300


@dataclass
class Streets:
    """Hands out orgs that nobody has had: names are cached for a day, so that an org is new only once."""

    town: town.Town
    taken: int = 0

    def take(self, number: int) -> list[UUID]:
        self.taken += number
        return self.town.part(self.taken - number, self.taken)


def measure(stage: Stage, plan: Plan) -> list[Figure]:
    """Run bare, then shards of three sizes, then bare again."""
    sizes = (plan.shard_orgs, *plan.growth_orgs)
    streets = Streets(town.build(0, sum(sizes) + plan.profiled_orgs + WARM * len(sizes)))
    url = settled(stage, streets.town)
    orgs = streets.take(plan.shard_orgs)
    main = _shards(url, streets, orgs, streets.take(plan.profiled_orgs))
    bare = [_bare(stage, main, 0)]
    ran = shards.run(stage, main)
    bare += [_bare(stage, main, number) for number in range(1, plan.bare_runs)]
    grown = [ran, *(shards.run(stage, _shards(url, streets, streets.take(size))) for size in plan.growth_orgs)]
    return [*_against_bare(ran, bare), *_parts(ran), *_limits(ran), *_growth(grown)]


def settled(stage: Stage, built: town.Town) -> str:
    """Write the orgs into the stage's database; return a sandbox without latency that knows them."""
    with stage.database.transaction() as session:
        town.seed(session, built)
    url = stage.sandbox("sandbox-nights", "--no-latency", "--seed", "11")
    town.tell(url, built.orgs)
    return url


def _shards(url: str, streets: Streets, orgs: Sequence[UUID], profiled: Sequence[UUID] = ()) -> Shards:
    return Shards(url, orgs, streets.take(WARM), today(), in_flight=IN_FLIGHT, profiled_ids=profiled)


def today() -> date:
    return datetime.now(UTC).date()


def _bare(stage: Stage, same: Shards, number: int) -> Usage:
    first_date = today() - timedelta(days=BARE_DAYS_AGO - 2 * number)
    used = stage.bare_of_orgs(same.sandbox_url, same.org_ids, first_date, **shards.night_settings(same))
    return Usage(**used)


def _against_bare(ran: Ran, bare: Sequence[Usage]) -> list[Figure]:
    cpus, walls = [one.cpu_seconds / ran.orgs for one in bare], [one.wall_seconds for one in bare]
    orgs = f"{ran.orgs} orgs in one process"
    beside = "Prefect server, Postgres and sandbox on the same cores"
    return [
        Figure("P1", f"CPU per org ÷ bare, {orgs}", ran.cpu_per_org / min(cpus), 1.3, "×",
               "÷ the least of bare, which evaluates as many orgs at a time in one process; names not cached, which "
               "is one LLM call in 61 that bare does not make"),
        Figure("P1", f"CPU per org, product, {orgs}", ran.cpu_per_org, unit="s"),
        Figure("P1", f"CPU per org, bare, {orgs}", min(cpus), unit="s", samples=cpus),
        Figure("P2", f"wall ÷ bare, {orgs}", ran.wall_seconds / min(walls), 2.0, "×", beside),
        Figure("P2", f"wall, product, {orgs}", ran.wall_seconds, unit="s"),
        Figure("P2", f"wall, bare, {orgs}", min(walls), unit="s", samples=walls),
        Figure("P3", f"orgs per hour, {orgs}", ran.orgs_per_hour, 2500, "orgs", beside, at_least=True),
    ]  # fmt: skip


def _parts(ran: Ran) -> list[Figure]:
    """Show where the worker's CPU goes (sampled with further orgs: it does not add up exactly), and the others'."""
    return [
        *(Figure("P1", f"of this in a shard: {name}", seconds, unit="s") for name, seconds in ran.profile.items()),
        *(Figure("P1", f"beside it, per org: {name}", seconds, unit="s") for name, seconds in ran.services.items()),
        Figure("P1", "CPU of a process before its first org", ran.started_cpu_seconds, unit="s"),
    ]


def _limits(ran: Ran) -> list[Figure]:
    history, flying = ran.history, f"{min(ran.orgs, IN_FLIGHT)} orgs in flight"
    lost = history.task_runs - history.task_runs_completed + history.flow_runs - history.flow_runs_completed
    drained = f"the server had them {history.drain_seconds:.0f} s after the end"
    note = f"{history.task_runs:,} task runs, {lost} not completed; {drained}"
    return [
        Figure("P10", f"database connections, {flying}", ran.connections, 10, "", "of the product's pool of 10"),
        Figure("P10", f"statements per org, {ran.orgs} orgs", ran.statements_per_org, 60, note="as Postgres gets them"),
        Figure("P11", f"most memory of the worker, {flying}", ran.rss_mb, 500, "MB"),
        Figure("P12", f"task runs per org, {ran.orgs} orgs", history.task_runs / ran.orgs, 12, note=note),
        Figure("P12", f"subflows per org, {ran.orgs} orgs", history.flow_runs / ran.orgs, 1),
    ]


def _growth(grown: Sequence[Ran]) -> list[Figure]:
    by_size = sorted(grown, key=lambda ran: ran.orgs)
    costs = [ran.cpu_per_org for ran in by_size]
    sizes = ", ".join(f"{ran.orgs}" for ran in by_size)
    return [
        Figure("P14", f"CPU per org, dearest ÷ cheapest of {sizes} orgs", max(costs) / min(costs), FLAT, "×"),
        *(Figure("P14", f"CPU per org, {ran.orgs} orgs", ran.cpu_per_org, unit="s") for ran in by_size),
        *(Figure("P14", f"statements per org, {ran.orgs} orgs", ran.statements_per_org) for ran in by_size),
        *(Figure("P14", f"most memory of the worker, {ran.orgs} orgs", ran.rss_mb, unit="MB") for ran in by_size),
    ]
