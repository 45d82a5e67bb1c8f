"""A saved Slack webhook block for one test."""

from __future__ import annotations

from uuid import uuid4

from prefect_slack import SlackWebhook
from pydantic import SecretStr


async def save_webhook(url: str) -> str:
    """Save a block under a name of its own; return the name."""
    block, name = SlackWebhook(url=SecretStr(url)), f"slack-{uuid4().hex[:12]}"
    try:
        await block.save(name)
    except ValueError:  # another test worker registered the block's type in the same moment
        name = f"{name}-again"
        await block.save(name)
    return name
