"""The sandbox's own endpoints: world, truth, accounting, faults, and the Slack webhook that records."""

from __future__ import annotations

from typing import Any

from sandbox.faults import FAULTS, SLACK, SURFACES, Strike, UnknownFault
from sandbox.jobs import Job, Slot, echo_id
from sandbox.ledger import accounting
from sandbox.misfortune import guarded
from sandbox.records import answer_of
from sandbox.state import State
from sandbox.web import Request, Response, Router, json_response
from sandbox.world import orgs_from


class Control:
    """Endpoints that no vendor has; none needs a key."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add_to(self, router: Router) -> None:
        for path in ("", "/_health"):
            router.add("GET", path, self.health)
        router.add("GET", "/_world", self.world)
        router.add("POST", "/_world", self.learn)
        router.add("GET", "/_truth/answers", self.truths)
        router.add("GET", "/_truth/answer", self.truth)
        router.add("GET", "/_accounting", self.accounting)
        router.add("POST", "/_reset", self.reset)
        router.add("GET", "/_faults", self.faults)
        router.add("POST", "/_faults", self.set_faults)
        router.add("GET", "/_slack", self.slack_messages)
        router.add("POST", "/slack/{name}", self.slack)
        router.add("POST", "/slack/{a}/{b}", self.slack)
        router.add("POST", "/slack/{a}/{b}/{c}", self.slack)
        router.add("POST", "/slack/{a}/{b}/{c}/{d}", self.slack)

    async def health(self, request: Request) -> Response:
        options = self._state.options
        return json_response({"sandbox": True, "seed": options.seed, "time_scale": options.time_scale})

    async def world(self, request: Request) -> Response:
        orgs = self._state.world.orgs.values()
        rows = [{"name": org.name, "websites": org.websites, "questions": org.questions} for org in orgs]
        return json_response({"seed": self._state.world.seed, "orgs": rows})

    async def learn(self, request: Request) -> Response:
        orgs = orgs_from(request.json())
        if not orgs:
            return json_response({"error": "The body names no organisations."}, 400)
        self._state.world.learn(orgs)
        return json_response({"learned": len(orgs), "orgs": len(self._state.world.orgs)})

    async def truths(self, request: Request) -> Response:
        """Return the truth of every accepted input that fits the query, newest job last."""
        query = request.query
        now = self._state.clock.now()
        found = [
            self._truth(job, slot, job.status(now))
            for job in self._state.jobs.by_id.values()
            if query.get("snapshot_id", job.snapshot_id) == job.snapshot_id
            for slot in job.slots
            if _fits(query, job, slot)
        ]
        return json_response({"answers": found})

    def _truth(self, job: Job, slot: Slot, status: str) -> dict[str, Any]:
        return {
            "snapshot_id": job.snapshot_id,
            "engine": job.engine,
            "question_run_id": echo_id(slot.input),
            "prompt": slot.input["prompt"],
            "country": slot.input.get("country"),
            "error_code": slot.error_code,
            "sold": status == "ready" and slot.sold,
            "usable": status == "ready" and slot.usable,
            **answer_of(self._state.world, job, slot).truth(),
        }

    async def truth(self, request: Request) -> Response:
        """Return what an engine would answer to a question, bought or not."""
        query = request.query
        if not query.get("question"):
            return json_response(
                {"error": "The query needs question, and may have engine, country and replicate."}, 400
            )
        engine, country = query.get("engine", "chatgpt"), query.get("country", "US")
        answer = self._state.world.answer(query["question"], engine, country, replicate=query.get("replicate", ""))
        return json_response(answer.truth())

    async def accounting(self, request: Request) -> Response:
        return json_response(accounting(self._state, detail=request.query.get("detail", "true") != "false"))

    async def reset(self, request: Request) -> Response:
        self._state.reset_counts()
        return json_response({"reset": True})

    async def faults(self, request: Request) -> Response:
        faults = self._state.faults
        rows = [{"name": f.name, "surfaces": f.surfaces, "sentence": f.sentence} for f in FAULTS.values()]
        return json_response(
            {
                "faults": rows,
                "surfaces": [*SURFACES, "llm"],
                "probabilities": faults.probabilities,
                "seed": faults.seed,
                "struck": dict(faults.struck),
            }
        )

    async def set_faults(self, request: Request) -> Response:
        """Replace probabilities and script; an empty object takes all faults away."""
        body = request.json()
        if not isinstance(body, dict):
            return json_response({"error": "The body must be an object."}, 400)
        probabilities, script = body.get("probabilities") or {}, body.get("script") or []
        try:
            seed = int(body.get("seed", self._state.options.seed))
            self._state.faults.configure(seed, probabilities, script)
        except (UnknownFault, TypeError, ValueError, AttributeError) as error:
            return json_response({"error": str(error)}, 400)
        return json_response({"probabilities": self._state.faults.probabilities, "script": len(script)})

    async def slack(self, request: Request) -> Response:
        self._state.calls[SLACK] += 1
        return await guarded(self._state, SLACK, request, self._record_message)

    async def _record_message(self, request: Request, strike: Strike) -> Response:
        path = request.path.removeprefix("/slack/")
        self._state.slack.append({"path": path, "body": _slack_body(request)})
        return Response(200, b"ok", content_type="text/html")

    async def slack_messages(self, request: Request) -> Response:
        return json_response({"messages": self._state.slack})


def _slack_body(request: Request) -> Any:
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return request.body.decode("utf-8", "replace")
    return request.json()


def _fits(query: dict[str, str], job: Job, slot: Slot) -> bool:
    facts = {
        "question_run_id": echo_id(slot.input),
        "prompt": str(slot.input["prompt"]),
        "country": str(slot.input.get("country") or ""),
        "engine": job.engine,
    }
    return all(query[name] == value for name, value in facts.items() if name in query)
