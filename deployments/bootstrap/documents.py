"""Block types of the product, and the block documents that deployments find by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.types import SecretDict
from prefect_slack import SlackWebhook
from pydantic import BaseModel, SecretStr

from blocks import AzureOpenAICredentials, BrightDataCredentials, OpenAICredentials, ResultsDatabase
from blocks.aws import RESULTS_DOCUMENT, SECRET_DOCUMENT, results_block, secret_block
from blocks.documents import document_name, load_document
from deployments.bootstrap.outcome import Outcome, put_in_place
from deployments.ecs.outputs import Outputs
from visibility.errors import ConfigurationError
from visibility.settings import Settings

TYPES: Sequence[type[Block]] = (BrightDataCredentials, OpenAICredentials, AzureOpenAICredentials, ResultsDatabase)
ALERTS_DOCUMENT = "visibility-alerts"

Document = tuple[str, Block]


async def ensure_types(client: PrefectClient, *, check: bool) -> list[Outcome]:
    """Register the product's block types, so that the UI has forms for them."""
    return [await _ensure_type(client, block_type, check) for block_type in TYPES]


async def _ensure_type(client: PrefectClient, block_type: type[Block], check: bool) -> Outcome:
    slug = block_type.get_block_type_slug()
    differs: bool | None
    try:
        await client.read_block_type_by_slug(slug)
    except ObjectNotFound:
        differs = None
    else:
        differs = not await _has_schema(client, block_type)

    def register() -> Any:
        return block_type.aregister_type_and_schema(client=client)

    return await put_in_place("block type", slug, differs=differs, create=register, update=register, check=check)


async def _has_schema(client: PrefectClient, block_type: type[Block]) -> bool:
    try:
        await client.read_block_schema_by_checksum(block_type._calculate_schema_checksum())
    except ObjectNotFound:
        return False
    return True


async def ensure_documents(documents: Sequence[Document], *, check: bool) -> list[Outcome]:
    """Save documents that are not there or hold something else."""
    return [await _ensure_document(name, block, check) for name, block in documents]


async def _ensure_document(name: str, block: Block, check: bool) -> Outcome:
    try:
        found = await load_document(type(block), name)
    except ConfigurationError:  # it no longer fits its type: replaced
        differs: bool | None = True
    else:
        differs = None if found is None else plain(found) != plain(block)

    async def save() -> object:
        return await block.save(name, overwrite=True)

    return await put_in_place(
        "block", document_name(type(block), name), differs=differs, create=save, update=save, check=check
    )


def plain(block: BaseModel) -> dict[str, Any]:
    """Return what a block holds, secrets revealed, to be compared and never to be shown."""
    return {name: _revealed(getattr(block, name)) for name in type(block).model_fields}


def _revealed(value: Any) -> Any:
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    return plain(value) if isinstance(value, BaseModel) else value


def storage_documents(outputs: Outputs) -> list[Document]:
    """Return where results go and where keys come from on AWS; neither holds a key."""
    return [
        (RESULTS_DOCUMENT, results_block(outputs.results_bucket, outputs.region)),
        (SECRET_DOCUMENT, secret_block(outputs.secret_arn, outputs.region)),
    ]


def alert_documents(webhook_url: str, flows_blocks: Sequence[str]) -> list[Document]:
    """Return the blocks that post to Slack: of flows, under the names that they look for, and of automations.

    Automations run in the server, which need not have prefect-slack installed: theirs is a block of Prefect itself.
    """
    automations = CustomWebhookNotificationBlock(
        name=ALERTS_DOCUMENT,
        url="{{webhook}}",  # filled from the secrets, which are stored encrypted
        json_data={"text": "*{{subject}}*\n{{body}}"},
        headers=None,
        cookies=None,
        secrets=SecretDict({"webhook": webhook_url}),
    )
    of_flows = [(name, SlackWebhook(url=SecretStr(webhook_url))) for name in flows_blocks]
    return [*of_flows, (ALERTS_DOCUMENT, automations)]


def key_documents(name: str, settings: Settings) -> list[Document]:
    """Return the settings' keys as documents of the product's own types, for `VISIBILITY_BLOCKS=<name>`."""
    documents: list[Document] = []
    bright_data, llm = settings.brightdata, settings.llm
    if bright_data.api_key is not None:
        documents.append((name, BrightDataCredentials(api_key=bright_data.api_key, base_url=bright_data.base_url)))
    if llm.azure_openai_endpoint and llm.azure_openai_api_key and llm.azure_openai_deployment:
        azure = AzureOpenAICredentials(
            endpoint=llm.azure_openai_endpoint,
            api_key=llm.azure_openai_api_key,
            deployment=llm.azure_openai_deployment,
        )
        documents.append((name, azure))
    elif llm.openai_api_key is not None:
        documents.append((name, OpenAICredentials(api_key=llm.openai_api_key, base_url=llm.openai_base_url)))
    if settings.database_url is not None:
        database = ResultsDatabase(url=SecretStr(settings.database_url), pool_size=settings.database_pool_size)
        documents.append((name, database))
    return documents
