"""Deploying: what runs where. Nothing that we start reports to anybody (docs/telemetry.md)."""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")  # before Prefect is imported: it looks when it is
