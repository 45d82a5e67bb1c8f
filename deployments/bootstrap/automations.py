"""Automations from the files of `deployments/automations`, in the form that `prefect automation create` reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from deployments.bootstrap.outcome import Outcome, put_in_place
from visibility.errors import ConfigurationError

FOLDER = Path(__file__).parents[1] / "automations"
NOTIFICATION = "send-notification"  # the action whose block is known only at the server: the files leave it out


def read_automations(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return the files' contents, by file name. Raises ConfigurationError for one that is no automation."""
    return [_read(path) for path in sorted(folder.glob("*.yaml"))]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} is no automation: it holds no mapping.")
    whole = with_block(content, UUID(int=0), str(path))
    understood = {} if whole is None else whole.model_dump()
    if unknown := unknown_fields(content, understood):
        raise ConfigurationError(f"{path} is no automation: {', '.join(unknown)} is no field of one.")
    return content


def with_block(content: dict[str, Any], block_id: UUID | None, called: str) -> AutomationCore | None:
    """Return the automation with its notifications' block; without one (None) only with its other actions, if any.

    Raises ConfigurationError for what is no automation.
    """
    given = [action for action in content.get("actions", []) if block_id is not None or not _tells(action)]
    actions = [{**action, "block_document_id": block_id} if _tells(action) else action for action in given]
    if not actions:
        return None
    try:
        return AutomationCore.model_validate({**content, "actions": actions})
    except ValidationError as error:
        raise ConfigurationError(f"{called} is no automation: {_first(error)}.") from None


def _tells(action: Any) -> bool:
    return isinstance(action, dict) and action.get("type") == NOTIFICATION


def _first(error: ValidationError) -> str:
    """Return the first error; what only says that an action is not of another kind is passed over."""
    found = error.errors(include_url=False)
    of_another_kind = [one["loc"][:-1] for one in found if one["loc"][-1:] == ("type",)]
    meant = [one for one in found if not any(one["loc"][: len(kind)] == kind for kind in of_another_kind)]
    if not meant:
        return f"{'.'.join(str(part) for part in found[0]['loc'][:2])} is of no kind that Prefect knows"
    return f"{'.'.join(str(part) for part in meant[0]['loc'])}: {meant[0]['msg']}"


async def ensure_automations(
    client: PrefectClient, contents: Sequence[dict[str, Any]], block_id: UUID | None, *, check: bool
) -> list[Outcome]:
    """Create the automations or bring them up to date; who is told is the block of that id."""
    return [await _ensure(client, content, block_id, check) for content in contents]


async def _ensure(client: PrefectClient, content: dict[str, Any], block_id: UUID | None, check: bool) -> Outcome:
    name = str(content["name"])
    wanted = with_block(content, block_id, name)
    if wanted is None:
        return Outcome("automation", name, "left out", "it only tells people, and no webhook is configured")
    found = await _the_one(client, name, check=check)
    differs = None if found is None else as_core(found) != as_core(wanted)

    async def create() -> None:
        await client.create_automation(wanted)
        await _the_one(client, name, check=check)  # another bootstrap may have created its own meanwhile

    async def update() -> None:
        assert found is not None
        every_field = AutomationCore(**as_core(wanted))  # what a file leaves out would stay, such as `enabled: false`
        await client.update_automation(found.id, every_field)

    silent = "" if block_id is not None else "without telling anybody: no webhook is configured"
    return await put_in_place(
        "automation", name, differs=differs, create=create, update=update, check=check, why=silent
    )


async def _the_one(client: PrefectClient, name: str, *, check: bool) -> Automation | None:
    """Return the automation of a name; of several that are alike the first by id stays, the others are deleted.

    Prefect takes a name twice, and everything would be told twice. Raises ConfigurationError where they differ.
    """
    found = sorted(await client.read_automations_by_name(name), key=lambda one: one.id)
    twins = found[1:]
    if any(as_core(one) != as_core(found[0]) for one in twins):
        raise ConfigurationError(f"There are {len(found)} automations called {name!r}; delete all but one.")
    for twin in twins if not check else ():
        with suppress(ObjectNotFound):  # the other bootstrap deletes the same ones
            await client.delete_automation(twin.id)
    return found[0] if found else None


def as_core(automation: AutomationCore) -> dict[str, Any]:
    """Return what a file can say, so that the server's copy and a file can be compared; events are sets."""
    return automation.model_dump(include=set(AutomationCore.model_fields) - {"owner_resource"})


def unknown_fields(said: Any, understood: Any, place: str = "") -> list[str]:
    """Return what a file says and Prefect would pass over in silence, such as `trigger.expct`."""
    if isinstance(said, dict) and isinstance(understood, dict):
        unknown = [f"{place}{key}" for key in said if key not in understood]
        pairs = [(f"{place}{key}.", said[key], understood[key]) for key in said if key in understood]
    elif isinstance(said, list) and isinstance(understood, list):
        unknown = []
        pairs = [(f"{place}{at}.", *both) for at, both in enumerate(zip(said, understood, strict=True))]
    else:
        return []
    return unknown + [name for inner, one, other in pairs for name in unknown_fields(one, other, inner)]
