"""Settings of a deployment: the environment's, with what the registered blocks hold laid over them.

`VISIBILITY_BLOCKS=production` names the documents to load: `senso-bright-data-credentials/production`,
`senso-azure-openai-credentials/production` or else `senso-openai-credentials/production`, and
`senso-results-database/production`. What has no document comes from the environment; without
`VISIBILITY_BLOCKS` no block is looked for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError, ObjectNotFound
from prefect.logging import get_logger, get_run_logger
from prefect.logging.loggers import LoggingAdapter
from pydantic import ValidationError

from blocks.bright_data import BrightDataCredentials
from blocks.database import ResultsDatabase
from blocks.openai import AzureOpenAICredentials, OpenAICredentials
from visibility.errors import ConfigurationError
from visibility.settings import Settings, read_settings

BlockType = TypeVar("BlockType", bound=Block)


async def settings_from_blocks() -> Settings:
    """Return the environment's settings, completed from the blocks named by `VISIBILITY_BLOCKS`.

    Raises ConfigurationError for a document that no longer fits its block, and for keys that neither have.
    """
    settings = read_settings()
    name = settings.blocks
    if name is None:
        return settings
    bright_data = await _load(BrightDataCredentials, name)
    llm = await _load(AzureOpenAICredentials, name) or await _load(OpenAICredentials, name)
    database = await _load(ResultsDatabase, name)
    if bright_data:
        settings = settings.model_copy(update={"brightdata": bright_data.settings()})
    if llm:
        settings = settings.model_copy(update={"llm": llm.settings()})
    if database:
        settings = database.over(settings)
    looked_for = ((BrightDataCredentials, bright_data), (OpenAICredentials, llm), (ResultsDatabase, database))
    _require(settings, [_document(block_type, name) for block_type, block in looked_for if block is None])
    return settings


async def _load(block_type: type[BlockType], name: str) -> BlockType | None:
    """Return the named document of a block type, or None when it is not there."""
    try:
        return await block_type.aload(name)
    except RuntimeError as error:  # what Prefect raises for a document whose fields are not the block's
        if not isinstance(error.__cause__, ValidationError):
            raise
        fields = ", ".join(".".join(map(str, one["loc"])) for one in error.__cause__.errors())
        raise ConfigurationError(
            f"The block {_document(block_type, name)} does not fit any more: {fields}. Save it again."
        ) from None
    except ValueError as error:
        if not isinstance(error.__cause__, ObjectNotFound):
            raise
        return None


def _document(block_type: type[Block], name: str) -> str:
    return f"{block_type.get_block_type_slug()}/{name}"


def _require(settings: Settings, missing: Sequence[str]) -> None:
    """Say which documents were looked for when a key is neither in them nor in the environment."""
    if missing:
        _logger().info("no block %s: the environment serves", ", ".join(missing))
    if settings.database_url is None:
        _logger().warning("neither a block nor DATABASE_URL names a database: the embedded Postgres serves")
    try:
        settings.require_keys()
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} These blocks do not exist either: {', '.join(missing)}.") from None


def _logger() -> logging.Logger | LoggingAdapter:
    """Return the flow run's logger, or the console's where no flow runs."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("blocks")
