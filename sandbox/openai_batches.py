"""OpenAI's `/v1/files` and `/v1/batches`: chat completions that are asked for by file and sold at leisure."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson

from sandbox.batch_jobs import OVER, BatchJob, StoredFile
from sandbox.faults import BATCH, BATCHES, CHAT, FILES, Strike
from sandbox.llm import bad_request, identifier, unauthorised
from sandbox.misfortune import guarded, llm_error
from sandbox.openai_chat import completed, prompt_of
from sandbox.state import State
from sandbox.web import Handler, Request, Response, Router, json_response

ENDPOINT = "/v1/chat/completions"
MOST_LINES = 50_000
MOST_BYTES = 200_000_000
LONGEST_CUSTOM_ID = 64
LINES_AT_A_TIME = 50
LINE = "batch_line"  # counted among the calls
REFUSED_LINES = {
    "quota_gone": (429, "insufficient_quota"),
    "rate_limited": (429, "rate_limit_exceeded"),
    "rate_limited_no_retry_after": (429, "rate_limit_exceeded"),
    "server_error": (500, "server_error"),
}


class Batches:
    """The endpoints, over one account's state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add_to(self, router: Router) -> None:
        router.add("POST", "/v1/files", self._open(FILES, self._upload))
        router.add("GET", "/v1/files/{id}/content", self._open(FILES, self._content))
        router.add("POST", "/v1/batches", self._open(BATCHES, self._create))
        router.add("GET", "/v1/batches", self._open(BATCH, self._list))
        router.add("GET", "/v1/batches/{id}", self._open(BATCH, self._retrieve))
        router.add("POST", "/v1/batches/{id}/cancel", self._open(BATCH, self._cancel))

    def _open(self, surface: str, work: Any) -> Handler:
        async def handle(request: Request) -> Response:
            self._state.calls[surface] += 1
            return unauthorised(request) or await guarded(self._state, surface, request, work)

        return handle

    async def _upload(self, request: Request, strike: Strike) -> Response:
        fields = form_fields(request)
        name, content = fields.get("file", ("", b""))
        purpose = fields.get("purpose", ("", b""))[1].decode()
        if not content:
            return bad_request("Missing required parameter: 'file'.", "file")
        if purpose != "batch":
            return bad_request(f"'{purpose}' is not one of ['batch'] - 'purpose'", "purpose")
        if len(content) > MOST_BYTES:
            return bad_request("The file is larger than 200 MB.", "file", "file_too_large")
        return json_response(_file(self._state.batches.store(name, purpose, content)))

    async def _content(self, request: Request, strike: Strike) -> Response:
        stored = self._state.batches.files.get(request.parameters["id"])
        if stored is None:
            return _not_found("file", request.parameters["id"])
        return Response(200, stored.content, content_type="application/octet-stream")

    async def _create(self, request: Request, strike: Strike) -> Response:
        body = request.json()
        if not isinstance(body, dict) or body.get("completion_window") != "24h":
            return bad_request("Invalid value: 'completion_window' must be '24h'.", "completion_window")
        if body.get("endpoint") != ENDPOINT:
            return bad_request(f"The sandbox's batches only serve {ENDPOINT}.", "endpoint")
        file = self._state.batches.files.get(str(body.get("input_file_id")))
        if file is None:
            return bad_request("Invalid value: 'input_file_id' names no file.", "input_file_id")
        lines, problems = checked_lines(file.content)
        job = self._state.batches.accept(file, ENDPOINT, body.get("metadata") or {}, lines, problems, strike)
        return json_response(self._batch(job))

    async def _retrieve(self, request: Request, strike: Strike) -> Response:
        job = self._job(request)
        if job is None:
            return _not_found("batch", request.parameters["id"])
        await self._settle(job)
        return json_response(self._batch(job))

    async def _list(self, request: Request, strike: Strike) -> Response:
        jobs = list(reversed(self._state.batches.by_id.values()))
        after = request.query.get("after")
        ids = [job.batch_id for job in jobs]
        first = ids.index(after) + 1 if after in ids else 0
        limit = min(int(request.query.get("limit", 20)), 100)
        rows = [self._batch(job) for job in jobs[first : first + limit]]
        ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
        return json_response({"object": "list", "data": rows, **ends, "has_more": first + limit < len(jobs)})

    async def _cancel(self, request: Request, strike: Strike) -> Response:
        job = self._job(request)
        if job is None:
            return _not_found("batch", request.parameters["id"])
        now = self._state.clock.now()
        if job.status(now) in OVER:
            return bad_request(f"Cannot cancel a batch with status '{job.status(now)}'.")
        job.cancelled_after = now - job.started
        await self._settle(job)
        return json_response(self._batch(job))

    def _job(self, request: Request) -> BatchJob | None:
        return self._state.batches.by_id.get(request.parameters["id"])

    async def _settle(self, job: BatchJob) -> None:
        """Answer, bill and file the lines of a batch that is over; once, whoever looks first."""
        async with job.settling:
            status = job.status(self._state.clock.now())
            if job.settled or status not in OVER or status == "failed":
                return
            outputs, errors = await self._results(job, status)
            store = self._state.batches.store
            job.output_file_id = store("output.jsonl", "batch_output", b"".join(outputs)).file_id if outputs else None
            job.error_file_id = store("error.jsonl", "batch_output", b"".join(errors)).file_id if errors else None
            job.settled = True

    async def _results(self, job: BatchJob, status: str) -> tuple[list[bytes], list[bytes]]:
        outputs: list[bytes] = []
        errors: list[bytes] = []
        answered = job.answered(status)
        for number, line in enumerate(job.lines):
            if number % LINES_AT_A_TIME == 0:
                await asyncio.sleep(0)
            if "batch_lines_missing" in job.faults and number % 3 == 0:
                continue
            code, body = self._respond(line["body"]) if number < answered else (0, None)
            row = _result(identifier(self._state, "batch_req_"), line["custom_id"], code, body, status)
            (outputs if code == 200 else errors).append(orjson.dumps(row) + b"\n")
        return outputs, errors

    def _respond(self, body: Any) -> tuple[int, Any]:
        """Return status and body that a line is answered with; faults of single completions strike here too."""
        self._state.calls[LINE] += 1
        strike = self._state.faults.strike(CHAT)
        for name, (status, code) in REFUSED_LINES.items():
            if name in strike:
                refused = llm_error(status, "The request could not be served.", code, code)
                return status, orjson.loads(refused.body)
        prompt = prompt_of(body)
        if isinstance(prompt, Response):
            return prompt.status, orjson.loads(prompt.body)
        return 200, completed(self._state, prompt, strike, batched=True)

    def _batch(self, job: BatchJob) -> dict[str, Any]:
        status = job.status(self._state.clock.now())
        if status in OVER and status != "failed" and not job.settled:
            status = "finalizing"  # nobody has looked yet: the list does not settle
        answered = job.answered(status) if job.settled else 0
        errors = {"object": "list", "data": job.problems or [{"code": "token_limit_exceeded", "line": None}]}
        return {
            "id": job.batch_id,
            "object": "batch",
            "endpoint": job.endpoint,
            "errors": errors if status == "failed" else None,
            "input_file_id": job.input_file_id,
            "completion_window": "24h",
            "status": status,
            "output_file_id": job.output_file_id,
            "error_file_id": job.error_file_id,
            "created_at": job.created_at,
            "expires_at": job.created_at + int(job.window),
            "request_counts": {"total": len(job.lines), "completed": answered, "failed": 0},
            "metadata": job.metadata,
        }


