"""From `terraform apply` to charged evaluations on an ECS work pool, and what becomes of tasks that die."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)  # fmt: skip
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from sqlalchemy.engine import URL

from tests.support.aws.fake_ecs import Task
from tests.support.aws.production import AUTH, KEYS, Production, production
from tests.support.end_state import books, rows, value
from tests.support.pool import REPOSITORY
from tests.support.secrets import assert_nothing_secret
from tests.support.seed import QUESTIONS, seed_org
from tests.support.slack import alerts
from tests.support.terraform.run import available
from tests.support.waiting import eventually_beside
from visibility.store.database import Database

pytestmark = pytest.mark.skipif((why := available()) is not None, reason=str(why))

ANSWERS = 2  # per org: one question, one model, two locations
PLACES = (("US", None, None), ("CA", None, None))
WHOLE = "CHAOS_ROUNDS" in os.environ
AUTOMATIONS = REPOSITORY / "deployments/automations"
WAITS = {"zombie-runs.yaml": 45, "crashed-runs.yaml": 10}  # seconds; more than the 30 s between heartbeats

Act = Callable[[Task], object]


@dataclass
class Told:
    """A flow run and the states that it was seen in."""

    run: FlowRun
    states: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        return (self.run.state and self.run.state.message) or ""


@pytest.mark.slow
@pytest.mark.timeout(900 if WHOLE else 600)
def test_a_production_on_ecs_loses_and_buys_nothing_twice_whatever_becomes_of_its_tasks(
    database_template: tuple[URL, str], tmp_path: Path
) -> None:
    with production(database_template, tmp_path) as up:
        database = Database(up.database_url)
        settings: dict[Any, Any] = {PREFECT_API_URL: up.api_url, PREFECT_API_AUTH_STRING: AUTH}
        try:
            with temporary_settings(settings):
                bootstrapped_and_deployed(up)
                with up.worker():
                    asyncio.run(Story(up, database).told())
        finally:
            database.close()


def bootstrapped_and_deployed(up: Production) -> None:
    """What an operator does after `terraform apply`."""
    assert "created    work pool ecs" in up.bootstrap()
    up.command("prefect", "--no-prompt", "deploy", "--all")


@dataclass
class Story:
    """Runs of several organisations at the same time, each with another mishap, then a reconcile.

    `make chaos` tells the whole story; the suite leaves out mishaps of which it tells elsewhere, on processes.
    """

    up: Production
    database: Database

    async def told(self) -> None:
        async with get_client() as self.client:
            await self.shorten_the_waits()
            missed = asyncio.create_task(self.alerted(await self.secret_missing()))
            mishaps = [self.night_in_shards(), self.killed()]
            if WHOLE:
                mishaps += [self.spot_interruption(), self.out_of_memory(), self.vanished_unheard()]
                mishaps += [self.cancelled(), self.image_missing()]
            await asyncio.gather(missed, *mishaps)
            await self.reconciled()
        self.nothing_is_lost_or_bought_twice()
        self.nothing_secret_is_in_clear()
        self.the_worker_asked_for_what_its_role_allows()

    # One mishap each

    async def night_in_shards(self) -> None:
        names = ["Night One", "Night Two"] if WHOLE else ["Night One"]
        for name in names:
            self.org(name, days=range(7))
        told = await self.ended(await self.start("daily-evaluations/daily-evaluations"))
        assert told.run.state_name == "Completed", (told, told.message)
        shards = await self.children(told.run)
        assert len(shards) == len(names), "SHARD_ORGS is 1"
        assert all(self.up.aws.task_of(shard.id) for shard in shards), "each shard is a task of its own"
        assert self.batches(*names) == {("completed", ANSWERS)}

    async def out_of_memory(self) -> None:
        told = await self.disturbed("Out Of Memory", self.up.aws.run_out_of_memory)
        assert told.run.state_name == "Crashed" and "-9" in told.message, (told, told.message)
        await self.alerted(told.run)

    async def killed(self) -> None:
        told = await self.disturbed("Killed", self.up.aws.kill)
        assert told.run.state_name == "Crashed" and "non-zero exit code" in told.message, (told, told.message)
        await self.alerted(told.run)

    async def spot_interruption(self) -> None:
        reschedule = {"env": {"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule"}}
        told = await self.disturbed("Spot", self.up.aws.interrupt, job_variables=reschedule)
        assert told.run.state_name == "Completed" and "AwaitingRetry" in told.states, (told, told.message)
        assert self.batches("Spot") == {("completed", ANSWERS)}

    async def vanished_unheard(self) -> None:
        async def kill(task: Task) -> None:
            """Once its first heartbeat has arrived: who dies before is found by the automation of stuck runs, later."""
            await eventually_beside(lambda: self.heartbeats(task) > 0)
            self.up.aws.kill(task, heard=False)

        told = await self.disturbed("Vanished", kill)
        assert told.run.state_name == "Crashed" and "heartbeats" in told.message, (told, told.message)
        await self.alerted(told.run)

    async def cancelled(self) -> None:
        def cancel(task: Task) -> Awaitable[object]:
            run_id = UUID(task.environment["PREFECT__FLOW_RUN_ID"])
            return self.client.set_flow_run_state(run_id, Cancelling(message="cancelled by ana"))

        told = await self.disturbed("Cancelled", cancel)
        assert told.run.state_name == "Cancelled" and "Cancelling" in told.states, (told, told.message)
        await self.alerted(told.run)

    async def image_missing(self) -> None:
        org_id = self.org("No Image")
        job_variables = {"image": "example.com/senso:missing", "family": "another"}
        told = await self.ended(await self.start("org-evaluation/org-evaluation", job_variables, org_id=org_id))
        assert told.run.state_name == "Crashed" and "non-zero exit code" in told.message, (told, told.message)
        of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[told.run.id]))
        logged = [log.message for log in await self.client.read_logs(of_run)]
        assert any("CannotPullContainerError" in message for message in logged), "the reason is in the run's log"
        assert self.batches("No Image") == set(), "nothing was asked"
        await self.alerted(told.run)

    async def secret_missing(self) -> FlowRun:
        """Return the run that could not start, of which people are still to be told."""
        org_id = self.org("No Secret")
        self.up.put_secret(OPENAI_API_KEY=None)
        told = await self.ended(await self.start("org-evaluation/org-evaluation", org_id=org_id))
        assert told.run.state_name == "Crashed" and "OPENAI_API_KEY" in told.message, (told, told.message)
        assert self.batches("No Secret") == set(), "nothing was asked"
        self.up.put_secret()
        return told.run

    async def reconciled(self) -> None:
        """What died is finished by the hourly flow, itself a task."""
        told = await self.ended(await self.start("reconcile/reconcile"))
        assert told.run.state_type is StateType.COMPLETED, (told, told.message)
        died = ["Killed"]
        if WHOLE:
            died += ["Out Of Memory", "Vanished"]
            org_id = value(self.database, "SELECT org_id FROM orgs WHERE name = 'Cancelled'")
            told = await self.ended(await self.start("org-evaluation/org-evaluation", org_id=org_id))
            assert told.run.state_name == "Completed", (told, told.message)
            died.append("Cancelled")
        for name in died:
            assert self.batches(name) == {("completed", ANSWERS)}, name

    # What holds at the end

    def nothing_is_lost_or_bought_twice(self) -> None:
        answered = value(self.database, "SELECT count(*) FROM question_runs WHERE status = 'answered'")
        evaluated = value(self.database, "SELECT count(DISTINCT question_run_id) FROM org_evals")
        charged = value(self.database, "SELECT count(*) FROM partner_usage_ledger WHERE kind = 'charge'")
        orgs = value(self.database, "SELECT count(DISTINCT org_id) FROM evaluation_batches WHERE status = 'completed'")
        assert orgs == (7 if WHOLE else 2)  # all but those that could not start
        assert answered == evaluated == charged == orgs * ANSWERS
        assert self.up.vendors.accounting()["totals"]["records_sold"] == answered
        assert books(self.database) == {0}
        assert value(self.database, "SELECT count(*) FROM credit_holds WHERE status = 'active'") == 0

    def nothing_secret_is_in_clear(self) -> None:
        secrets = [*KEYS.values(), AUTH, self.up.database_url]
        ecs = self.up.aws.client("ecs")
        arns = ecs.list_task_definitions()["taskDefinitionArns"]
        definitions = [ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"] for arn in arns]
        texts = {
            f"request {number} {call}": json.dumps(body) for number, (call, body) in enumerate(self.up.aws.requests)
        }
        texts |= {arn: json.dumps(one, default=str) for arn, one in zip(arns, definitions, strict=True)}
        texts |= {task.arn: self.up.aws.log(task) for task in self.up.aws.tasks}
        assert_nothing_secret(texts, secrets)
        longest = max(len(json.dumps(body["overrides"])) for call, body in self.up.aws.requests if call == "RunTask")
        assert longest < 8192, "ECS takes no longer overrides, moto does"

    def the_worker_asked_for_what_its_role_allows(self) -> None:
        from tests.support.terraform.rights import allowed_actions

        allowed = allowed_actions(self.up.aws.client("iam"), self.up.outputs["worker_service_name"])
        assert self.up.aws.worker_calls - allowed == set()
        assert {"ecs:RunTask", "ecs:RegisterTaskDefinition", "sqs:ReceiveMessage"} <= self.up.aws.worker_calls

    # How it is told

    def org(self, name: str, days: Any = ()) -> UUID:
        self.up.vendors.learn({"name": name, "websites": [], "questions": list(QUESTIONS)})
        with self.database.transaction() as session:
            return seed_org(
                session, name=name, questions=1, models=["chatgpt"], locations=PLACES, websites=[], days=days
            )

    async def start(self, deployment: str, job_variables: dict[str, Any] | None = None, **parameters: Any) -> FlowRun:
        found = await self.client.read_deployment_by_name(deployment)
        given = {name: str(value) for name, value in parameters.items()}
        return await self.client.create_flow_run_from_deployment(
            found.id, parameters=given, job_variables=job_variables
        )

    async def disturbed(self, name: str, act: Act, job_variables: dict[str, Any] | None = None) -> Told:
        """Run one org, let something happen to its task once the vendor has a job of it; return how it ended."""
        org_id = self.org(name)
        run = await self.start("org-evaluation/org-evaluation", job_variables, org_id=org_id)

        async def happen() -> None:
            await eventually_beside(lambda: self.jobs(org_id))
            task = self.up.aws.task_of(run.id)
            assert task is not None
            done = act(task)
            if isinstance(done, Awaitable):
                await done

        told, _ = await asyncio.gather(self.ended(run), happen())
        return told

    async def ended(self, run: FlowRun) -> Told:
        """Follow a run to a final state."""
        told = Told(run)
        async with asyncio.timeout(200):
            while True:
                told.run = await self.client.read_flow_run(run.id)
                name = told.run.state_name or ""
                if not told.states or told.states[-1] != name:
                    told.states.append(name)
                if told.run.state is not None and told.run.state.is_final():
                    return told
                await asyncio.sleep(0.2)

    async def alerted(self, run: FlowRun) -> None:
        """Wait until people were told of a run."""

        def told() -> bool:
            return any(str(run.id) in alert for alert in alerts(self.up.vendors))

        await eventually_beside(told, lambda: f"nobody was told of {run.id}: {alerts(self.up.vendors)}")

    async def children(self, run: FlowRun) -> list[FlowRun]:
        deployment = await self.client.read_deployment_by_name("evaluate-orgs/evaluate-orgs")
        of_shards = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]),
        )
        return await self.client.read_flow_runs(flow_run_filter=of_shards)

    async def shorten_the_waits(self) -> None:
        """Automations wait shorter than their files say."""
        for file, seconds in WAITS.items():
            [found] = await self.client.read_automations_by_name(
                yaml.safe_load((AUTOMATIONS / file).read_text())["name"]
            )
            content = found.model_dump(mode="json", include=set(AutomationCore.model_fields) - {"owner_resource"})
            content["trigger"]["within"] = seconds
            await self.client.update_automation(found.id, AutomationCore.model_validate(content))

    def heartbeats(self, task: Task) -> int:
        """Return how many heartbeats of the task's flow run are stored at the server."""
        run = f"prefect.flow-run.{task.environment['PREFECT__FLOW_RUN_ID']}"
        wanted = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [run]}}}
        user, _, password = AUTH.partition(":")
        found = httpx.post(f"{self.up.api_url}/events/filter", json=wanted, auth=(user, password), timeout=30)
        return int(found.raise_for_status().json()["total"])

    def jobs(self, org_id: UUID) -> int:
        query = """
            SELECT count(*) FROM question_runs run JOIN evaluation_batches batch USING (batch_id)
            JOIN provider_jobs job ON job.job_id = run.provider_job_id
            WHERE batch.org_id = :org_id AND job.snapshot_id IS NOT NULL
        """
        return int(value(self.database, query, org_id=org_id))

    def batches(self, *names: str) -> set[tuple[str, int]]:
        query = """
            SELECT batch.status, (SELECT count(*) FROM question_runs run
                                  WHERE run.batch_id = batch.batch_id AND run.status = 'answered')
            FROM evaluation_batches batch JOIN orgs USING (org_id) WHERE orgs.name = ANY(:names)
        """
        return {(status, count) for status, count in rows(self.database, query, names=list(names))}
