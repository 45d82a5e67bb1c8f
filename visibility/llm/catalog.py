"""The extraction models that the product knows: prices, shutdown dates, accepted parameters (data/models.yaml)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import structlog
import yaml

from visibility.errors import ConfigurationError

WARN_BEFORE_SHUTDOWN = timedelta(days=60)
MICRO_USD = Decimal("0.000001")
_PER_TOKEN = Decimal(1_000_000)

log = structlog.get_logger(__name__)
_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class TokenUse:
    """Tokens of one call as the vendor bills them; `cached` and `cache_writes` are parts of `input`."""

    input: int
    cached: int
    cache_writes: int
    output: int


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """One model of the catalogue; prices in USD per million tokens, of which a batch costs the part `batch_share`."""

    name: str
    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal
    shutdown: date | None
    temperature: bool
    reasoning_effort: str | None
    explicit_cache: bool
    price_table: str
    batch_share: Decimal

    def batched(self) -> ModelPrice:
        """Return this model at the prices of the Batch API; its price table says so."""
        names = ("input", "cached_input", "cache_write", "output")
        prices = {name: getattr(self, name) * self.batch_share for name in names}
        return replace(self, **prices, price_table=f"{self.price_table}-batch")

    def cost_usd(self, use: TokenUse) -> Decimal:
        """Return what one call costs in USD, to six decimals."""
        plain = max(use.input - use.cached - use.cache_writes, 0)
        total = (
            plain * self.input
            + use.cached * self.cached_input
            + use.cache_writes * self.cache_write
            + use.output * self.output
        )
        return (total / _PER_TOKEN).quantize(MICRO_USD, ROUND_HALF_UP)


@cache
def catalogue() -> dict[str, ModelPrice]:
    """Return every known model by name."""
    data = yaml.safe_load(files("visibility").joinpath("data/models.yaml").read_text("utf-8"))
    batch_share = Decimal(data["batch_share"])
    return {name: _model_price(name, entry, data["version"], batch_share) for name, entry in data["models"].items()}


def known_model(name: str, today: date) -> ModelPrice:
    """Return the model of this name; warns once per process in the 60 days before its shutdown.

    Raises ConfigurationError for a name that is not in the catalogue and for a model that is shut down.
    """
    model = catalogue().get(name)
    if model is None:
        raise ConfigurationError(f"The model {name!r} is not known; known are {', '.join(sorted(catalogue()))}.")
    if model.shutdown is not None:
        _check_shutdown(model, model.shutdown, today)
    return model


def shutdowns_near(names: Iterable[str], today: date) -> list[str]:
    """Return a sentence about each of these models that is shut down within 60 days; unknown names are passed over."""
    found = {name: catalogue()[name].shutdown for name in names if name in catalogue()}
    return [
        f"The model {name} is shut down on {shutdown}, in {(shutdown - today).days} days."
        for name, shutdown in sorted(found.items())
        if shutdown is not None and shutdown - today <= WARN_BEFORE_SHUTDOWN
    ]


def _check_shutdown(model: ModelPrice, shutdown: date, today: date) -> None:
    if today >= shutdown:
        raise ConfigurationError(f"The model {model.name!r} was shut down on {shutdown}; choose another one.")
    if shutdown - today <= WARN_BEFORE_SHUTDOWN and model.name not in _warned:
        _warned.add(model.name)
        log.warning("llm.model_shuts_down", model=model.name, shutdown=str(shutdown), days=(shutdown - today).days)


def _model_price(name: str, entry: dict[str, Any], version: str, batch_share: Decimal) -> ModelPrice:
    return ModelPrice(
        name=name,
        input=Decimal(entry["input"]),
        cached_input=Decimal(entry["cached_input"]),
        cache_write=Decimal(entry["cache_write"] or entry["input"]),
        output=Decimal(entry["output"]),
        shutdown=entry["shutdown"],
        temperature=entry["temperature"],
        reasoning_effort=entry["reasoning_effort"],
        explicit_cache=entry["explicit_cache"],
        price_table=version,
        batch_share=batch_share,
    )
