"""AWS for tests: moto over real HTTP, which can refuse calls and remembers them."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from werkzeug.serving import make_server

REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "AKIAFLOWROLE00000001", "wJalrXUtnFEMI/K7MDENG+flowrole"

Environ = dict[str, Any]
Refusal = Callable[[str], str | None]


class Moto:
    """moto's services at `url`; `calls` are `<method> <path>` (S3) or the name of the action, in order.

    `refuses(call)` returns the code of the error that AWS answers with, or None.
    """

    def __init__(self) -> None:
        # half a second to import: only for who asks for AWS
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._services = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.calls: list[str] = []
        self.refuses: Refusal = lambda call: None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this AWS instead of the real one."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve in a thread until the block ends."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        thread = threading.Thread(target=self._server.serve_forever, name="moto", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def client(self, service: str) -> Any:
        """Return a client of the test's own, whose calls are not refused or remembered."""
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
        )

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Return what a bucket holds, by key."""
        s3 = self.client("s3")
        keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def _answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        call = target.rpartition(".")[2] or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        if "Credential=test/" not in environ.get("HTTP_AUTHORIZATION", ""):
            self.calls.append(call)
            if (code := self.refuses(call)) is not None:
                return _refused(code, target, start_response)
        answered: Iterable[bytes] = self._services(environ, start_response)
        return answered


def _refused(code: str, target: str, start_response: Callable[..., Any]) -> list[bytes]:
    """Answer as AWS does, with account and role in the text."""
    said = "User: arn:aws:sts::123456789012:assumed-role/flow/x is not authorized"
    body = json.dumps({"__type": code, "message": said}) if target else f"<Error><Code>{code}</Code></Error>"
    start_response("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1" if target else "application/xml")])
    return [body.encode()]


@contextmanager
def serving_moto() -> Iterator[Moto]:
    """Serve moto until the block ends."""
    moto = Moto()
    with moto.serving():
        yield moto
