"""The checker that other tests rely on when they say that nothing secret is anywhere."""

from __future__ import annotations

import base64
import json
import pickle
from urllib.parse import quote, urlencode

import pytest

from tests.support.secrets import assert_nothing_secret

SECRET = 'sk-live/0123+456 "ä"'
WRITTEN = {
    "as it is": f"Authorization: Bearer {SECRET}",
    "in a URL": f"postgresql://user:{quote(SECRET, safe='')}@host/name",
    "in a form": urlencode({"key": SECRET}),
    "in JSON": json.dumps({"key": SECRET}),
    "in JSON in JSON": json.dumps({"body": json.dumps({"key": SECRET})}),
    "in hexadecimal": f"bytea \\x{SECRET.encode().hex()}",
    "as bytes": SECRET.encode(),
    "in a pickle": pickle.dumps(ValueError(SECRET)),
    "in base64 of lines": base64.encodebytes(pickle.dumps({"a": "x" * 50, "error": ValueError(SECRET), "z": "y" * 50})),
    "in base64 of lines in JSON": json.dumps(base64.encodebytes(f"{'x' * 51}{SECRET}".encode()).decode()),
    **{f"in base64 after {n}": base64.b64encode(b"x" * n + SECRET.encode() + b"y") for n in range(1, 4)},
    "in base64 of URLs": base64.urlsafe_b64encode(f"user:{SECRET}".encode()),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_a_secret_is_found_however_it_is_written_and_is_not_shown(written: str) -> None:
    with pytest.raises(AssertionError) as found:
        assert_nothing_secret({"the log": WRITTEN[written]}, [SECRET])
    assert "the log holds the secret sk-l…" in str(found.value) and SECRET not in str(found.value)


def test_every_place_is_told_and_what_holds_nothing_is_not() -> None:
    assert_nothing_secret(["sk-live/0123", b"\xff\x00", "{}"], [SECRET])
    with pytest.raises(AssertionError) as found:
        assert_nothing_secret(["nothing", SECRET, f"{SECRET}!"], [SECRET, "another secret"])
    assert "text 1 holds" in str(found.value) and "text 2 holds" in str(found.value)
    assert "text 0" not in str(found.value) and "anot…" not in str(found.value)
