"""The discipline after 429, by a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.clocks import replace_sleep
from visibility.providers.brightdata import throttle as module
from visibility.providers.brightdata.throttle import Budget, Room, Throttle, Withheld


class Clock:
    """Sleeping moves the time on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        replace_sleep(monkeypatch, module, self.sleep)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_waits_double_from_2_to_32_seconds_and_then_nothing_is_sent(clock: Clock) -> None:
    throttle = Throttle(2, 3, clock)
    sent = 0

    async def send_for_ever() -> None:
        nonlocal sent
        while True:
            async with throttle.turn():
                sent += 1
                throttle.refused(None)

    with pytest.raises(Withheld):
        await send_for_ever()
    assert clock.slept == [2, 4, 8, 16, 32]
    assert sent == 6


async def test_retry_after_is_honoured(clock: Clock) -> None:
    throttle = Throttle(2, 3, clock)
    throttle.refused(7.5)
    async with throttle.turn():
        throttle.accepted()
    assert clock.slept == [7.5]
    async with throttle.turn():
        pass
    assert clock.slept == [7.5]


async def test_a_very_long_retry_after_is_not_waited_for(clock: Clock) -> None:
    throttle = Throttle(2, 3, clock)
    throttle.refused(3600)
    with pytest.raises(Withheld) as refused:
        await throttle.patience()
    assert refused.value.retry_after_seconds == 3600


async def test_after_five_minutes_calls_are_sent_again(clock: Clock) -> None:
    throttle = Throttle(2, 3, clock)
    for _ in range(6):
        throttle.refused(0)
    with pytest.raises(Withheld):
        await throttle.patience()
    clock.now += 301
    await throttle.patience()


async def test_many_callers_at_once_stay_below_ten_refusals() -> None:
    throttle = Throttle(0.001, 3)
    sent = 0

    async def call() -> None:
        nonlocal sent
        for _ in range(6):
            async with throttle.turn():
                sent += 1
                await asyncio.sleep(0.001)
                throttle.refused(None)

    results = await asyncio.gather(*(call() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, Withheld) for result in results)
    assert sent < 10


async def test_a_budget_keeps_within_any_minute(clock: Clock) -> None:
    budget = Budget(10, clock)
    for _ in range(25):
        await budget.spend()
    assert clock.slept == [60, 60]


async def test_a_budget_below_one_a_minute_is_one_in_longer_time(clock: Clock) -> None:
    budget = Budget(0.5, clock)
    await budget.spend()
    await budget.spend()
    assert clock.slept == [120]


async def test_a_submission_that_was_not_sent_is_not_counted(clock: Clock) -> None:
    budget = Budget(1, clock)
    for _ in range(5):
        await budget.spend()
        budget.give_back()
    assert clock.slept == []


async def test_room_holds_so_much_at_a_time_and_larger_things_alone() -> None:
    room, held, most = Room(10), 0, 0

    async def work(pieces: int) -> None:
        nonlocal held, most
        async with room.hold(pieces):
            held += pieces
            most = max(most, held)
            assert held <= 10 or held == pieces
            await asyncio.sleep(0.001)
            held -= pieces

    await asyncio.wait_for(asyncio.gather(*(work(pieces) for pieces in (4, 4, 4, 25, 1, 10, 3) * 3)), 5)
    assert (held, most) == (0, 25)
