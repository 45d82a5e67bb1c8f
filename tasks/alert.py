"""One way to tell people that something needs them."""

from __future__ import annotations

import logging
from contextlib import suppress
from html import escape
from typing import TypeAlias
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.logging.loggers import LoggingAdapter
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from tasks.patience import within
from visibility.settings import Settings

Logger: TypeAlias = logging.Logger | LoggingAdapter

PATIENCE_SECONDS = 5.0
SENT = "visibility.alert.sent"  # event; deployments/automations/crashed-runs.yaml is silent where it was seen
LONGEST_TEXT = 3000  # characters; Slack cuts at 40,000, a person earlier


@task(name="send alert", cache_policy=NO_CACHE)
async def send_alert(title: str, text: str) -> bool:
    """Deliver an alert about the flow that runs; never raises."""
    return await deliver(title, text, get_run_logger(), flow_run.id)


async def deliver(title: str, text: str, logger: Logger, flow_run_id: UUID | str | None) -> bool:
    """Write to the log and send to the configured Slack webhook block; return whether Slack took it.

    Never raises and waits at most `PATIENCE_SECONDS`: an alert that cannot be delivered must neither fail nor
    hold up the flow it speaks of. Hooks call it as it is, because a task outside of a flow cannot log.
    """
    logger.error("ALERT %s: %s", title, text)
    try:
        block_name = Settings().slack_webhook_block
        if block_name is None:
            return False
        status = await within(PATIENCE_SECONDS, _post(block_name, _message(title, text, flow_run_id)))
    except Exception as error:  # whatever it is, the log line above has been written
        logger.warning("the alert could not be delivered to Slack: %s", type(error).__name__)
        return False
    if status != 200:
        logger.warning("Slack refused the alert with status %s", status)
        return False
    if flow_run_id is not None:
        with suppress(Exception):  # people have been told; without the event they may be told twice
            what = {"prefect.resource.id": SENT, "prefect.resource.role": "alert", "prefect.resource.name": title}
            emit_event(SENT, {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}"}, related=[what])
    return True


async def _post(block_name: str, message: str) -> int:
    """Post to the webhook of a block; return the HTTP status."""
    from prefect_slack import SlackWebhook  # only here: it costs a quarter of a second to import

    slack_log = logging.getLogger("slack_sdk")
    slack_log.setLevel(max(slack_log.level, logging.INFO))  # below it writes the webhook's address, which is a secret
    block = await SlackWebhook.aload(block_name)
    response = await block.get_client().send(text=message)
    return int(response.status_code)


def _message(title: str, text: str, flow_run_id: UUID | str | None) -> str:
    """Write the alert as Slack reads it, with a link to the flow run."""
    url = url_for("flow-run", flow_run_id) if flow_run_id else None
    link = f"\n<{url}>" if url else ""
    return f"*{escape(title, quote=False)}*\n{escape(text[:LONGEST_TEXT], quote=False)}{link}"
