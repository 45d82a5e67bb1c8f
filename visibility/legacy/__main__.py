"""The commands: `python -m visibility.legacy import` and `python -m visibility.legacy compare`; docs/migration.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import typer
from sqlalchemy.exc import IntegrityError

from visibility.display import terminal
from visibility.errors import InvalidInput, VisibilityError
from visibility.legacy.balances import give_back, payers_of
from visibility.legacy.comparison import Tolerances, Window, compare
from visibility.legacy.display import print_differences, print_findings, print_report, records, write_csv
from visibility.legacy.importing import Choices, history_days, import_legacy
from visibility.legacy.mapping import read_mapping
from visibility.legacy.source import LegacyDatabase, opened
from visibility.settings import Settings, read_settings
from visibility.store.database import Database, connect

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True, help=__doc__
)

LegacyUrl: TypeAlias = Annotated[
    str, typer.Option(envvar="LEGACY_DATABASE_URL", help="The old system's Postgres; it is only read.")
]
DatabaseUrl: TypeAlias = Annotated[str | None, typer.Option(help="Ours; default: as configured.")]
MappingFile: TypeAlias = Annotated[Path | None, typer.Option(help="YAML with other names of tables and columns.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Ratio: TypeAlias = Annotated[float, typer.Option(min=0, help="Largest difference as a ratio of the larger figure.")]
TOLERANCES = Tolerances()
DIFFERENT, REFUSED = 1, 2  # exit statuses


def _day(help_text: str) -> Any:
    return typer.Option(parser=_parsed_day, metavar="YYYY-MM-DD", help=help_text)


def _parsed_day(value: str | date) -> date:
    try:
        return value if isinstance(value, date) else date.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no date such as 2026-11-23.") from None


@app.command("import")
def import_(
    legacy_url: LegacyUrl,
    database_url: DatabaseUrl = None,
    mapping: MappingFile = None,
    check: Annotated[bool, typer.Option("--check", help="Only say which tables and columns are missing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be changed; change nothing.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be taken.")] = False,
    partner: Annotated[list[UUID] | None, typer.Option(help="Only this partner; may be repeated.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave out one kind of list, such as schedules.")] = None,
    history: Annotated[bool, typer.Option(help="Batches, answers, evaluations and charges, too.")] = True,
    history_since: Annotated[date | None, _day("First day of the history; default: all.")] = None,
    history_before: Annotated[date | None, _day("First day that is not history any more; default: today.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take the old system's tenants, balances and history over; run again, it changes only what is new."""
    days = history_days(history, history_since, history_before, datetime.now(UTC).date())
    choices = Choices(days, frozenset(partner or ()), frozenset(without or ()), dry_run, strict)
    with _refusing(), opened(legacy_url, read_mapping(mapping)) as source:
        if check:
            _show_findings(source, as_json)
            return
        with _ours(database_url) as database:
            report = import_legacy(database, source, choices, lambda line: typer.echo(line, err=True))
    if as_json:
        _print_json(report.as_document())
    else:
        print_report(report, terminal())


@app.command("give-back")
def give_back_(
    partner: Annotated[UUID, typer.Option(help="Who returns to the old system.")],
    database_url: DatabaseUrl = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say the amounts; change nothing.")] = False,
) -> None:
    """Say what the old balances of a partner and its orgs are to be moved by, and take that out of ours."""
    with _refusing(), _ours(database_url) as database, database.transaction() as session:
        for payer in payers_of(session, partner):
            moved = give_back(session, payer)
            if moved:
                typer.echo(f"{payer}: {'add' if moved > 0 else 'take'} {abs(moved)} USD in the old system")
        if dry_run:
            session.rollback()


@app.command("compare")
def compare_(
    legacy_url: LegacyUrl,
    database_url: DatabaseUrl = None,
    mapping: MappingFile = None,
    since: Annotated[date | None, _day("First day; default: a week before the last.")] = None,
    until: Annotated[date | None, _day("Last day; default: yesterday.")] = None,
    org: Annotated[list[UUID] | None, typer.Option(help="Only this org; may be repeated.")] = None,
    runs: Ratio = TOLERANCES.runs,
    mentions: Ratio = TOLERANCES.mentions,
    cost: Ratio = TOLERANCES.cost,
    charged: Ratio = TOLERANCES.charged,
    everything: Annotated[bool, typer.Option("--all", help="Show what is within the tolerances, too.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write every line into this file, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare what both systems did; exit status 1 when something is further apart than allowed."""
    window = _window(since, until, org or ())
    with _refusing(), opened(legacy_url, read_mapping(mapping)) as source, _ours(database_url) as database:
        with database.transaction() as session:
            differences = compare(session, source, window, Tolerances(runs, mentions, cost, charged))
        if csv is not None:
            write_csv(differences, csv)
    if as_json:
        _print_json(records(differences))
    else:
        print_differences(differences, everything, terminal())
    if any(difference.beyond for difference in differences):
        raise typer.Exit(DIFFERENT)


def _window(since: date | None, until: date | None, orgs: Any) -> Window:
    last = until or datetime.now(UTC).date() - timedelta(days=1)
    return Window(since or last - timedelta(days=6), last, frozenset(orgs))


def _show_findings(source: LegacyDatabase, as_json: bool) -> None:
    findings = source.check()
    if as_json:
        names = ("name", "where", "said", "optional", "there", "missing", "left_out", "hinders")
        _print_json([{name: getattr(finding, name) for name in names} for finding in findings])
    else:
        print_findings(findings, terminal())
    if any(finding.hinders for finding in findings):
        raise typer.Exit(DIFFERENT)


@contextmanager
def _ours(database_url: str | None) -> Iterator[Database]:
    with closing(connect(Settings(database_url=database_url) if database_url else read_settings())) as database:
        yield database


@contextmanager
def _refusing() -> Iterator[None]:
    """Leave with one sentence when something is wrong."""
    try:
        try:
            yield
        except IntegrityError as error:
            reason = " ".join(str(error.orig).split())
            raise InvalidInput(
                f"What is here contradicts what comes from the old system: {reason}. What was finished before is kept."
            ) from error
    except VisibilityError as error:
        for line in error.message.splitlines():
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(REFUSED) from error
    except KeyboardInterrupt:
        typer.echo("Stopped. What was finished is kept; the same command continues where it stopped.", err=True)
        raise typer.Exit(130) from None


def _print_json(document: object) -> None:
    typer.echo(json.dumps(document, indent=2, default=str))


if __name__ == "__main__":
    app(prog_name="python -m visibility.legacy")
