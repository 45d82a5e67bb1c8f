"""What a person sees in the terminal while a flow runs: Prefect's log, cut to what tells them something."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog.typing import EventDict

from visibility.errors import VisibilityError

ROUTINE = ("Finished in state Completed", "Finished in state Cached", "Beginning flow run", "Beginning subflow run")
CANCELLED = "Execution was cancelled by the runtime environment"
REPEATED = ("Finished in state Failed", "Encountered exception during execution")  # beside the error's own sentence

RESERVED_NAMES = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"}) - {"exc_info", "stack_info"}


@contextmanager
def readable_progress() -> Iterator[None]:
    """Show one short line per step on standard error while the body runs; the Prefect UI keeps every line.

    To be entered after Prefect has been imported, which configures logging.
    What the product logs by structlog goes the same way: standard output belongs to the result.
    """
    configured = structlog.get_config()
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, _without_reserved_names, structlog.stdlib.render_to_log_kwargs],
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
        structlog.configure(**configured)


def _without_reserved_names(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Rename what a log record has under the same name: a retry is logged with its `args`, which would be refused."""
    return {f"{name}_" if name in RESERVED_NAMES else name: value for name, value in event.items()}


class _Telling(logging.Filter):
    """Drops the routine of the engine, says once where the run can be watched, and is silent after Ctrl-C.

    Of flows inside the first one only what is wrong is told: it says itself how each of them ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told_where = False
        self._stopping = False
        self._outer: object = None

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        self._stopping = self._stopping or CANCELLED in message
        if self._stopping:
            return False
        if message.startswith("View at"):
            told, self._told_where = self._told_where, True
            return not told
        repeated = message.startswith(REPEATED) and not _unforeseen(record)
        return not repeated and not message.startswith(ROUTINE) and not self._is_of_inner_flow(record)

    def _is_of_inner_flow(self, record: logging.LogRecord) -> bool:
        flow_run_id = getattr(record, "flow_run_id", None)
        self._outer = self._outer or flow_run_id
        return record.levelno < logging.WARNING and flow_run_id not in (None, self._outer)


class _OneLine(logging.Formatter):
    """Marks what is not progress; an error of the product is its sentence, without a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = logging.makeLogRecord(record.__dict__)
        if record.exc_info and not _unforeseen(record):
            line.exc_info = line.exc_text = None
        if record.levelno >= logging.WARNING:
            line.msg, line.args = f"{record.levelname}: {record.getMessage()}", None
        return super().format(line)


def _unforeseen(record: logging.LogRecord) -> bool:
    """Say whether the record carries an exception that is not one of the product's: its traceback is wanted."""
    error = record.exc_info[1] if record.exc_info else None
    return error is not None and not isinstance(error, VisibilityError)
