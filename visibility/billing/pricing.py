"""The price of one evaluated answer: one pure function for the estimate before and the charge after.

Everything is Decimal USD; a price is rounded half up to six decimals once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Literal

from visibility.errors import ConfigurationError

DEFAULT_PRICE_USD = Decimal("0.05")
SIX_DECIMALS = Decimal("0.000001")
# its own context: the caller's precision or rounding must not change what a customer pays
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)

PricingMode = Literal["dynamic", "fixed"]


@dataclass(frozen=True, slots=True)
class PricingConfig:
    """What a partner pays for action `question_run`; `margin_pct` is a ratio 0–1 in spite of its name."""

    partner_name: str
    fixed_price: Decimal
    margin_pct: Decimal | None = None
    share_answer_cost: bool = True


@dataclass(frozen=True, slots=True)
class Price:
    """A price in USD with six decimals, and how it came about."""

    amount: Decimal
    mode: PricingMode
    margin_pct: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """What is debited for one run, and the part of its price that is absorbed; USD."""

    amount: Decimal
    absorbed: Decimal


def price(actual_cost_usd: Decimal, config: PricingConfig | None) -> Price:
    """Return the price of an answer that cost `actual_cost_usd` to ask and to evaluate.

    With 0 < margin < 1 and a cost above 0 it is cost ÷ (1 − margin), else the fixed price, without
    a config 0.05. Raises ConfigurationError, naming the partner, for a config that cannot be meant.
    """
    if config is None:
        return Price(DEFAULT_PRICE_USD.quantize(SIX_DECIMALS), "fixed")
    check_config(config)
    margin = config.margin_pct
    if margin is not None and 0 < margin < 1 and actual_cost_usd > 0:
        return Price(rounded(_EXACT.divide(actual_cost_usd, 1 - margin)), "dynamic", margin)
    return Price(rounded(config.fixed_price), "fixed", margin)


def check_config(config: PricingConfig) -> None:
    """Raise ConfigurationError for a margin outside 0–1 or a fixed price that is no amount."""
    margin = config.margin_pct
    if margin is not None and not (margin.is_finite() and 0 <= margin <= 1):
        raise ConfigurationError(
            f"The pricing of partner {config.partner_name!r} has margin_pct {margin}; it is a ratio from 0 to 1."
        )
    if not (config.fixed_price.is_finite() and config.fixed_price >= 0):
        raise ConfigurationError(
            f"The pricing of partner {config.partner_name!r} has fixed_price {config.fixed_price}; "
            "it is an amount of 0 USD or more."
        )


def actual_cost(answer_cost_usd: Decimal, evaluation_cost_usd: Decimal, shared_by: int = 1) -> Decimal:
    """Return what one org's evaluated answer cost, unrounded; the answer is divided among `shared_by` orgs."""
    return _EXACT.add(_EXACT.divide(answer_cost_usd, Decimal(max(1, shared_by))), evaluation_cost_usd)


def quote(
    config: PricingConfig | None,
    *,
    expected_answer_cost_usd: Decimal,
    expected_evaluation_cost_usd: Decimal,
    shared_by: int = 1,
) -> Decimal:
    """Return the price of one run at expected costs: what is held for it, and the most it can cost."""
    return price(actual_cost(expected_answer_cost_usd, expected_evaluation_cost_usd, shared_by), config).amount


def charge(priced: Price, quoted_price: Decimal) -> Charge:
    """Return the smaller of price and quote; the rest of the price is absorbed."""
    amount = min(priced.amount, quoted_price)
    return Charge(amount, priced.amount - amount)


def rounded(amount: Decimal) -> Decimal:
    """Return the amount half up to six decimals, whatever the caller's decimal context."""
    return amount.quantize(SIX_DECIMALS, context=_EXACT)
