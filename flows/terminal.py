"""What a person sees in the terminal while a flow runs: Prefect's log, cut to what tells them something."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from visibility.errors import VisibilityError

ROUTINE = ("Finished in state Completed", "Finished in state Cached", "Beginning flow run")


@contextmanager
def readable_progress() -> Iterator[None]:
    """Show one short line per step on standard error while the body runs; the Prefect UI keeps every line.

    To be entered after Prefect has been imported, which configures logging.
    What the product logs by structlog goes the same way: standard output belongs to the result.
    """
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(_OneLine("%(asctime)s  %(message)s", "%H:%M:%S"))
    terminal.addFilter(_Telling())
    root = logging.getLogger()
    before, root.handlers = root.handlers, [terminal]
    try:
        yield
    finally:
        root.handlers = before


class _Telling(logging.Filter):
    """Drops the routine of the engine, and says once where the run can be watched."""

    def __init__(self) -> None:
        super().__init__()
        self._told_where = False

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message.startswith("View at"):
            told, self._told_where = self._told_where, True
            return not told
        return not message.startswith(ROUTINE)


class _OneLine(logging.Formatter):
    """Marks what is not progress; an error of the product is its sentence, without a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        known = record.exc_info and isinstance(record.exc_info[1], VisibilityError)
        line = logging.makeLogRecord({**record.__dict__, **({"exc_info": None, "exc_text": None} if known else {})})
        if record.levelno >= logging.WARNING:
            line.msg, line.args = f"{record.levelname}: {record.getMessage()}", None
        return super().format(line)
