from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from visibility.errors import ConfigurationError
from visibility.llm import catalog
from visibility.llm.catalog import TokenUse, catalogue, known_model

TODAY = date(2026, 11, 23)


def test_an_unknown_model_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'gpt-9' is not known; known are gpt-4\.1, .*gpt-6-luna"):
        known_model("gpt-9", TODAY)


def test_a_model_near_its_shutdown_warns_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_warned", set())
    with capture_logs() as logs:
        known_model("gpt-4.1", TODAY)
        known_model("gpt-4.1", TODAY)
    assert [(entry["event"], entry["days"]) for entry in logs] == [("llm.model_shuts_down", 52)]


def test_a_model_more_than_sixty_days_from_its_shutdown_does_not_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_warned", set())
    with capture_logs() as logs:
        known_model("gpt-4.1-mini", date(2027, 1, 14) - timedelta(days=61))
    assert logs == []


@pytest.mark.parametrize("day", [date(2027, 1, 14), date(2027, 5, 1)])
def test_a_model_is_refused_from_its_shutdown_date_on(day: date) -> None:
    with pytest.raises(ConfigurationError, match="shut down on 2027-01-14"):
        known_model("gpt-4.1-mini", day)


def test_cached_tokens_and_cache_writes_have_their_own_price() -> None:
    luna = known_model("gpt-6-luna", TODAY)
    assert luna.cost_usd(TokenUse(input=1_000_000, cached=0, cache_writes=0, output=0)) == Decimal("0.100000")
    assert luna.cost_usd(TokenUse(input=1_000_000, cached=1_000_000, cache_writes=0, output=0)) == Decimal("0.010000")
    assert luna.cost_usd(TokenUse(input=1_000_000, cached=0, cache_writes=1_000_000, output=0)) == Decimal("0.125000")
    assert luna.cost_usd(TokenUse(input=1000, cached=400, cache_writes=0, output=200)) == Decimal("0.000164")


def test_every_model_of_the_catalogue_has_positive_prices_and_cheaper_cached_input() -> None:
    for model in catalogue().values():
        assert 0 < model.cached_input < model.input < model.output
        assert model.cache_write >= model.input
        assert not (model.temperature and model.reasoning_effort)


def test_a_batch_costs_half_and_its_price_table_says_so() -> None:
    luna = known_model("gpt-6-luna", TODAY)
    use = TokenUse(input=3000, cached=1000, cache_writes=1000, output=510)
    assert luna.batched().cost_usd(use) * 2 == luna.cost_usd(use)
    assert luna.batched().price_table == f"{luna.price_table}-batch"
