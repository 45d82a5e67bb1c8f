"""The price of one evaluated answer."""

from __future__ import annotations

import decimal
import pickle
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visibility.billing.pricing import PricingConfig, actual_cost, charge, price, quote
from visibility.errors import ConfigurationError

costs = st.decimals("0", "50", places=6)
margins = st.none() | st.decimals("0", "1", places=6)
configs = st.none() | st.builds(
    PricingConfig, partner_name=st.just("Beacon"), fixed_price=st.decimals("0", "5", places=6), margin_pct=margins
)


def config(margin: str | None, fixed: str = "0.08") -> PricingConfig:
    return PricingConfig("Beacon Agency", Decimal(fixed), None if margin is None else Decimal(margin))


def test_without_a_config_an_answer_costs_five_cents():
    assert price(Decimal("0.0019"), None).amount == Decimal("0.05")
    assert price(Decimal("9"), None).mode == "fixed"


def test_a_margin_makes_the_price_follow_the_cost():
    priced = price(Decimal("0.0019"), config("0.4"))
    assert (priced.amount, priced.mode, priced.margin_pct) == (Decimal("0.003167"), "dynamic", Decimal("0.4"))


@pytest.mark.parametrize("margin", [None, "0", "1"])
def test_a_margin_of_none_zero_or_one_means_the_fixed_price(margin):
    assert price(Decimal("0.0019"), config(margin)).amount == Decimal("0.08")


def test_a_free_answer_costs_the_fixed_price():
    assert price(Decimal(0), config("0.4")).mode == "fixed"


@pytest.mark.parametrize("margin", ["-0.01", "1.000001", "40", "NaN", "Infinity"])
def test_a_margin_outside_zero_to_one_is_an_error_that_names_the_partner(margin):
    with pytest.raises(ConfigurationError, match="Beacon Agency"):
        price(Decimal("0.0019"), config(margin))


def test_a_fixed_price_that_is_no_amount_is_an_error_that_names_the_partner():
    with pytest.raises(ConfigurationError, match="Beacon Agency"):
        price(Decimal("0.0019"), config(None, fixed="NaN"))


def test_half_a_millionth_is_rounded_up():
    assert price(Decimal("0.0000005"), config("0.5")).amount == Decimal("0.000001")
    assert price(Decimal("0.00000125"), config("0.5")).amount == Decimal("0.000003")


def test_the_callers_decimal_context_does_not_change_a_price():
    with decimal.localcontext() as context:
        context.prec, context.rounding = 3, ROUND_DOWN
        assert price(Decimal("0.001999"), config("0.4")).amount == Decimal("0.003332")


@given(costs, configs)
def test_a_price_is_the_exact_quotient_rounded_half_up_once(cost, pricing):
    priced = price(cost, pricing)
    if priced.mode == "dynamic":
        millionths = Fraction(cost) / (1 - Fraction(pricing.margin_pct)) * 10**6
        assert int(priced.amount * 10**6) == (2 * millionths + 1) // 2
    assert priced.amount >= 0
    assert priced.amount.as_tuple().exponent == -6


@given(costs, costs, configs, st.integers(1, 40))
def test_a_quote_is_the_price_at_the_expected_costs(answer, evaluation, pricing, orgs):
    quoted = quote(pricing, expected_answer_cost_usd=answer, expected_evaluation_cost_usd=evaluation, shared_by=orgs)
    assert quoted == price(actual_cost(answer, evaluation, orgs), pricing).amount


@given(costs, costs, configs)
def test_nobody_pays_more_than_was_quoted_and_the_rest_is_absorbed(expected, actual, pricing):
    quoted, priced = price(expected, pricing).amount, price(actual, pricing)
    charged = charge(priced, quoted)
    assert charged.amount <= quoted
    assert charged.amount + charged.absorbed == priced.amount
    assert charged.absorbed >= 0


def test_the_answers_cost_is_divided_among_the_orgs_and_the_evaluations_is_not():
    assert actual_cost(Decimal("0.003"), Decimal("0.0004"), 3) == Decimal("0.0014")


def test_a_config_travels_between_processes():
    assert pickle.loads(pickle.dumps(config("0.4"))) == config("0.4")