def form_fields(request: Request) -> dict[str, tuple[str, bytes]]:
    """Return the parts of a multipart/form-data body by name: file name ("" for plain fields) and content."""
    match = re.search(r'boundary="?([^";]+)"?', request.headers.get("content-type", ""))
    if match is None:
        return {}
    fields = {}
    for part in request.body.split(b"--" + match.group(1).encode()):
        head, found, content = part.partition(b"\r\n\r\n")
        names = dict(re.findall(r'(\w+)="([^"]*)"', head.decode("utf-8", "replace")))
        if found and "name" in names:
            fields[names["name"]] = (names.get("filename", ""), content.removesuffix(b"\r\n"))
    return fields


def checked_lines(content: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the parsed lines and what is wrong with them, in the form of a batch's errors."""
    lines: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, raw in enumerate(content.splitlines(), 1):
        code, line = _checked_line(raw, seen, lines[0] if lines else None)
        if code:
            problems.append({"code": code, "line": number, "message": f"Line {number}: {code}", "param": None})
        else:
            lines.append(line)
    if not lines and not problems:
        problems.append({"code": "empty_file", "line": None, "message": "The file is empty.", "param": None})
    if len(lines) > MOST_LINES:
        problems.append({"code": "too_many_tasks", "line": None, "message": "At most 50,000.", "param": None})
    return lines, problems


def _checked_line(raw: bytes, seen: set[str], first: dict[str, Any] | None) -> tuple[str, dict[str, Any]]:
    try:
        line = orjson.loads(raw)
    except ValueError:
        return "invalid_json_line", {}
    if not isinstance(line, dict) or not isinstance(line.get("body"), dict):
        return "missing_required_parameter", {}
    custom_id = line.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= LONGEST_CUSTOM_ID:
        return "invalid_custom_id", {}
    if custom_id in seen:
        return "duplicate_custom_id", {}
    seen.add(custom_id)
    if line.get("method") != "POST" or line.get("url") != ENDPOINT:
        return "invalid_url", {}
    if first is not None and line["body"].get("model") != first["body"].get("model"):
        return "mismatched_model", {}
    return "", line


def _result(row_id: str, custom_id: str, code: int, body: Any, status: str) -> dict[str, Any]:
    if body is None:
        error = {"code": f"batch_{status}", "message": "This request could not be executed before the batch ended."}
        return {"id": row_id, "custom_id": custom_id, "response": None, "error": error}
    response = {"status_code": code, "request_id": row_id, "body": body}
    return {"id": row_id, "custom_id": custom_id, "response": response, "error": None}


def _file(stored: StoredFile) -> dict[str, Any]:
    return {
        "id": stored.file_id,
        "object": "file",
        "bytes": len(stored.content),
        "created_at": stored.created_at,
        "filename": stored.name,
        "purpose": stored.purpose,
        "status": "processed",
    }


def _not_found(kind: str, name: str) -> Response:
    return llm_error(404, f"No {kind} found with id '{name}'.", "invalid_request_error", None)
