"""How the plan of a night is shown in the terminal."""

from __future__ import annotations

from decimal import Decimal

from rich.console import Console

from visibility.display import origin, printable, table, terminal
from visibility.night_payers import OverLimit, PlannedPayer
from visibility.night_plan import NightOf, NightPlan, PlannedOwner

SHOWN = 15  # rows of a table on a page; --json has all
MINUTE, HOUR = 60, 3600


def print_plan(plan: NightPlan, console: Console | None = None) -> None:
    """Print what a night would do."""
    console = console or terminal()
    console.print(f"\n{plan.weekday} {plan.run_date} · {plan_headline(plan)}\n", style="bold")
    for title, rows in _tables(plan).items():
        left = len(rows) - SHOWN
        console.print(f"{title}, the first {SHOWN} of {len(rows):,}" if left > 0 else title, style="bold")
        console.print(table(rows[:SHOWN]))
        console.print()
    if plan.payers:
        console.print(payers_line(plan))
    if plan.bounds:
        console.print(duration_line(plan), style="bold")
    console.print("Nothing was started or written: this is what a run would do now.", style="dim")


def plan_headline(plan: NightPlan) -> str:
    """Say in one line who is scheduled and what is left to do."""
    if not plan.owners:
        return f"{plan.what} scheduled: none{origin(plan.sandbox)}"
    counts = ((plan.count("new"), "new"), (plan.count("to be resumed"), "to be resumed"), (plan.count("done"), "done"))
    states = ", ".join(f"{number:,} {state}" for number, state in counts if number)
    return f"{plan.what} scheduled: {len(plan.owners):,} ({states}){origin(plan.sandbox)}"


def payers_line(plan: NightPlan) -> str:
    """Say how many of those who pay can, and how much the others lack."""
    short = [payer.short_usd for payer in plan.payers if payer.short_usd]
    lack = f", the others lack {_usd(sum(short, Decimal(0)))} USD" if short else ""
    return f"Payers who are covered: {len(plan.payers) - len(short):,} of {len(plan.payers):,}{lack}."


def duration_line(plan: NightPlan) -> str:
    """Say how long it should take, what decides it, and what the figures rest on."""
    jobs = f"{plan.measured_jobs:,} recent jobs" if plan.measured_jobs else "assumed durations of jobs"
    calls = f"{plan.measured_calls:,} recent calls" if plan.measured_calls else "assumed durations of calls"
    decides = plan.bounds[0].name
    batch = " With LLM_BATCH reading may take up to a day more, at half its cost." if plan.llm_batch else ""
    return f"It should take about {duration(plan.seconds)}: {decides} decides (from {jobs} and {calls}).{batch}"


def duration(seconds: float) -> str:
    """Write a duration for a person: 40 s, 12 min, 3 h 05 min."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    minutes = round(seconds / MINUTE)
    hours, rest = divmod(minutes, HOUR // MINUTE)
    return f"{hours} h {rest:02} min" if hours else f"{rest} min"


def work_rows(plan: NightPlan) -> list[dict[str, str]]:
    """Return how much there is to do and what it costs, a row each."""
    runs = "shards" if plan.what == "orgs" else "flow runs"
    work = {
        runs: f"{plan.runs:,}",
        "answers to ask": f"{plan.to_ask:,}",
        "vendor jobs": f"{plan.vendor_jobs:,}",
        "evaluations": f"{plan.to_evaluate:,}",
        "vendor USD": _usd(plan.vendor_cost_usd),
        "reading USD": _usd(plan.reading_cost_usd),
        "charges USD": _usd(plan.charges_usd),
    }
    return [work]


def _tables(plan: NightPlan) -> dict[str, list[dict[str, str]]]:
    tables = {
        "What would be done": work_rows(plan),
        "Who": [_owner(plan.what, owner) for owner in plan.owners if owner.state != "done"],
        "Who would pay": list(map(_payer, plan.payers)),
        "Spend limits that do not cover their part": list(map(_limit, plan.over_limit)),
        "How long": [
            {"bound": bound.name, "at least": duration(bound.seconds), "because": bound.because}
            for bound in plan.bounds
        ],
    }
    return {title: rows for title, rows in tables.items() if rows and plan.runs}


def _owner(what: NightOf, owner: PlannedOwner) -> dict[str, str]:
    answers = f"{owner.to_ask:,} of {owner.expected:,}"
    return {what: printable(owner.name), "state": owner.state, "answers to ask": answers}


def _payer(payer: PlannedPayer) -> dict[str, str]:
    prices = sorted({payer.lowest_price_usd, payer.highest_price_usd})
    return {
        "payer": f"{payer.payer_type} {printable(payer.name)}",
        "answers": f"{payer.answers:,}",
        "price USD": "–".join(f"{price:f}" for price in prices),
        "charges USD": _usd(payer.amount_usd),
        "balance − held USD": f"{_usd(payer.balance_usd)} − {_usd(payer.held_usd)}",
        "covered": f"no, {_usd(payer.short_usd)} short" if payer.short_usd else "yes",
    }


def _limit(org: OverLimit) -> dict[str, str]:
    return {
        "org": printable(org.name),
        "limit USD": _usd(org.spend_limit_usd),
        "left USD": _usd(org.left_usd),
        "needed USD": _usd(org.needed_usd),
    }


def _usd(amount: Decimal) -> str:
    return f"{amount:,.2f}"
