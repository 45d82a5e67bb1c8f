"""Read the schedules and publish what a week asks and costs."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.alert import send_alert
from tasks.artifacts import shown
from tasks.resources import current
from tasks.retries import is_retryable
from tasks.running import flow_run_id
from visibility.llm.catalog import shutdowns_near
from visibility.load_display import day_rows, load_as_markdown, load_headline
from visibility.load_report import LoadReport, expected_costs, load_report_of


@task(
    name="report load", retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_retryable, cache_policy=NO_CACHE
)
async def report_load() -> LoadReport:
    """Report on the schedules as they are now; publish the table of weekdays and the Markdown page.

    Raises ConfigurationError for an unknown model or a partner's impossible price.
    """
    resources = current()
    report = await resources.database.run(
        load_report_of,
        expected_costs(resources.settings),
        replicates=resources.settings.replicates,
        report_date=datetime.now(UTC).date(),
        flow_run_id=flow_run_id(),
    )
    described = load_headline(report)
    get_run_logger().info("%s", described)
    await shown(
        acreate_table_artifact(day_rows(report), key="load-report-weekdays", description=described),
        acreate_markdown_artifact(load_as_markdown(report), key="load-report", description=described),
    )
    return report


async def warn_of_shutdowns() -> bool:
    """Alert when a model that this deployment reads with is shut down within 60 days; return whether one is."""
    llm = current().settings.llm
    models = {llm.evaluation_model, llm.brands_model, llm.names_model}
    sentences = shutdowns_near(models, datetime.now(UTC).date())
    if sentences:
        await send_alert("A model is shut down soon", " ".join([*sentences, "Choose another one and measure it."]))
    return bool(sentences)
