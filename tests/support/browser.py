"""What a person reads on a page of the Prefect UI, by a headless Chromium where one is installed."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import tempfile
import time

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1440,2000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the UI would fetch logos of block types
    "--virtual-time-budget=10000",  # of the page's own clock, which stands still while it waits for the server
)  # fmt: skip
PATIENCE_SECONDS = 60


def chromium() -> str | None:
    """Return the browser's path, None where none is installed."""
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


def missing_on(browser: str, url: str, expected: set[str]) -> set[str]:
    """Return what of `expected` the page does not say, after it was opened again for a while."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        said = text_of(browser, url)
        missing = {text for text in expected if text not in said}
        if not missing or time.monotonic() > deadline:
            return missing


def text_of(browser: str, url: str) -> str:
    """Return the page's text once its scripts have run, white space as single blanks."""
    with tempfile.TemporaryDirectory() as profile:
        opened = subprocess.run(
            [browser, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=True,
        )  # fmt: skip
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", opened.stdout)).split())
