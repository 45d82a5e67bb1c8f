"""Looking for secrets where none may be: as they are, and as URLs, JSON, headers and pickles write them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

Text = str | bytes

SHORTEST = 8  # characters: a shorter secret would be found everywhere
LINE_BREAKS = re.compile(r"\s+|(?:\\+[nr])+")  # real ones, and those inside of JSON
_FIRST_WHOLE_CHARACTER = (0, 2, 3)  # of base64, when so many other bytes stand before the secret in its group of three
_SHOWN_BEFORE = 80  # characters of the text before what was found


def assert_nothing_secret(texts: Mapping[str, Text] | Iterable[Text], secrets: Iterable[str]) -> None:
    """Fail when a text holds one of the secrets in any of its `forms`; `texts` by where they are from, or a bare list.

    What a result storage or a header has encoded is found too: the base64 of whatever text a secret stands in holds
    one of three strings, whichever that text is and however it is broken into lines.
    """
    named = texts.items() if isinstance(texts, Mapping) else ((f"text {at}", text) for at, text in enumerate(texts))
    wanted = {secret: forms(secret) for secret in secrets}
    found = [place for where, text in named for place in _places(where, text, wanted)]
    assert not found, "\n".join(found)


def forms(secret: str) -> dict[str, str]:
    """Return how a secret may be written, by the name of the form."""
    assert len(secret) >= SHORTEST, "too short to be looked for"
    content = secret.encode()
    return {
        "plain": secret,
        "URL": quote(secret, safe=""),
        "URL with +": quote_plus(secret),
        "JSON": json.dumps(secret)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(secret)[1:-1])[1:-1],
        "hexadecimal": content.hex(),
        **{f"base64 after {before}": _base64(content, before) for before in range(3)},
        **{f"base64 of URLs after {before}": _base64(content, before, b"-_") for before in range(3)},
    }


def _base64(content: bytes, before: int, alphabet: bytes = b"+/") -> str:
    """Return what stands in the base64 of any text that holds the content after 3n + `before` bytes."""
    encoded = base64.b64encode(b"\0" * before + content, alphabet).decode()
    return encoded[_FIRST_WHOLE_CHARACTER[before] : (before + len(content)) * 8 // 6]


def _places(where: str, text: Text, wanted: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    content = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    in_one_line = LINE_BREAKS.sub("", content)  # MIME and pickles in JSON break base64 after 76 characters
    for secret, written in wanted.items():
        for form, needle in written.items():
            looked_at = in_one_line if form.startswith("base64") else content
            if (at := looked_at.find(needle)) >= 0:
                before = looked_at[max(0, at - _SHOWN_BEFORE) : at]
                yield f"{where} holds the secret {secret[:4]}… ({form}) after {before!r}"
                break
