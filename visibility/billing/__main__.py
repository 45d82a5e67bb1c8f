"""Credits by hand: `python -m visibility.billing top-up | refund`; what is charged for answers needs nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import Annotated, TypeAlias
from uuid import UUID

import typer
from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.billing.refunds import refund
from visibility.billing.top_ups import top_up
from visibility.domain import PayerType
from visibility.errors import InvalidInput, VisibilityError
from visibility.settings import Settings, read_settings
from visibility.store.database import connect

DatabaseUrl: TypeAlias = Annotated[str | None, typer.Option(help="Postgres 14+; default: as configured.")]

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True, help=__doc__
)


def _usd(value: str | Decimal) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise typer.BadParameter(f"{value!r} is no amount such as 50 or 12.50.") from None
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -6:
        raise typer.BadParameter(f"{value} has more than six decimals or is no number.")
    return amount


@app.command("top-up")
def top_up_command(
    amount: Annotated[Decimal, typer.Option("--usd", parser=_usd, metavar="AMOUNT", help="What was paid in; above 0.")],
    note: Annotated[str, typer.Option(help="What explains it, such as the invoice; kept with the top-up.")],
    org_id: Annotated[UUID | None, typer.Option(help="The paying org.")] = None,
    partner_id: Annotated[UUID | None, typer.Option(help="The paying partner: of networks and free-tier orgs.")] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Add to a payer's balance, with a row that explains it. Every call adds."""
    if (org_id is None) == (partner_id is None):
        raise InvalidInput("Give one payer: --org-id or --partner-id.")
    payer_type: PayerType = "ORG" if org_id else "PARTNER"
    payer_id = org_id or partner_id
    assert payer_id is not None
    with _transaction(database_url) as session:
        _require_payer(session, payer_type, payer_id)
        balance = top_up(session, payer_type, payer_id, amount, note)
    typer.echo(f"{payer_type} {payer_id}: +{amount} USD ({note}), the balance is {balance} USD.")


@app.command("refund")
def refund_command(
    question_run: Annotated[UUID, typer.Option(help="The charged answer (question_run_id).")],
    org_id: Annotated[UUID, typer.Option(help="The org it was evaluated for.")],
    reason: Annotated[str, typer.Option(help="Kept with the entry.")],
    database_url: DatabaseUrl = None,
) -> None:
    """Give back what one answer was charged, once; it is not charged again."""
    with _transaction(database_url) as session:
        amount = refund(session, question_run, org_id, reason=reason)
    typer.echo(f"Refunded {amount} USD." if amount else "It was refunded before; nothing changed.")


@contextmanager
def _transaction(database_url: str | None) -> Iterator[Session]:
    database = connect(Settings(database_url=database_url) if database_url else read_settings())
    try:
        with database.transaction() as session:
            yield session
    finally:
        database.close()


def _require_payer(session: Session, payer_type: PayerType, payer_id: UUID) -> None:
    """A mistyped id would give somebody credits whom nobody knows."""
    table, column = ("orgs", "org_id") if payer_type == "ORG" else ("partners", "partner_id")
    found = session.execute(text(f"SELECT 1 FROM {table} WHERE {column} = :payer_id"), {"payer_id": payer_id})
    if found.one_or_none() is None:
        raise InvalidInput(f"There is no {payer_type.lower()} {payer_id}.")


def main() -> None:
    """Run the command; what is refused is one sentence and exit status 2."""
    try:
        app(prog_name="python -m visibility.billing")
    except VisibilityError as error:
        typer.echo(error.message, err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
