"""Who would pay for a night, how much would be held for it, and whether balances and spend limits cover that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel

from visibility.billing.payers import Payer, who_pays
from visibility.domain import PayerType
from visibility.load_report import Quotes
from visibility.store.nights import LeftReading, LimitedOrg, Purse
from visibility.store.schedules import Scheduled


@dataclass(frozen=True, slots=True)
class Charge:
    """What one org's evaluations of a night would be held for: `answers` at a price, USD."""

    payer: Payer
    org_id: UUID
    answers: int
    price_usd: Decimal

    @property
    def amount_usd(self) -> Decimal:
        """The price of all of them."""
        return self.answers * self.price_usd


class PlannedPayer(BaseModel):
    """What a payer would be held for at most, at the quoted prices, and what it has for that; USD.

    `answers` are evaluated ones, a network's once per member. `held_usd` is what other batches hold already,
    `short_usd` what is missing to pay for everything, 0 where it is covered.
    """

    payer_type: PayerType
    payer_id: UUID
    name: str
    orgs: int
    answers: int
    lowest_price_usd: Decimal
    highest_price_usd: Decimal
    amount_usd: Decimal
    balance_usd: Decimal
    held_usd: Decimal
    short_usd: Decimal


class OverLimit(BaseModel):
    """An org whose spend limit does not cover its part of the night; USD."""

    org_id: UUID
    name: str
    spend_limit_usd: Decimal
    left_usd: Decimal
    needed_usd: Decimal


def charges_of(work: Sequence[Scheduled], left: Sequence[LeftReading], quotes: Quotes) -> list[Charge]:
    """Return a charge for every org that something would be evaluated for, its answers once each."""
    uncharged = {(one.batch_id, one.org_id): one.uncharged for one in left}
    return [
        charge
        for owner in work
        for org_id, is_free_tier, readers in _readers(owner)
        if (charge := _charge(owner, org_id, is_free_tier, readers, uncharged, quotes)).answers
    ]


def payers_of(charges: Sequence[Charge], purses: Mapping[Payer, Purse]) -> list[PlannedPayer]:
    """Return what each payer would be held for: those who are short of money first, then by amount."""
    theirs: dict[Payer, list[Charge]] = defaultdict(list)
    for charge in charges:
        theirs[charge.payer].append(charge)
    planned = [_planned(purses[payer], found) for payer, found in theirs.items()]
    return sorted(planned, key=lambda one: (-one.short_usd, -one.amount_usd, one.name))


def over_limits(charges: Sequence[Charge], limited: Sequence[LimitedOrg]) -> list[OverLimit]:
    """Return the orgs whose spend limit does not cover what they would be held for."""
    needed: dict[UUID, Decimal] = defaultdict(Decimal)
    for charge in charges:
        needed[charge.org_id] += charge.amount_usd
    found = [
        OverLimit(
            org_id=org.org_id,
            name=org.name,
            spend_limit_usd=org.spend_limit_usd,
            left_usd=org.spend_limit_usd - org.committed_usd,
            needed_usd=needed[org.org_id],
        )
        for org in limited
    ]
    return [org for org in found if org.needed_usd > org.left_usd]


def _readers(owner: Scheduled) -> Iterator[tuple[UUID, bool, int]]:
    """Yield each org that the answers are evaluated for, whether it is of the free tier, and how many there are."""
    if owner.scope == "org":
        yield owner.owner_id, owner.is_free_tier, 1
    for member in owner.members:
        yield member.org_id, False, len(owner.members)


def _charge(
    owner: Scheduled,
    org_id: UUID,
    is_free_tier: bool,
    readers: int,
    uncharged: Mapping[tuple[UUID, UUID], int],
    quotes: Quotes,
) -> Charge:
    answered = uncharged.get((owner.batch_id, org_id), 0) if owner.batch_id else 0
    payer = who_pays(owner.scope, is_free_tier=is_free_tier, org_id=org_id, partner_id=owner.partner_id)
    return Charge(payer, org_id, owner.to_ask + answered, quotes.price(owner.partner_id, readers))


def _planned(purse: Purse, charges: Sequence[Charge]) -> PlannedPayer:
    amount = sum((charge.amount_usd for charge in charges), Decimal(0))
    return PlannedPayer(
        payer_type=purse.payer.payer_type,
        payer_id=purse.payer.payer_id,
        name=purse.name,
        orgs=len({charge.org_id for charge in charges}),
        answers=sum(charge.answers for charge in charges),
        lowest_price_usd=min(charge.price_usd for charge in charges),
        highest_price_usd=max(charge.price_usd for charge in charges),
        amount_usd=amount,
        balance_usd=purse.balance_usd,
        held_usd=purse.held_usd,
        short_usd=max(amount - (purse.balance_usd - purse.held_usd), Decimal(0)),
    )
