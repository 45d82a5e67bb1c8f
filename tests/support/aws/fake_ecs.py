"""AWS for end-to-end tests: moto, and an ECS that runs the container of each RunTask as a process of this machine.

A task gets what Fargate would give its container: the task definition's environment, the secrets from Secrets Manager,
the overrides' environment and command; its changes of state go through moto's EventBridge, so that our own rule and
queue decide who hears of them.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psutil

from deployments.local.processes import WITH_DEFAULT_SIGNALS
from tests.support.moto_server import REGION, Environ, Moto

ACCOUNT = "123456789012"
WORKER_KEY = "AKIAWORKERROLE000001"
MARK = "FAKE_ECS_TASK"  # in the environment of every process of a task: what a container is, a process tree is not
STOP_GRACE_SECONDS = 20.0


class ImageMissing(RuntimeError):
    """What ECS says of an image that cannot be pulled."""


@dataclass
class Task:
    """One task, its request and its process; `stopped` is set when it has ended."""

    arn: str
    request: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    why: tuple[str, str] = ("EssentialContainerExited", "Essential container in task exited")
    heard: bool = True
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def environment(self) -> dict[str, str]:
        """The overrides' environment."""
        [container] = self.request["overrides"]["containerOverrides"]
        return {one["name"]: one["value"] for one in container.get("environment", [])}


