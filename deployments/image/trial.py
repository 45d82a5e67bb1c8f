"""One whole trial: build, measure, try alone, together and until SIGTERM; what was found as JSON."""

from __future__ import annotations

import os
import platform
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from deployments.image.alone import try_alone
from deployments.image.build import DEBIAN, PACKAGES, ROOT, Builder, make_stand_in
from deployments.image.checks import Checks, GroupEnded, Say
from deployments.image.compose import Service, our_services
from deployments.image.container import Container, Image
from deployments.image.database import postgres
from deployments.image.network import Network, network
from deployments.image.sizes import sizes_of
from deployments.image.stops import try_stops
from deployments.image.together import together, try_evaluation

STAND_IN = "localhost/stand-in"
TARGETS = ("production", "sandbox")
PRODUCT = "localhost/senso-workflows"


def tried(base: str | None, folder: Path, say: Say) -> dict[str, Any]:
    """Build on a base image (the stand-in without one) and try it; return what is kept as the result.

    Raises ConfigurationError when something cannot be built; a check that fails is a result.
    """
    builder = Builder(folder)
    checks = Checks(say)
    try:
        seconds = _built(builder, base, say)
        described = builder.described(f"{PRODUCT}:production")
        images = {target: _image(builder, target) for target in TARGETS}
        say("Measuring sizes …")
        sizes = sizes_of(images["production"].root)
        _try(checks, images, described, folder, say)
    finally:
        builder.clear()
    configuration = described["config"]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "base": {"name": base or f"stand-in: debootstrap {DEBIAN} with {PACKAGES}", "is_stand_in": base is None},
        "tools": {"buildah": builder.version()},
        "image": {"user": configuration["User"], "command": configuration["Cmd"], **sizes},
        "build_seconds": seconds,
        "checks": [vars(check) for check in checks.made],
    }


def _built(builder: Builder, base: str | None, say: Say) -> dict[str, float]:
    """Build everything; return the seconds of each part."""
    seconds = {}
    if base is None:
        say("Making a stand-in of the base image from Debian's packages (minutes) …")
        began = time.monotonic()
        make_stand_in(builder, STAND_IN)
        seconds["stand_in"] = round(time.monotonic() - began, 1)
    for target in TARGETS:
        say(f"Building {target} …")
        began = time.monotonic()
        builder.build(f"{PRODUCT}:{target}", base or STAND_IN, target, pull=base is not None)
        seconds[target] = round(time.monotonic() - began, 1)
    return seconds


def _image(builder: Builder, target: str) -> Image:
    """Return an image's file system, with the places over which a container mounts something."""
    tag = f"{PRODUCT}:{target}"
    root = builder.mounted(tag)
    (root / "etc/hosts").touch()
    return Image(root, builder.described(tag)["config"])


def _try(checks: Checks, images: dict[str, Image], described: dict[str, Any], folder: Path, say: Say) -> None:
    password = secrets.token_hex(16)
    services = our_services(ROOT / "compose.yaml", {"POSTGRES_PASSWORD": password})
    names = [*(service.name for service in services), "trial"]
    with network(names, "postgres", folder) as containers:
        say("Trying the image alone …")
        try_alone(checks, Container(images["production"], containers, "trial"), described)
        say("Trying the commands of compose.yaml together …")
        with suppress(GroupEnded):
            _try_together(checks, images, services, containers, folder, password)


def _try_together(
    checks: Checks, images: dict[str, Image], services: list[Service], containers: Network, folder: Path, password: str
) -> None:
    with (
        postgres(containers, folder / f"data-{os.getpid()}", password) as server,
        together(checks, images, services, containers, server, folder) as stack,
    ):
        org_id = try_evaluation(checks, stack)
        try_stops(checks, stack, org_id, folder)


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": processor,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
    }
