"""Which part of the product uses the CPU: every thread's own CPU clock, sampled, by the code that runs in it.

A sample gives the CPU seconds that a thread has used since the last one to the innermost frame that belongs to a
known component. Unlike a tracing profiler it slows nothing down much and sees all threads.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EVERY_SECONDS = 0.001
SWITCH_SECONDS = 0.0001  # with the usual 5 ms a sample would come where a call releases the interpreter's lock
BENCHMARK = "benchmark"
COMPONENTS = {  # part of a file's path → component; the innermost frame that fits decides
    "/visibility/store/": "database (SQLAlchemy, psycopg2, statements)",
    "/visibility/billing/": "database (SQLAlchemy, psycopg2, statements)",
    "/site-packages/sqlalchemy/": "database (SQLAlchemy, psycopg2, statements)",
    "/site-packages/psycopg2/": "database (SQLAlchemy, psycopg2, statements)",
    "/site-packages/prefect/": "Prefect (engine, events, logs, API client)",
    "/site-packages/openai/": "LLM client (openai and the HTTP below it)",
    "/visibility/llm/": "LLM client (openai and the HTTP below it)",
    "/site-packages/stamina/": "LLM client (openai and the HTTP below it)",
    "/site-packages/pandas/": "metrics (pandas)",
    "/visibility/metrics": "metrics (pandas)",
    "/visibility/providers/": "vendor client (httpx)",
    "/visibility/collection": "vendor client (httpx)",
    "/visibility/": "reading and findings",
    "/tasks/": "tasks and flow",
    "/flows/": "tasks and flow",
    "/benchmarks/": BENCHMARK,
}
LOOP = "event loop and what no component owns"


@contextmanager
def attributed() -> Iterator[dict[str, float]]:
    """CPU seconds by component while the body runs, all threads; empty where threads have no CPU clock (macOS)."""
    spent: dict[str, float] = {}
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(spent, ended), daemon=True)
    usual = sys.getswitchinterval()
    if hasattr(time, "pthread_getcpuclockid"):
        sys.setswitchinterval(SWITCH_SECONDS)
        sampler.start()
    try:
        yield spent
    finally:
        sys.setswitchinterval(usual)
        ended.set()
        if sampler.ident is not None:
            sampler.join()
        spent.pop(BENCHMARK, None)


def _sample(spent: dict[str, float], ended: threading.Event) -> None:
    before = _cpu_clocks()
    while not ended.wait(EVERY_SECONDS):
        now, frames = _cpu_clocks(), sys._current_frames()
        for thread, seconds in now.items():
            if (used := seconds - before.get(thread, 0.0)) > 0:
                component = component_of(frames.get(thread))
                spent[component] = spent.get(component, 0.0) + used
        before = now


def _cpu_clocks() -> dict[int, float]:
    """Return the CPU seconds of every living thread of this process by its identifier."""
    clocks: dict[int, float] = {}
    for thread in threading.enumerate():
        if thread.ident is not None:
            try:
                clocks[thread.ident] = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            except OSError:  # it ended meanwhile
                continue
    return clocks


def component_of(frame: FrameType | None) -> str:
    """Return the component of the innermost frame that has one."""
    while frame is not None:
        path = frame.f_code.co_filename
        for part, component in COMPONENTS.items():
            if part in path and ("/site-packages/" in part or "/site-packages/" not in path):
                return component
        frame = frame.f_back
    return LOOP
