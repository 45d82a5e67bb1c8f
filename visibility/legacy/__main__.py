"""Leave the old system: `import` takes it over, `compare` puts both side by side, `give-back` returns a partner's
money; docs/migration.md says when to do what.

Exit status: 0 done; 1 a partner could not be imported, `--check` misses something, or `compare` found more than is
tolerated; 2 the input, a mapping or a database is wrong; 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import typer
from sqlalchemy.exc import DBAPIError

from visibility.display import printable, terminal
from visibility.errors import InvalidInput, VisibilityError
from visibility.legacy.balances import GIVEN_BACK_NOTE, give_back, payers_of
from visibility.legacy.change_over import lift_mark
from visibility.legacy.comparison import Tolerances, Window, compare
from visibility.legacy.display import print_differences, print_findings, print_report, records, write_csv
from visibility.legacy.importing import Choices, history_days, import_legacy
from visibility.legacy.mapping import read_mapping
from visibility.legacy.source import LegacyDatabase, opened
from visibility.legacy.urls import legacy_url as legacy_url_of
from visibility.legacy.urls import our_settings, shown
from visibility.store.database import Database, connect

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True, help=__doc__
)

LegacyUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The old system's Postgres, which is only read; default: LEGACY_DATABASE_URL, also in .env."),
]
DatabaseUrl: TypeAlias = Annotated[str | None, typer.Option(help="Ours; default: DATABASE_URL, also in .env.")]
Embedded: TypeAlias = Annotated[bool, typer.Option("--embedded", help="Ours is the embedded one of this machine.")]
MappingFile: TypeAlias = Annotated[Path | None, typer.Option(help="YAML with other names of tables and columns.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Ratio: TypeAlias = Annotated[float, typer.Option(min=0, help="Largest difference as a ratio of the larger figure.")]
TOLERANCES = Tolerances()
FAILED, DIFFERENT, REFUSED = 1, 1, 2  # exit statuses


def _day(help_text: str) -> Any:
    return typer.Option(parser=_parsed_day, metavar="YYYY-MM-DD", help=help_text)


def _parsed_day(value: str | date) -> date:
    try:
        return value if isinstance(value, date) else date.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no date such as 2026-11-23.") from None


@app.command("import")
def import_(
    legacy_url: LegacyUrl = None,
    database_url: DatabaseUrl = None,
    embedded: Embedded = False,
    mapping: MappingFile = None,
    check: Annotated[bool, typer.Option("--check", help="Only say which tables and columns are missing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be changed; change nothing.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be taken.")] = False,
    final: Annotated[
        bool, typer.Option("--final", help="These partners change over: with today's history, and never again.")
    ] = False,
    partner: Annotated[list[UUID] | None, typer.Option(help="Only this partner; may be repeated.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave out one kind of list, such as schedules.")] = None,
    history: Annotated[bool, typer.Option(help="Batches, answers, evaluations and charges, too.")] = True,
    history_since: Annotated[date | None, _day("First day of the history; default: all.")] = None,
    history_before: Annotated[
        date | None, _day("First day that is not history any more; default: today, with --final tomorrow.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take the old system's tenants, balances and history over; run again, it changes only what is new."""
    days = history_days(history, history_since, history_before, datetime.now(UTC).date(), final)
    choices = Choices(days, frozenset(partner or ()), frozenset(without or ()), dry_run, strict, final)
    with _refusing(), _theirs(legacy_url, mapping) as source:
        if check:
            _show_findings(source, as_json)
            return
        with _ours(database_url, embedded) as database:
            report = import_legacy(database, source, choices, lambda line: typer.echo(line, err=True))
    if as_json:
        _print_json(report.as_document())
    else:
        print_report(report, terminal())
    for failure in report.failures:
        typer.echo(f"error: {printable(failure)}", err=True)
    if report.failures:
        raise typer.Exit(FAILED)


@app.command("give-back")
def give_back_(
    partner: Annotated[UUID, typer.Option(help="Who returns to the old system.")],
    database_url: DatabaseUrl = None,
    embedded: Embedded = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say the amounts; change nothing.")] = False,
) -> None:
    """Say what the old balances of a partner and its orgs are to be moved by, and take that out of ours."""
    with _refusing(), _ours(database_url, embedded) as database, database.transaction() as session:
        moved = {payer: amount for payer in payers_of(session, partner) if (amount := give_back(session, payer))}
        lift_mark(session, partner)
        if dry_run:
            session.rollback()
    for payer, amount in moved.items():
        typer.echo(f"{payer}: {'add' if amount > 0 else 'take'} {abs(amount)} USD in the old system")
    kept = f"These amounts stand in credit_top_ups, too, with the other sign and the note {GIVEN_BACK_NOTE!r}."
    typer.echo("Nothing has moved here." if not moved else "Dry run: nothing was changed." if dry_run else kept)


@app.command("compare")
def compare_(
    legacy_url: LegacyUrl = None,
    database_url: DatabaseUrl = None,
    embedded: Embedded = False,
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
    with _refusing(), _theirs(legacy_url, mapping) as source, _ours(database_url, embedded) as database:
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
def _theirs(given: str | None, mapping: Path | None) -> Iterator[LegacyDatabase]:
    with opened(legacy_url_of(given), read_mapping(mapping)) as source:
        typer.echo(f"old system: {shown(source.connection.engine.url)}", err=True)
        yield source


@contextmanager
def _ours(given: str | None, embedded: bool) -> Iterator[Database]:
    with closing(connect(our_settings(given, embedded))) as database:
        typer.echo(f"new system: {shown(database.engine.url)}", err=True)
        yield database


@contextmanager
def _refusing() -> Iterator[None]:
    """Leave with one sentence when something is wrong."""
    try:
        try:
            yield
        except DBAPIError as error:
            raise InvalidInput(f"The database refuses it: {' '.join(str(error.orig).split())}.") from error
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
