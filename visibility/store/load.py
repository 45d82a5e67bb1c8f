"""Load tenants from YAML files: `python -m visibility.store.load FILE.yaml [FILE…]`.

Idempotent; each file is taken whole or not at all. The format is described in docs/loading.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from visibility.errors import VisibilityError
from visibility.settings import Settings, read_settings
from visibility.store.database import connect
from visibility.store.tenant_file import validated
from visibility.store.tenants import Writer
from visibility.store.yaml_lines import read_source


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """The orgs and networks of a file in its order, with their names; rows made, and rows altered or removed."""

    org_ids: tuple[UUID, ...]
    org_names: tuple[str, ...]
    network_ids: tuple[UUID, ...]
    network_names: tuple[str, ...]
    created: int
    updated: int


def load_file(session: Session, path: Path) -> LoadedFile:
    """Create or update what a file describes; raises InvalidFile: file, line, field, one complaint a line."""
    source = read_source(path)
    content = validated(source)
    writer = Writer(session, source)
    org_ids, network_ids = writer.write(content)
    session.flush()
    return LoadedFile(
        org_ids=tuple(org_ids),
        org_names=tuple(org.name for org in content.orgs),
        network_ids=tuple(network_ids),
        network_names=tuple(network.name for network in content.networks),
        created=writer.changes.created,
        updated=writer.changes.updated,
    )


def main(
    files: Annotated[list[Path], typer.Argument(help="YAML files, see examples/.")],
    database_url: Annotated[str | None, typer.Option(help="Postgres 14+; default: as configured.")] = None,
) -> None:
    """Create or update partners, networks, orgs, questions, models, locations, schedules and balances."""
    try:
        database = connect(Settings(database_url=database_url) if database_url else read_settings())
        try:
            for path in files:
                with database.transaction() as session:
                    loaded = load_file(session, path)
                _show(path, loaded)
        finally:
            database.close()
    except VisibilityError as error:
        for line in error.message.splitlines():
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(2) from error


def _show(path: Path, loaded: LoadedFile) -> None:
    typer.echo(f"{path}: {loaded.created} created, {loaded.updated} updated")
    for network_id, name in zip(loaded.network_ids, loaded.network_names, strict=True):
        typer.echo(f"  network {network_id}  {name}")
    for org_id, name in zip(loaded.org_ids, loaded.org_names, strict=True):
        typer.echo(f"  org {org_id}  {name}")


if __name__ == "__main__":
    typer.run(main)
