"""What is logged while a command shows its progress."""

from __future__ import annotations

import asyncio

import pytest
import stamina
import structlog

from flows.terminal import readable_progress


async def flaky(attempts: list[int]) -> str:
    async for attempt in stamina.retry_context(on=ValueError, attempts=2, wait_initial=0.001, wait_max=0.001):
        with attempt:
            attempts.append(1)
            if len(attempts) < 2:
                raise ValueError("the first one fails")
    return "done"


def test_a_retry_is_shown_and_does_not_break_the_call(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    with readable_progress():
        assert asyncio.run(flaky([])) == "done"
    assert "stamina.retry_scheduled" in capsys.readouterr().err
    assert structlog.get_config() == before
