"""Whose report, and over which days: checked before anything is read."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

from visibility.errors import InvalidInput
from visibility.store.report_sums import ReportWindow

USUAL_DAYS = 30


def report_window(
    org_id: UUID | None, network_id: UUID | None, since: date | None, until: date | None, *, today: date, sandbox: bool
) -> ReportWindow:
    """Return the window, both days included: until today, and thirty days long, unless something else is given.

    Raises InvalidInput unless there is exactly one owner, and for a window that ends before it begins.
    """
    if (org_id is None) == (network_id is None):
        raise InvalidInput("Name one owner of the report: an organisation (org_id) or a network (network_id).")
    last = until or today
    first = since or last - timedelta(days=USUAL_DAYS - 1)
    if first > last:
        raise InvalidInput(f"The window ends before it begins: since {first}, until {last}.")
    if org_id is not None:
        return ReportWindow("org", org_id, first, last, sandbox)
    assert network_id is not None
    return ReportWindow("network", network_id, first, last, sandbox)