class FakeEcs(Moto):
    """moto whose tasks run. `tasks` in order of their start; `requests` are (action, body) of all calls to ECS.

    `image_environment` is what the image would bring; images whose tag is `missing` cannot be pulled. `worker_calls`
    are the actions that were asked for with `WORKER_KEY`, as IAM names them.
    """

    def __init__(self, image_environment: dict[str, str], folder: Path) -> None:
        super().__init__()
        self.tasks: list[Task] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.worker_calls: set[str] = set()
        self._image_environment, self._folder = image_environment, folder

    def task_of(self, flow_run_id: object) -> Task | None:
        """Return the newest task that executes a flow run."""
        found = [task for task in self.tasks if task.environment.get("PREFECT__FLOW_RUN_ID") == str(flow_run_id)]
        return found[-1] if found else None

    def log(self, task: Task) -> str:
        """Return what a task has written."""
        file = self._log_file(task)
        return file.read_text(errors="replace") if file.exists() else ""

    def interrupt(
        self, task: Task, code: str = "SpotInterruption", reason: str = "Your Spot Task was interrupted."
    ) -> None:
        """SIGTERM to the container's first process, SIGKILL to the rest later: Spot, and StopTask."""
        task.why = (code, reason)
        if task.process is not None:
            task.process.send_signal(signal.SIGTERM)
            timer = threading.Timer(STOP_GRACE_SECONDS, kill_processes, (task.arn,))
            timer.daemon = True
            timer.start()

    def kill(self, task: Task, *, heard: bool = True) -> None:
        """SIGKILL to every process of a task at once; not `heard`: no event tells of it."""
        task.heard = heard
        kill_processes(task.arn)

    @staticmethod
    def run_out_of_memory(task: Task) -> None:
        """The kernel kills what has most memory: the flow's process, which the container's first one has started."""
        assert task.process is not None
        for process in psutil.Process(task.process.pid).children():
            process.kill()

    def stop_all(self) -> None:
        """Kill what still runs."""
        for task in self.tasks:
            self.kill(task, heard=False)

    def _answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        signed = re.search(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        key, service = signed.groups() if signed else ("", "")
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(raw)
        call = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2] or (
            _form_action(raw) if service == "ec2" else ""
        )
        if key == WORKER_KEY:
            self.worker_calls.add(f"{service}:{call}")
        if service != "ecs" or key == "test":
            return super()._answer(environ, start_response)
        answer = b"".join(super()._answer(environ, start_response))
        request = json.loads(raw)
        self.requests.append((call, request))
        if call == "DescribeTaskDefinition":
            answer = _as_ecs_describes(answer)
        if call == "RunTask":
            for started in json.loads(answer).get("tasks", []):
                self._begin(Task(started["taskArn"], request), started)
        elif call == "StopTask":
            self._stop(request)
        return [answer]

    def _begin(self, task: Task, described: dict[str, Any]) -> None:
        self.tasks.append(task)
        threading.Thread(target=self._run, args=(task, described), daemon=True).start()

    def _stop(self, request: dict[str, Any]) -> None:
        for task in self.tasks:
            if task.arn == request["task"]:
                self.interrupt(task, ("UserInitiated", request.get("reason", "")))

    def _run(self, task: Task, described: dict[str, Any]) -> None:
        try:
            command, environment = self._container(task, described["taskDefinitionArn"])
        except ImageMissing as error:  # ECS's event then names the container, without an exit code
            self._has_not_started(task, described, str(error), named=True)
            return
        except Exception as error:  # and here none: the documentation has both forms
            self._has_not_started(task, described, f"ResourceInitializationError: {type(error).__name__}: {error}")
            return
        self._tell(task, described, "PENDING")
        with self._log_file(task).open("wb") as log:
            task.process = subprocess.Popen(
                [sys.executable, "-c", WITH_DEFAULT_SIGNALS, *command],
                env=environment, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._tell(task, described, "RUNNING")
        status = task.process.wait()
        kill_processes(task.arn)  # a container takes along what its first process has left behind
        self._tell(task, described, "STOPPED", exit_code=status if status >= 0 else 128 - status)
        task.stopped.set()

    def _has_not_started(self, task: Task, described: dict[str, Any], reason: str, *, named: bool = False) -> None:
        task.why = ("TaskFailedToStart", reason)
        self._tell(task, described, "STOPPED", named=named)
        task.stopped.set()

    def _container(self, task: Task, definition_arn: str) -> tuple[list[str], dict[str, str]]:
        """Return command and environment of a task's container; raises what AWS says of a missing secret."""
        definition = self.client("ecs").describe_task_definition(taskDefinition=definition_arn)["taskDefinition"]
        [container] = definition["containerDefinitions"]
        if container["image"].endswith(":missing"):
            raise ImageMissing(f"CannotPullContainerError: {container['image']}: not found")
        [override] = task.request["overrides"]["containerOverrides"]
        assert override["name"] == container["name"]
        environment = {one["name"]: one["value"] for one in container.get("environment", [])}
        environment |= {one["name"]: self._secret(one["valueFrom"]) for one in container.get("secrets", [])}
        environment |= task.environment
        first, *rest = override["command"]
        command = [sys.executable, "-m", "prefect", *rest] if first == "prefect" else [first, *rest]
        return command, self._image_environment | environment | self.environment | {MARK: task.arn}

    def _secret(self, value_from: str) -> str:
        """Read `arn:json-key:stage:version` as the ECS agent does."""
        parts = value_from.split(":")
        text = self.client("secretsmanager").get_secret_value(SecretId=":".join(parts[:7]))["SecretString"]
        return str(json.loads(text)[parts[7]])

    def _tell(
        self, task: Task, described: dict[str, Any], status: str, exit_code: int | None = None, *, named: bool = False
    ) -> None:
        from moto.ecs.models import ecs_backends
        from moto.events.models import events_backends

        cluster = described["clusterArn"]
        if status == "STOPPED":
            stored = ecs_backends[ACCOUNT][REGION].tasks[cluster.rpartition("/")[2]][task.arn]
            stored.last_status = stored.desired_status = "STOPPED"
            stored.stopped_reason = task.why[1]
        if not task.heard:
            return
        containers = [
            {"name": one["name"], "lastStatus": status} for one in task.request["overrides"]["containerOverrides"]
        ]
        if exit_code is not None:
            containers = [one | {"exitCode": exit_code} for one in containers]
        detail = {
            "clusterArn": cluster,
            "taskArn": task.arn,
            "taskDefinitionArn": described["taskDefinitionArn"],
            "lastStatus": status,
            "desiredStatus": "STOPPED" if status == "STOPPED" else "RUNNING",
            "containers": containers if status != "STOPPED" or exit_code is not None or named else [],
        }
        if status == "STOPPED":
            detail |= {"stopCode": task.why[0], "stoppedReason": task.why[1]}
        event = {"Source": "aws.ecs", "DetailType": "ECS Task State Change", "Detail": json.dumps(detail)}
        events_backends[ACCOUNT][REGION].put_events([event])

    def _log_file(self, task: Task) -> Path:
        return self._folder / f"{task.arn.rpartition('/')[2]}.log"


def _as_ecs_describes(answer: bytes) -> bytes:
    """Add what ECS says of every task definition and moto forgets."""
    described = json.loads(answer)
    if "taskDefinition" in described:
        described["taskDefinition"]["enableFaultInjection"] = False
    return json.dumps(described).encode()


def _form_action(raw: bytes) -> str:
    """Return the action of a request in the older form."""
    return parse_qs(raw.decode(errors="replace")).get("Action", [""])[0]


def kill_processes(arn: str) -> None:
    """SIGKILL to every process of a task."""
    mark = f"{MARK}={arn}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes():
                os.kill(int(environ.parent.name), signal.SIGKILL)
        except OSError:  # it has ended, or is not ours
            continue


@contextmanager
def serving_ecs(image_environment: dict[str, str], folder: Path) -> Iterator[FakeEcs]:
    """Serve until the block ends; then no task is left."""
    aws = FakeEcs(image_environment, folder)
    with aws.serving():
        try:
            yield aws
        finally:
            aws.stop_all()
