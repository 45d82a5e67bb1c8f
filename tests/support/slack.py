"""A saved Slack webhook block for one test, and what arrived at it."""

from __future__ import annotations

from uuid import uuid4

from prefect_slack import SlackWebhook
from pydantic import SecretStr

from sandbox.server import RunningSandbox


async def save_webhook(url: str) -> str:
    """Save a block under a name of its own; return the name."""
    block, name = SlackWebhook(url=SecretStr(url)), f"slack-{uuid4().hex[:12]}"
    try:
        await block.save(name)
    except ValueError:  # another test worker registered the block's type in the same moment
        name = f"{name}-again"
        await block.save(name)
    return name


def alerts(sandbox: RunningSandbox) -> list[str]:
    """Return the texts of the messages that the sandbox, playing Slack, has taken."""
    return [message["body"]["text"] for message in sandbox.state.slack]
