"""All that a Prefect server needs besides the deployments, in the order in which one thing needs another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from deployments.bootstrap.automations import ensure_automations, read_automations
from deployments.bootstrap.documents import (
    ALERTS_DOCUMENT,
    Document,
    alert_documents,
    ensure_documents,
    ensure_types,
    key_documents,
    storage_documents,
)
from deployments.bootstrap.limits import ensure_limits
from deployments.bootstrap.outcome import Outcome
from deployments.bootstrap.work_pools import ensure_ecs_pool, ensure_local_pool
from deployments.ecs.job_template import base_job_template
from deployments.ecs.outputs import Outputs
from deployments.local import ensure_prefect_server
from deployments.local.environment import configured_api_url
from deployments.local.network import answers
from deployments.local.prefect_server import NAME
from deployments.local.processes import running
from deployments.local.worker import POOL
from visibility.errors import ConfigurationError
from visibility.settings import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the server shall have; without `outputs` nothing of AWS, without a webhook nobody is told."""

    settings: Settings
    outputs: Outputs | None = None
    local: bool = True
    ecs: bool = True  # where there are outputs
    webhook_url: str | None = None
    keys_as: str | None = None

    def _flows_blocks(self) -> list[str]:
        """Return the names under which flows look for their webhook: those on ECS under the pool's, whatever is set."""
        here = self.settings.slack_webhook_block or ALERTS_DOCUMENT
        return sorted({here, ALERTS_DOCUMENT} if self.outputs else {here})

    def documents(self) -> list[Document]:
        """Return the block documents."""
        return [
            *(storage_documents(self.outputs) if self.outputs else ()),
            *(alert_documents(self.webhook_url, self._flows_blocks()) if self.webhook_url else ()),
            *(key_documents(self.keys_as, self.settings) if self.keys_as else ()),
        ]


async def put_everything_in_place(wanted: Wanted, *, check: bool) -> list[Outcome]:
    """Create or update everything at the configured server, or the local one, and say what became of each.

    With `check` nothing is changed. Raises ConfigurationError for a file that is no automation (before anything is
    made), and a server that does not answer or refuses.
    """
    automations = read_automations()
    if wanted.ecs and wanted.outputs is not None:
        _require_password_by_reference(wanted.outputs)
    async with _server(wanted.settings, check) as client:
        return [
            *await _pools(client, wanted, check),
            *await ensure_limits(client, wanted.settings.brightdata, check=check),
            *await ensure_types(client, check=check),
            *await ensure_documents(wanted.documents(), check=check),
            *await ensure_automations(client, automations, await _told_by(client, wanted), check=check),
        ]


@asynccontextmanager
async def _server(settings: Settings, check: bool) -> AsyncIterator[PrefectClient]:
    """Give a client of the server; what the server answers in the way of errors becomes one sentence."""
    api_url = _api_url(settings, check)
    try:
        with temporary_settings({PREFECT_API_URL: api_url}):
            async with get_client() as client:
                yield client
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        hint = "; set PREFECT_API_AUTH_STRING or PREFECT_API_KEY" if status in (401, 403) else ""
        raise ConfigurationError(f"The Prefect server at {api_url} refuses with status {status}{hint}.") from None
    except httpx.TransportError as error:
        raise ConfigurationError(f"The Prefect server at {api_url} cannot be reached: {error}.") from None


def _require_password_by_reference(outputs: Outputs) -> None:
    """Refuse a pool whose worker would copy its own password in clear into every task that it starts."""
    if outputs.prefect_auth_string_key is None and get_current_settings().api.auth_string is not None:
        raise ConfigurationError(
            "The Prefect server has a password (PREFECT_API_AUTH_STRING), and the outputs do not say under which key "
            "of the secret tasks find it: set Terraform's prefect_auth_string_key and apply."
        )


def _api_url(settings: Settings, check: bool) -> str:
    """Return the address of the configured server, else of the local one, which a check does not start.

    A configured server that is away is not replaced by a local one: people would look for their pools there.
    """
    if (configured := configured_api_url()) is not None:
        if answers(f"{configured.rstrip('/')}/health", timeout_seconds=5):
            return configured
        raise ConfigurationError(f"The Prefect server at {configured} (PREFECT_API_URL) does not answer.")
    if check and running(settings.data_folder, NAME) is None:
        raise ConfigurationError("PREFECT_API_URL is not set and no local Prefect server runs; `make up` starts one.")
    return ensure_prefect_server(settings.data_folder, database_url=settings.database_url)


async def _pools(client: PrefectClient, wanted: Wanted, check: bool) -> list[Outcome]:
    pools = []
    if wanted.local:
        pools.append(await ensure_local_pool(client, POOL, check=check))
    if wanted.ecs and wanted.outputs is not None:
        template = base_job_template(wanted.outputs)
        pools.append(await ensure_ecs_pool(client, wanted.outputs.work_pool, template, check=check))
    return pools


async def _told_by(client: PrefectClient, wanted: Wanted) -> UUID | None:
    """Return the id of the block through which automations tell people, whoever saved it.

    Where it is wanted and a check finds it missing, it has no id yet: the nil UUID, which fits no automation.
    """
    slug = CustomWebhookNotificationBlock.get_block_type_slug()
    try:
        return (await client.read_block_document_by_name(ALERTS_DOCUMENT, slug)).id
    except ObjectNotFound:
        return UUID(int=0) if wanted.webhook_url else None
