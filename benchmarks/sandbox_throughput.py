"""How many extraction calls a second one sandbox process answers; the bar is 1,000 on one core.

`python -m benchmarks.sandbox_throughput [CALLS]` starts a sandbox of its own without latency and sends the calls
over 16 plain connections, so that the client is not what is measured.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

CONNECTIONS = 16
LINE = "sandbox listening on http://"


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def request_bytes() -> bytes:
    """Return an HTTP request of the size that the product sends for one answer: about 8 kB."""
    integers = {"type": "array", "items": {"type": "integer"}}
    sentiment = {"anyOf": [{"type": "string", "enum": ["positive", "neutral", "negative"]}, {"type": "null"}]}
    flag = {"type": "boolean"}
    evaluation = _object(is_mention_verified=flag, mention_blocks=integers, sentiment=sentiment, absence_statement=flag)
    answer = _object(
        answer={"type": "integer"},
        brands={"type": "array", "items": {"type": "string"}},
        evaluation={"anyOf": [evaluation, {"type": "null"}]},
    )
    schema = _object(answers={"type": "array", "items": answer})
    blocks = [f"[{place}] **Brand {place}** – Northwind Heating is a top choice. [3]" for place in range(1, 31)]
    document = {
        "organisation": {"name": "Northwind Heating", "names": ["Northwind Heating", "Northwind"], "domains": []},
        "answers": [{"answer": 1, "question": "Who repairs furnaces?", "evaluate": True, "blocks": blocks}],
    }
    body = json.dumps(
        {
            "model": "gpt-6-luna",
            "messages": [
                {"role": "system", "content": "rule " * 800},
                {"role": "user", "content": json.dumps(document)},
            ],
            "response_format": {"type": "json_schema", "json_schema": {"name": "R", "strict": True, "schema": schema}},
        }
    ).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer key\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def send(host: str, port: int, request: bytes, calls: int) -> None:
    """Send the calls one after another on one connection; raises when one is not answered with 200."""
    reader, writer = await asyncio.open_connection(host, port)
    for _ in range(calls):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        if b" 200 " not in head:
            raise RuntimeError(body.decode())
    writer.close()
    await writer.wait_closed()


async def measure(host: str, port: int, calls: int) -> float:
    """Return calls per second over all connections together."""
    request = request_bytes()
    begun = time.perf_counter()
    share = calls // CONNECTIONS
    await asyncio.gather(*(send(host, port, request, share) for _ in range(CONNECTIONS)))
    return share * CONNECTIONS / (time.perf_counter() - begun)


def main(calls: int = 4000) -> None:
    command = [sys.executable, "-m", "sandbox", "--no-latency"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, port = process.stdout.readline().strip().removeprefix(LINE).split(":")
        try:
            print(f"{asyncio.run(measure(host, int(port), calls)):.0f} extraction calls a second")
        finally:
            process.terminate()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
