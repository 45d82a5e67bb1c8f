"""What became of one thing at the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from prefect.exceptions import ObjectAlreadyExists

State = Literal["created", "updated", "unchanged", "missing", "different", "left out"]
AS_WANTED: frozenset[State] = frozenset({"unchanged", "left out"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing by its kind and name, what became of it, and why where that is not plain."""

    kind: str
    name: str
    state: State
    why: str = ""

    def __str__(self) -> str:
        return f"{self.state:10} {self.kind} {self.name}{f' ({self.why})' if self.why else ''}"


async def put_in_place(
    kind: str,
    name: str,
    *,
    differs: bool | None,
    create: Callable[[], Awaitable[object]],
    update: Callable[[], Awaitable[object]],
    check: bool,
    why: str = "",
) -> Outcome:
    """Create what is not there (`differs` is None), update what differs; only say so when checking.

    What another bootstrap has made at the same moment is as wanted: both read the same files.
    """
    if differs is False:
        return Outcome(kind, name, "unchanged")
    if check:
        return Outcome(kind, name, "missing" if differs is None else "different", why)
    try:
        await (create() if differs is None else update())
    except ObjectAlreadyExists:
        return Outcome(kind, name, "unchanged", "made by somebody else at the same moment")
    return Outcome(kind, name, "created" if differs is None else "updated", why)
