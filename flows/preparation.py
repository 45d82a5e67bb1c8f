"""What every command does before its flow runs: check what can be wrong, find or start what is needed.

Heavy libraries are imported where they are needed: Prefect alone takes 1.5 s, which help and refusals do not wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import UUID

from visibility.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from visibility.domain import Network, Org
    from visibility.settings import Settings

World = dict[str, Any]
Work = Literal["asks", "reads", "looks"]
"""Which keys a command needs: of vendors and LLM to ask, of the LLM to read stored answers, none to look."""

Result = TypeVar("Result")

EVERYBODY = UUID(int=0)  # the subject of what is about no org or network in particular


@dataclass(frozen=True, slots=True)
class Vendors:
    """Whom a command asks: the real vendors, or a sandbox that runs at `sandbox_url` or is started."""

    sandbox: bool
    time_scale: float
    sandbox_url: str | None


@dataclass(frozen=True, slots=True)
class Subject:
    """The org or network that a command is about, and what a sandbox is told of it: orgs with their questions."""

    subject_id: UUID
    world: World


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done with which settings, and the Prefect API that the run reports to.

    `shares_jobs`: questions of several owners wait for each other, to travel in common vendor jobs. `patient`: reading
    may wait for the LLM's Batch API.
    """

    subject_id: UUID
    settings: Settings
    api_url: str
    work: Work = "asks"
    shares_jobs: bool = False
    patient: bool = False


def prepare(
    find: Callable[[Session], Subject],
    vendors: Vendors,
    *,
    file: Path | None = None,
    work: Work = "asks",
    shares_jobs: bool = False,
    patient: bool = False,
) -> Job:
    """Check everything that can be wrong, cheap things first, then start what does not run yet.

    `file` is what `find` loads: nothing of it stays when `find` refuses. Raises VisibilityError with one sentence.
    """
    settings = _settings(vendors, work)
    subject = _found(settings, find, file)
    settings = _connect_vendors(settings, subject, vendors) if vendors.sandbox else settings
    return Job(subject.subject_id, settings, _connect_prefect(settings), work, shares_jobs, patient)


def look(read: Callable[[Session, Settings], Result], vendors: Vendors) -> Result:
    """Read from the database what a run with these vendors would find, without anything that the run itself needs.

    No key, no sandbox; a Prefect server only where the settings are in its blocks.
    """
    settings = _settings(vendors, "looks")
    settings = settings.for_sandbox("", vendors.time_scale) if vendors.sandbox else settings
    return _found(settings, lambda session: read(session, settings), None)


def chosen(ids: Sequence[UUID], names: Sequence[str], wanted: UUID | None, file: Path, kind: str, hint: str) -> UUID:
    """Return the one org or network of a loaded file that a command is about; `kind` is "organisation" or "network".

    Raises InvalidInput with what to do: `hint` where the file holds none at all.
    """
    listed = ", ".join(f"{found} ({name})" for found, name in zip(ids, names, strict=True))
    if not ids:
        raise InvalidInput(f"{file} holds no {kind}. {hint}")
    if wanted is not None and wanted not in ids:
        raise InvalidInput(f"{file} holds no {kind} {wanted}. It holds {listed}.")
    if wanted is None and len(ids) > 1:
        option = {"organisation": "--org-id", "network": "--network-id"}[kind]
        raise InvalidInput(f"{file} holds {len(ids)} {kind}s; choose one with {option}: {listed}.")
    return wanted or ids[0]


def world_of_orgs(orgs: Sequence[Org]) -> World:
    """Return what a sandbox is told of orgs."""
    return {
        "orgs": [
            {
                "name": org.name,
                "websites": list(org.websites),
                "questions": [question.text for question in org.questions],
            }
            for org in orgs
        ]
    }


def world_of_network(session: Session, network: Network) -> World:
    """Return what a sandbox is told of a network: its questions are about any of its members; nothing without them."""
    from visibility.store.orgs import load_orgs

    members = load_orgs(session, [member.org_id for member in network.members])
    orgs = [{"name": org.name, "websites": list(org.websites)} for org in members]
    questions = [question.text for question in network.questions]
    return {"networks": [{"questions": questions, "orgs": orgs}]} if orgs else {}


def _settings(vendors: Vendors, work: Work) -> Settings:
    """Read the settings, with the secret and the blocks when they are named; check keys, models and sandbox."""
    from visibility.settings import read_settings

    settings = read_settings()
    if vendors.sandbox:
        _check_llm(settings.for_sandbox("", 1))
        if vendors.sandbox_url is not None:
            _check_sandbox(vendors.sandbox_url)
        return settings
    if settings.blocks or settings.secret_block:
        settings = _settings_from_blocks(settings, work)
    if work != "looks":
        settings.require_keys(asks=work == "asks")
        _check_llm(settings)
    return settings


def _check_llm(settings: Settings) -> None:
    from visibility.llm.client import LlmClient

    if settings.llm.configured:
        LlmClient(settings.llm)


def _check_sandbox(sandbox_url: str) -> None:
    from deployments.local.network import answers

    if not answers(f"{sandbox_url}/_health"):
        raise ConfigurationError(f"No sandbox answers at {sandbox_url}; without --sandbox-url one is started.")


def _settings_from_blocks(settings: Settings, work: Work) -> Settings:
    _connect_prefect(settings)

    import asyncio

    from blocks.configuration import settings_from_blocks

    return asyncio.run(settings_from_blocks(asks=work == "asks", reads=work != "looks"))


def _found(settings: Settings, find: Callable[[Session], Result], file: Path | None) -> Result:
    from visibility.store.database import connect
    from visibility.store.yaml_lines import read_source

    if file is not None:
        read_source(file)  # a file that cannot be read is refused before a database is started for it
    database = connect(settings)
    try:
        with database.transaction() as session:
            return find(session)
    finally:
        database.close()


def _connect_vendors(settings: Settings, subject: Subject, vendors: Vendors) -> Settings:
    """Find or start the sandbox, tell it of the orgs, and point every vendor at it."""
    import httpx

    from deployments.local import ensure_sandbox

    time_scale = vendors.time_scale
    url = (vendors.sandbox_url or ensure_sandbox(settings.data_folder, time_scale=time_scale)).rstrip("/")
    try:
        if subject.world:
            httpx.post(f"{url}/_world", json=subject.world, timeout=10).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"What answers at {url} is no sandbox ({type(error).__name__}).") from error
    return settings.for_sandbox(url, time_scale)


def _connect_prefect(settings: Settings) -> str:
    """Find or start a Prefect server; what is imported of Prefect after this talks to it."""
    from deployments.local import ensure_prefect_server, prefect_environment

    api_url = ensure_prefect_server(settings.data_folder, database_url=settings.database_url)
    os.environ.update(prefect_environment(settings.data_folder, api_url))
    return api_url
