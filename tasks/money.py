"""Reserve credits before anything is asked, charge what was evaluated after."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.resources import current
from tasks.retries import is_retryable
from visibility.billing.holds import hold
from visibility.billing.settlement import Settlement, settle
from visibility.estimates import expected_reading_cost
from visibility.store.batches import with_lease


@task(
    name="hold credits", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE
)
async def hold_credits(batch_id: UUID, lease_owner: str, uncharged: int = 0) -> Decimal:
    """Reserve the quoted price of every run still to be evaluated; return the amount, USD.

    What an earlier flow evaluated and could not charge any more (`uncharged`) is charged first: the balance
    may not cover the rest. Raises LeaseLost.
    """
    resources = current()
    if uncharged:
        await resources.database.run(with_lease, batch_id, lease_owner, settle)
    amount = await resources.database.run(
        with_lease,
        batch_id,
        lease_owner,
        hold,
        expires_in=timedelta(hours=resources.settings.hold_hours),
        expected_evaluation_cost_usd=expected_reading_cost(resources.settings.llm),
        expected_answer_cost_usd=resources.settings.brightdata.price_per_record_usd,
        max_attempts=resources.settings.max_attempts,
    )
    get_run_logger().info("held %s USD", amount)
    return amount


@task(
    name="settle usage", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE
)
async def settle_usage(batch_id: UUID, lease_owner: str) -> Settlement:
    """Charge every evaluated, uncharged run once and give back what the hold did not use. Raises LeaseLost."""
    settlement = await current().database.run(with_lease, batch_id, lease_owner, settle)
    get_run_logger().info("charged %s USD for %s answers", settlement.charged_usd, settlement.entries)
    return settlement
