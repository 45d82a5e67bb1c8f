"""SIGTERM to process 1, as `docker stop` and ECS send it, and what becomes of the work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deployments.image.checks import Check, Checks, GroupEnded, require, require_success
from deployments.image.container import Container
from deployments.image.together import Stack, require_results

ECS_GRACE_SECONDS = 120  # the stopTimeout of the task definition
JOB_SECONDS = 60
JOBS = """
select count(*) from evaluation_batches b join question_runs q using (batch_id)
join provider_jobs j on j.job_id = q.provider_job_id
where b.run_date = %s and j.status = 'submitted'
"""
NEWEST_RUN = "select id::text from flow_run where deployment_id is not null order by created desc limit 1"
STATE = "select state_name from flow_run where id = %s"


def try_stops(checks: Checks, stack: Stack, org_id: str, folder: Path) -> None:
    """Stop each service and a flow run in the middle; times are in the figures."""
    with checks.check("SIGTERM ends the worker within its grace") as check:
        _stop_service(check, stack, "worker")
    try:
        _try_flow_run(checks, stack, org_id, folder)
    except GroupEnded:
        checks.say("         … so the run is not continued")
    for name in ("prefect", "sandbox"):
        with checks.check(f"SIGTERM ends {name} within its grace") as check:
            _stop_service(check, stack, name)


def _try_flow_run(checks: Checks, stack: Stack, org_id: str, folder: Path) -> None:
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    trial = stack.trial
    command = list(trial.image.configuration["Cmd"])
    with checks.check("SIGTERM to the image's own command, vendor jobs under way: AwaitingRetry", needed=True) as check:
        created = trial.run(*stack.schedule(org_id, "--param", f"run_date={yesterday}"))
        require_success(created, "prefect deployment run")
        run_id = str(stack.postgres.rows(NEWEST_RUN, database="prefect")[0][0])
        container = replace(trial, environment={**trial.environment, "PREFECT__FLOW_RUN_ID": run_id})
        with container.running(command, folder / "flow-run.log") as started:
            _wait_for(lambda: bool(stack.postgres.rows(JOBS, yesterday)[0][0]), JOB_SECONDS)
            _stopped(check, started.stop(ECS_GRACE_SECONDS), ECS_GRACE_SECONDS)
        _require_state(stack, run_id, "AwaitingRetry")
    with checks.check("the same run goes on in another container to Completed, nothing charged twice") as check:
        _finish(check, container, stack, run_id, yesterday)


def _finish(check: Check, container: Container, stack: Stack, run_id: str, run_date: str) -> None:
    require_success(container.run(*container.image.configuration["Cmd"]), "the flow run")
    _require_state(stack, run_id, "Completed")
    check.figures = require_results(stack.postgres, run_date)


def _stop_service(check: Check, stack: Stack, name: str) -> None:
    grace = stack.services[name].grace_seconds
    _stopped(check, stack.running[name].stop(grace), grace)


def _stopped(check: Check, seconds: float, grace_seconds: float) -> None:
    check.figures = {"stop_seconds": round(seconds, 2), "grace_seconds": grace_seconds}


def _require_state(stack: Stack, run_id: str, name: str) -> None:
    state = stack.postgres.rows(STATE, run_id, database="prefect")[0][0]
    require(state == name, f"the flow run is {state}")


def _wait_for(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        require(time.monotonic() < deadline, f"no vendor job within {seconds:.0f} s")
        time.sleep(0.05)
