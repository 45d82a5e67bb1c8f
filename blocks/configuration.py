"""Settings of a deployment: from `.env`, the environment, an AWS secret and the product's blocks, each over the last.

`VISIBILITY_SECRET_BLOCK=visibility` names the document of a secret with settings: see `blocks.aws`.
`VISIBILITY_BLOCKS=production` names the documents to load: `senso-bright-data-credentials/production`,
`senso-azure-openai-credentials/production` or else `senso-openai-credentials/production`, and
`senso-results-database/production`. Without the two nothing but the environment is looked at. Secret and documents are
read at the start of each flow run, so that a new key serves the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from prefect.logging.loggers import LoggingAdapter

from blocks.aws import read_secret_settings
from blocks.bright_data import BrightDataCredentials
from blocks.database import ResultsDatabase
from blocks.documents import document_name, load_document
from blocks.openai import AzureOpenAICredentials, OpenAICredentials
from visibility.errors import ConfigurationError
from visibility.settings import Settings, read_settings


async def settings_from_blocks(*, asks: bool = True, reads: bool = True) -> Settings:
    """Return the environment's settings, completed from the secret and the blocks that they name.

    `asks`, `reads`: whether the keys of vendors, and of the LLM, are needed. In a simulation the secret stays closed:
    no real key comes near a sandbox. Raises ConfigurationError for a document that is not there or no longer fits its
    block, a secret that cannot be used, and keys that are nowhere; RetryableError while AWS cannot be reached.
    """
    settings, nowhere = read_settings(), []
    if settings.secret_block is not None and not settings.sandbox:
        secret = await read_secret_settings(settings.secret_block)
        settings = read_settings(secret.values)
        _logger().info("settings from %s: %s", secret.called, ", ".join(secret.names) or "none")
        nowhere.append(f"{secret.called} (it holds {', '.join(secret.names) or 'no setting'})")
    if settings.blocks is not None:
        settings, absent = await _over(settings, settings.blocks)
        nowhere += [f"the block {document}, which does not exist" for document in absent]
    if nowhere and reads:
        _require(settings, nowhere, asks=asks)
    return settings


async def _over(settings: Settings, name: str) -> tuple[Settings, list[str]]:
    """Lay the product's blocks of a name over the settings; return the documents that do not exist, too."""
    bright_data = await load_document(BrightDataCredentials, name)
    llm = await load_document(AzureOpenAICredentials, name) or await load_document(OpenAICredentials, name)
    database = await load_document(ResultsDatabase, name)
    for block in (bright_data, llm, database):
        settings = settings if block is None else block.over(settings)
    looked_for = ((BrightDataCredentials, bright_data), (OpenAICredentials, llm), (ResultsDatabase, database))
    absent = [document_name(block_type, name) for block_type, block in looked_for if block is None]
    if absent:
        _logger().info("no block %s: what else is configured serves", ", ".join(absent))
    return settings, absent


def _require(settings: Settings, nowhere: Sequence[str], *, asks: bool) -> None:
    """Say where was looked for a key that is nowhere."""
    if settings.database_url is None:
        _logger().warning("neither secret, block nor DATABASE_URL names a database: the embedded Postgres serves")
    try:
        settings.require_keys(asks=asks)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} Nor is it in {', nor in '.join(nowhere)}.") from None


def _logger() -> logging.Logger | LoggingAdapter:
    """Return the flow run's logger, or the console's where no flow runs."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("blocks")
