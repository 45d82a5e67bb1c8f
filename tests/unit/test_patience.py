"""Requests that are not waited for any longer: they must not take the client's connections with them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx

from tasks.patience import within

CONNECTIONS = 4


async def test_requests_that_are_given_up_while_they_connect_leave_the_connections_to_others() -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    limits, timeout = httpx.Limits(max_connections=CONNECTIONS), httpx.Timeout(1)
    async with server, httpx.AsyncClient(limits=limits, timeout=timeout) as client:

        async def give_up() -> None:
            with suppress(TimeoutError):
                await within(0, client.get(url))

        await asyncio.gather(*(give_up() for _ in range(2 * CONNECTIONS)))
        replies = await asyncio.gather(*(client.get(url) for _ in range(2 * CONNECTIONS)))
    assert [reply.status_code for reply in replies] == [200] * 2 * CONNECTIONS


async def test_what_fails_after_nobody_waits_any_more_fails_in_silence() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise ConnectionError

    with suppress(TimeoutError):
        await within(0, fail())
    await asyncio.sleep(0.05)
