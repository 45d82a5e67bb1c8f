"""Serve the sandbox with uvicorn: in this process, or in a thread for tests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.answers import WorldOrg
from sandbox.brightdata import BrightData
from sandbox.control import Control
from sandbox.ledger import accounting
from sandbox.openai_batches import Batches
from sandbox.openai_chat import ChatCompletions
from sandbox.openai_responses import Responses
from sandbox.options import Options
from sandbox.state import State
from sandbox.web import TRANSPORT, Application, Receive, Router, Scope, Send
from sandbox.world import orgs_from

STARTUP_SECONDS = 30.0
BACKLOG = 2048


class PortTaken(Exception):
    """The address cannot be listened on."""


class ResettableProtocol(H11Protocol):
    """uvicorn's HTTP protocol that lets the application reach its connection, to break it on purpose."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        application = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope[TRANSPORT] = transport
            await application(scope, receive, send)

        self.app = with_transport


class _Server(uvicorn.Server):
    """Tells when it is ready, and does not wait for held connections when it ends."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.force_exit = True
        await super().shutdown(sockets)


def application(state: State) -> Application:
    """Return the ASGI application over the state."""
    router = Router()
    for surface in (ChatCompletions(state), Responses(state), Batches(state), BrightData(state), Control(state)):
        surface.add_to(router)
    return Application(router, hold_seconds=state.options.hold_seconds, slow_seconds=state.options.slow_seconds)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises PortTaken with one sentence."""
    # The protocol is named because asyncio sets TCP_NODELAY only then: without it every answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise PortTaken(f"The sandbox cannot listen on {host}:{port}: {reason}.") from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


def make_server(state: State, on_ready: Callable[[], None]) -> _Server:
    """Return a quiet uvicorn server for the state, to be run on a listening socket."""
    config = uvicorn.Config(
        application(state),
        http=ResettableProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
    )
    return _Server(config, on_ready)


@dataclass
class RunningSandbox:
    """A sandbox in this process; everything is also reachable over HTTP at `url`."""

    url: str
    state: State

    def accounting(self) -> dict[str, Any]:
        """Return what `GET /_accounting` returns."""
        return accounting(self.state)

    def set_faults(
        self,
        probabilities: Mapping[str, float] | None = None,
        script: Sequence[Mapping[str, Any]] = (),
        seed: int | None = None,
    ) -> None:
        """Replace all faults; without arguments take them away. Raises UnknownFault."""
        self.state.faults.configure(self.state.options.seed if seed is None else seed, probabilities or {}, script)

    def learn(self, *orgs: Mapping[str, Any]) -> None:
        """Teach the world organisations of the form {name, websites, questions}."""
        self.state.world.learn(orgs_from({"orgs": [dict(org) for org in orgs]}))

    def reset(self) -> None:
        """Forget what was sold and said, and take all faults away."""
        self.state.reset_counts()
        self.set_faults()


@contextlib.contextmanager
def serve_in_thread(
    *, host: str = "127.0.0.1", port: int = 0, orgs: Sequence[WorldOrg] = (), **options: Any
) -> Iterator[RunningSandbox]:
    """Serve a sandbox in a thread until the block ends; options are those of `Options`."""
    state = State(Options(**options), orgs)
    ready = threading.Event()
    listener = listen(host, port)
    server = make_server(state, ready.set)
    url = url_of(listener)
    thread = threading.Thread(target=server.run, args=([listener],), name="sandbox", daemon=True)
    thread.start()
    try:
        if not ready.wait(STARTUP_SECONDS):
            raise TimeoutError("The sandbox did not start.")
        yield RunningSandbox(url, state)
    finally:
        server.should_exit = True
        thread.join(STARTUP_SECONDS)
        listener.close()
