"""Say what each weekday asks and costs by its schedules, and what to move where days differ too much.

Deployed as `load-report`, Sundays 00:00 UTC; locally `python -m flows.load_report --help`.
"""

from __future__ import annotations

if __name__ == "__main__":  # before Prefect is imported, which takes 2 s: help and refusals come at once
    from flows.load_command import load_report_command

    load_report_command()

from prefect import flow

from flows.guards import alert_on_cancellation, alert_on_crash, alerting
from tasks import resources
from tasks.load_report import report_load, warn_of_shutdowns
from visibility.load_report import LoadReport


@flow(
    name="load-report",
    flow_run_name="load report",
    on_crashed=[alert_on_crash],
    on_cancellation=[alert_on_cancellation],
)
async def load_report() -> LoadReport:
    """Count scheduled runs, expected answers and costs per weekday; recommend moves when a day is off the mean.

    Changes nothing and needs no vendor's key. Nothing scheduled is a clean finish. Once a week is also when people are
    told of models that are shut down soon.
    """
    async with alerting("load report"), resources.opened(reads=False):
        report = await report_load()
        await warn_of_shutdowns()
        return report
