"""Ask one model the batch's open questions."""

from __future__ import annotations

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.resources import current
from tasks.retries import is_retryable
from visibility.arrivals import Arrivals
from visibility.domain import AskSummary
from visibility.errors import ProviderDown, ProviderRefused
from visibility.providers.routing import provider_of


@task(
    name="ask questions",
    task_run_name="ask {model}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_retryable,
    cache_policy=NO_CACHE,
)
async def ask_questions(batch_id: UUID, model: str, arrivals: Arrivals | None = None) -> AskSummary:
    """Ask the batch's open questions of one model; every answer is stored as its vendor job returns, and announced.

    Raises ProviderRefused when the provider takes no more requests, ProviderDown when the engine fails and gets a
    pause; both after everything has been recorded.
    """
    asked = await current().collector.ask(batch_id, model, arrivals.put if arrivals else None)
    failed = f", failed {asked.failed}" if asked.failed else ""
    get_run_logger().info(
        "%s: %s of %s answered in %s vendor jobs%s", model, asked.answered, asked.expected, asked.jobs, failed
    )
    if ProviderRefused.code in asked.failed:
        provider = (provider_of(model) or model).partition(":")[0]
        raise ProviderRefused(f"{provider} refuses the account: check its key, suspension and quota, then run again.")
    if ProviderDown.code in asked.failed:
        raise ProviderDown(f"{model} fails at its provider and gets a pause; what it was not asked is asked later.")
    return asked
