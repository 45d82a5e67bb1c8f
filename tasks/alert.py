"""One way to tell people that something needs them."""

from __future__ import annotations

import asyncio
from html import escape

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.logging import get_logger, get_run_logger
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from visibility.settings import Settings

PATIENCE_SECONDS = 5.0
LONGEST_TEXT = 3000  # characters; Slack cuts at 40,000, a person earlier


@task(name="send alert", cache_policy=NO_CACHE)
async def send_alert(title: str, text: str) -> bool:
    """Send to the configured Slack webhook block and write to the log; return whether Slack took it.

    Never raises and waits at most `PATIENCE_SECONDS`: an alert that cannot be delivered must neither fail nor
    hold up the flow it speaks of.
    """
    logger = get_run_logger() if FlowRunContext.get() else get_logger("alert")  # hooks run outside of any flow
    logger.error("ALERT %s: %s", title, text)
    try:
        block_name = Settings().slack_webhook_block
        if block_name is None:
            return False
        async with asyncio.timeout(PATIENCE_SECONDS):
            status = await _post(block_name, _message(title, text))
    except Exception as error:  # whatever it is, the log line above has been written
        logger.warning("the alert could not be delivered to Slack: %s", type(error).__name__)
        return False
    if status != 200:
        logger.warning("Slack refused the alert with status %s", status)
    return status == 200


async def _post(block_name: str, message: str) -> int:
    """Post to the webhook of a block; return the HTTP status."""
    from prefect_slack import SlackWebhook  # only here: it costs a quarter of a second to import

    block = await SlackWebhook.aload(block_name)
    response = await block.get_client().send(text=message)
    return int(response.status_code)


def _message(title: str, text: str) -> str:
    """Write the alert as Slack reads it, with a link to the flow run when one runs."""
    url = url_for("flow-run", flow_run.id) if flow_run.id else None
    where = f"\n<{url}>" if url else ""
    return f"*{escape(title, quote=False)}*\n{escape(text[:LONGEST_TEXT], quote=False)}{where}"
