"""Reserve credits before anything is asked or read, charge what was evaluated after."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.resources import current
from tasks.retries import is_retryable
from visibility.billing.holds import Claim, Holding, hold_all
from visibility.billing.settlement import Settlement, settle, settle_left
from visibility.errors import InsufficientCredits
from visibility.estimates import expected_reading_cost
from visibility.networks import OpenReading
from visibility.store.leases import HeldLease, with_lease


@task(
    name="hold credits", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE
)
async def hold_credits(
    lease: HeldLease, claims: Sequence[Claim], *, owed: Sequence[Claim] = (), answered_only: bool = False
) -> Holding:
    """Reserve the quoted price of every run still to be evaluated, for every (batch, org) of `claims`.

    What an earlier flow evaluated and could not charge any more (`owed`) is charged first: the balance may not
    cover the rest. `answered_only`: only for answers that are there. An org whose spend limit does not cover its
    part is refused alone. Raises InsufficientCredits when a balance does not cover all, or every org is refused;
    LeaseLost.
    """
    resources = current()
    for claim in owed:
        await resources.database.run(with_lease, lease, settle, claim.batch_id, claim.org_id)
    holding = await resources.database.run(
        with_lease,
        lease,
        hold_all,
        claims,
        expires_in=timedelta(seconds=resources.settings.hold_seconds),
        expected_evaluation_cost_usd=expected_reading_cost(resources.settings.llm),
        expected_answer_cost_usd=resources.settings.brightdata.price_per_record_usd,
        max_attempts=resources.settings.max_attempts,
        answered_only=answered_only,
    )
    logger = get_run_logger()
    for refusal in holding.refused.values():
        logger.warning("%s", refusal)
    if holding.refused and not holding.claims:
        raise next(iter(holding.refused.values()))
    logger.info("held %s USD", holding.amount_usd)
    return holding


@task(
    name="settle usage", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE
)
async def settle_usage(lease: HeldLease, claims: Sequence[Claim]) -> Settlement:
    """Charge every evaluated, uncharged run once and give back what the holds did not use. Raises LeaseLost."""
    settlement = await settle_claims(lease, claims)
    get_run_logger().info("charged %s USD for %s answers", settlement.charged_usd, settlement.entries)
    return settlement


@task(
    name="settle rest", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE
)
async def settle_rest(lease: HeldLease) -> None:
    """Charge what members' flows evaluated and could not charge, and close the holds they left. Raises LeaseLost."""
    await current().database.run(with_lease, lease, settle_left, lease.lease_id)


async def settle_claims(lease: HeldLease, claims: Sequence[Claim]) -> Settlement:
    """Settle each (batch, org), each in a transaction of its own; return the sum."""
    run = current().database.run
    settled = [await run(with_lease, lease, settle, claim.batch_id, claim.org_id) for claim in claims]
    return Settlement(
        sum(one.entries for one in settled),
        sum((one.charged_usd for one in settled), Decimal(0)),
        sum((one.absorbed_usd for one in settled), Decimal(0)),
        settled[-1].payer if settled else None,
    )


async def hold_what_is_covered(reading: OpenReading) -> tuple[OpenReading, InsufficientCredits | None]:
    """Hold for all that is missing or, where that is too much, batch by batch, and return the reading of those.

    First the batch of the flow that has asked and held for it, then the newest: what is left of earlier days takes
    nothing away from it. With the refusal of the whole. Raises it when no batch is covered.
    """
    owed = claims_of(reading, evaluated=True)
    try:
        await hold_credits(reading.lease, claims_of(reading), owed=owed, answered_only=True)
    except InsufficientCredits as refusal:
        covered = []
        for batch in sorted(reading.missing, key=lambda one: (one.run_date == reading.also, one.run_date))[::-1]:
            with suppress(InsufficientCredits):
                await hold_credits(reading.lease, [Claim(batch.batch_id, reading.org.org_id)], answered_only=True)
                covered.append(batch)
        if not covered:
            raise
        return replace(reading, missing=tuple(covered)), refusal
    return reading, None


def claims_of(reading: OpenReading, *, evaluated: bool = False) -> list[Claim]:
    """Return what an org is charged for: each batch it reads, or those with `evaluated`, uncharged answers."""
    batches = [batch for batch in reading.missing if batch.uncharged or not evaluated]
    return [Claim(batch.batch_id, reading.org.org_id) for batch in batches]
