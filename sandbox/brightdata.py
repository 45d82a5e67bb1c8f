"""Bright Data's `/datasets/v3`: trigger, progress, snapshot, snapshots, cancel."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pycountry

from sandbox.faults import CANCEL, LIST, PROGRESS, SNAPSHOT, TRIGGER, Strike
from sandbox.jobs import ENGINES, Job
from sandbox.misfortune import guarded
from sandbox.records import records_of
from sandbox.state import State
from sandbox.web import BadBody, Handler, Request, Response, Router, json_response

MAX_PROMPT_CHARACTERS = 4096
SUPPORTED = frozenset(country.alpha_2 for country in pycountry.countries) - {"CU", "IR", "KP", "SY"}
HOSTS = {"chatgpt": "chatgpt.com", "perplexity": "perplexity.ai", "gemini": "gemini.google.com"}


class BrightData:
    """The endpoints, over one account's state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add_to(self, router: Router) -> None:
        base = "/datasets/v3"
        router.add("POST", f"{base}/trigger", self._open(TRIGGER, self._trigger))
        router.add("GET", f"{base}/progress/{{id}}", self._open(PROGRESS, self._progress))
        router.add("GET", f"{base}/snapshot/{{id}}", self._open(SNAPSHOT, self._snapshot))
        router.add("GET", f"{base}/snapshots", self._open(LIST, self._list))
        router.add("POST", f"{base}/snapshot/{{id}}/cancel", self._open(CANCEL, self._cancel))

    def _open(self, surface: str, work: Any) -> Handler:
        """Return the handler with authorisation before and faults around the work."""

        async def handle(request: Request) -> Response:
            self._state.calls[surface] += 1
            refused = _unauthorised(request)
            return refused or await guarded(self._state, surface, request, work)

        return handle

    async def _trigger(self, request: Request, strike: Strike) -> Response:
        dataset_id = request.query.get("dataset_id", "")
        if dataset_id not in ENGINES:
            return json_response({"error": "Dataset does not exist"}, 404)
        try:
            inputs = _inputs(request)
        except BadBody as error:
            return json_response({"error": str(error), "code": "parse_error"}, 400)
        problems = _problems(ENGINES[dataset_id], inputs, strike)
        if problems:
            return json_response(
                {"error": "Input validation failed", "code": "validation_error", "errors": problems}, 400
            )
        throttled = self._throttled()
        if throttled is not None:
            return throttled
        if "empty_snapshot_id" in strike:
            return json_response({"snapshot_id": ""})
        job = self._state.jobs.accept(dataset_id, inputs, strike)
        return json_response({"snapshot_id": job.snapshot_id})

    def _throttled(self) -> Response | None:
        options, jobs = self._state.options, self._state.jobs
        if options.max_running_jobs is not None and jobs.running() >= options.max_running_jobs:
            return self._state.too_many("too many running jobs")
        limit = options.submissions_per_minute
        if limit is not None and jobs.submissions_in_last_minute() >= limit:
            return self._state.too_many("too many submissions per minute")
        return None

    async def _progress(self, request: Request, strike: Strike) -> Response:
        job = self._job(request)
        if job is None:
            return _not_found()
        status = job.status(self._state.clock.now())
        body: dict[str, Any] = {"snapshot_id": job.snapshot_id, "dataset_id": job.dataset_id, "status": status}
        if status == "ready":
            body["records"] = sum(slot.delivered for slot in job.slots)
            body["errors"] = sum(slot.error_code is not None for slot in job.slots)
        return json_response(body)

    async def _snapshot(self, request: Request, strike: Strike) -> Response:
        job = self._job(request)
        if job is None:
            return _not_found()
        status = job.status(self._state.clock.now())
        if status in ("failed", "cancelled"):
            return json_response({"error": f"Snapshot is {status}", "status": status}, 400)
        if status != "ready":
            return json_response({"status": status, "message": "Snapshot is not ready yet, try again in 10s"}, 202)
        if job.still_building():
            return json_response({"status": "building", "message": "Snapshot is building, try again in 10s"}, 202)
        return json_response(records_of(self._state.world, self._state.options.seed, job))

    async def _list(self, request: Request, strike: Strike) -> Response:
        query, now = request.query, self._state.clock.now()
        if "dataset_id" not in query:
            return json_response({"error": "dataset_id is required", "code": "validation_error"}, 400)
        try:
            since, until = _moment(query.get("from_date")), _moment(query.get("to_date"))
            skip, limit = int(query.get("skip", 0)), min(int(query.get("limit", 1000)), 5000)
        except ValueError:
            return json_response({"error": "Invalid date or number", "code": "validation_error"}, 400)
        rows = [
            _row(job, now)
            for job in self._state.jobs.by_id.values()
            if job.dataset_id == query["dataset_id"]
            and query.get("status") in (None, "", _listed_status(job, now))
            and (since is None or job.created >= since)
            and (until is None or job.created <= until)
        ]
        return json_response(rows[skip : skip + limit])

    async def _cancel(self, request: Request, strike: Strike) -> Response:
        job = self._job(request)
        if job is None:
            return _not_found()
        status = job.status(self._state.clock.now())
        if status in ("ready", "failed"):
            return json_response({"error": f"Snapshot is {status} and cannot be cancelled"}, 400)
        job.cancelled = True
        return Response(200, b"OK", content_type="text/plain")

    def _job(self, request: Request) -> Job | None:
        return self._state.jobs.by_id.get(request.parameters["id"])


