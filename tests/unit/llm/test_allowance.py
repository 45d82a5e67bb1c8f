"""Requests and tokens per minute, by a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.clocks import replace_sleep
from visibility.llm import allowance as module
from visibility.llm.allowance import Allowance, TokenBucket
from visibility.settings import LlmSettings


class Clock:
    """Sleeping moves the time on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        replace_sleep(monkeypatch, module, self.sleep)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("per_minute", [6, 60, 1000])
async def test_no_minute_gets_more_than_its_amount_and_the_amount_is_used(clock: Clock, per_minute: int) -> None:
    bucket = TokenBucket(per_minute, clock)
    taken = []
    for _ in range(per_minute * 3):
        await bucket.take(1)
        taken.append(clock.now)
    most = max(sum(moment <= other < moment + 60 for other in taken) for moment in taken)
    assert per_minute * 0.8 <= most <= per_minute


async def test_what_is_larger_than_the_bucket_waits_for_a_full_one_and_the_next_pays_the_debt(clock: Clock) -> None:
    bucket = TokenBucket(600, clock)  # 60 at once, 9 a second
    await bucket.take(600)
    assert clock.now == 0
    await bucket.take(1)
    assert clock.now == pytest.approx(541 / 9)


async def test_a_correction_counts_for_the_next(clock: Clock) -> None:
    bucket = TokenBucket(600, clock)
    await bucket.take(60)
    bucket.correct(-60)
    await bucket.take(60)
    assert clock.now == 0
    bucket.correct(30)
    await bucket.take(60)
    assert clock.now == pytest.approx(90 / 9)


async def test_shards_split_the_amount(clock: Clock) -> None:
    allowance = Allowance(LlmSettings(llm_requests_per_minute=600), shards=10, clock=clock)
    for _ in range(60):
        async with allowance.call(100):
            pass
    assert clock.now >= 54 / 0.9 - 0.1


async def test_a_call_counts_what_its_reply_says_and_its_estimate_when_it_fails() -> None:
    allowance = Allowance(LlmSettings(llm_tokens_per_minute=100_000))
    bucket = allowance._tokens
    assert bucket is not None
    async with allowance.call(4000) as usage:
        assert usage.tokens == 1400
        usage.tokens = 9000
    assert bucket._level == pytest.approx(1000, abs=50)
    with pytest.raises(RuntimeError):
        async with allowance.call(400):
            raise RuntimeError
    assert bucket._level == pytest.approx(500, abs=50)


async def test_without_limits_nothing_waits() -> None:
    allowance = Allowance(LlmSettings())
    async with asyncio.timeout(1):
        for _ in range(1000):
            async with allowance.call(10**6):
                pass