def _unauthorised(request: Request) -> Response | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip() and key.strip() != "bad":
        return None
    return json_response({"error": "Invalid credentials"}, 401)


def _not_found() -> Response:
    return json_response({"error": "Snapshot does not exist"}, 404)


def _inputs(request: Request) -> list[dict[str, Any]]:
    body = request.json()
    inputs = body.get("input") if isinstance(body, dict) else body
    if not isinstance(inputs, list) or not all(isinstance(entry, dict) for entry in inputs):
        raise BadBody("The body must be an array of inputs, or an object with the array in `input`.")
    return inputs


def _problems(engine: str, inputs: list[dict[str, Any]], strike: Strike) -> list[list[str]]:
    """Return the [field, reason] pairs for which the whole trigger is refused."""
    if not inputs:
        return [["input", "At least one input is required"]]
    problems: dict[tuple[str, str], None] = {}
    for entry in inputs:
        problems |= dict.fromkeys(_problems_of(engine, entry))
    if "refused_country" in strike:
        country = next((str(entry["country"]) for entry in inputs if entry.get("country")), "US")
        problems["country", f"Country {country} is not supported"] = None
    return [list(problem) for problem in problems]


def _problems_of(engine: str, entry: dict[str, Any]) -> list[tuple[str, str]]:
    problems = []
    if HOSTS[engine] not in str(entry.get("url") or ""):
        problems.append(("url", f"The url must be of {HOSTS[engine]}"))
    prompt = entry.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        problems.append(("prompt", "This field is required"))
    elif len(prompt) > MAX_PROMPT_CHARACTERS:
        problems.append(("prompt", f"The prompt is longer than {MAX_PROMPT_CHARACTERS} characters"))
    country = entry.get("country")
    if country and (not isinstance(country, str) or country not in SUPPORTED):
        problems.append(("country", f"Country {country} is not supported"))
    return problems


def _listed_status(job: Job, now: float) -> str:
    """Return the status in the words of the list, which knows fewer than `progress`."""
    status = job.status(now)
    if status == "cancelled":
        return "failed"
    return status if status in ("starting", "ready", "failed") else "running"


def _row(job: Job, now: float) -> dict[str, Any]:
    status = _listed_status(job, now)
    return {
        "id": job.snapshot_id,
        "created": job.created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "status": status,
        "dataset_id": job.dataset_id,
        "dataset_size": sum(slot.delivered for slot in job.slots) if status == "ready" else 0,
    }


def _moment(text: str | None) -> datetime | None:
    """Parse an ISO date or moment, UTC when it names no zone. Raises ValueError."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
