"""Build images with buildah: no daemon, no engine, no registry of images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visibility.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
DEBIAN = "bookworm"
PACKAGES = "python3,python3-venv"
# programs and Debian's packages that have them
TOOLS = {"buildah": "buildah", "debootstrap": "debootstrap", "ip": "iproute2", "unshare": "util-linux",
         "nsenter": "util-linux", "setpriv": "util-linux"}  # fmt: skip
# where pip finds packages is a matter of the machine: these of its settings are handed to the build, as secrets
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "proxy", "cert")
CERTIFICATES = "/run/secrets/pip.crt"
# the official image has its pip in /usr/local: with one there, too, it is seen whether the Dockerfile removes it
STAND_IN = """FROM scratch
COPY . /
RUN ln -s python3 /usr/bin/python \\
 && python3 -m venv /tmp/pip && mkdir -p /usr/local/lib/python3.11/site-packages \\
 && cp -r /tmp/pip/lib/python3.11/site-packages/. /usr/local/lib/python3.11/site-packages/ \\
 && cp /tmp/pip/bin/pip3 /usr/local/bin/pip && rm -r /tmp/pip
CMD ["python3"]
"""


@dataclass(frozen=True)
class Builder:
    """Buildah with its images and containers in one folder, apart from others on this machine."""

    folder: Path

    def run(self, *arguments: str, log: Path | None = None) -> str:
        """Run buildah; return what it printed. Raises ConfigurationError with its last line when it fails."""
        command = ["buildah", "--storage-driver", "overlay", "--root", str(self.folder / "storage"),
                   "--runroot", str(self.folder / "run"), *arguments]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if log is not None:
            log.write_text(done.stdout + done.stderr)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            where = f", see {log}" if log is not None else ""
            raise ConfigurationError(f"buildah {arguments[0]}: {lines[-1] if lines else 'failed'}{where}")
        return done.stdout.strip()

    def build(self, tag: str, base: str, target: str, *, pull: bool) -> None:
        """Build a stage of the Dockerfile on a base image; what two builds have in common is made once."""
        self.run(
            "bud", "--isolation", "chroot", "--pull" if pull else "--pull-never", "--format", "docker", "--layers",
            "--build-arg", f"BASE={base}", *pip_secrets(self.folder), "--target", target, "--tag", tag, str(ROOT),
            log=self.folder / f"build-{target}.log",
        )  # fmt: skip

    def mounted(self, tag: str) -> Path:
        """Return the file system of a new container of an image."""
        return Path(self.run("mount", self.run("from", "--pull-never", tag)))

    def described(self, tag: str) -> dict[str, Any]:
        """Return what an image says about itself: `config` (User, Env, Cmd, WorkingDir) and `history`."""
        return dict(json.loads(self.run("inspect", "--type", "image", tag))["OCIv1"])

    def version(self) -> str:
        """Return buildah's version."""
        return self.run("--version").split()[2]

    def clear(self) -> None:
        """Remove the containers; the images stay for the next build."""
        self.run("rm", "--all")


def require_tools() -> None:
    """Raise ConfigurationError with one sentence when this machine cannot build."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        raise ConfigurationError(f"Building needs {' and '.join(missing)}: apt-get install {packages}.")
    if os.geteuid() != 0:
        raise ConfigurationError("Building needs root, for debootstrap and for mounts.")


def make_stand_in(builder: Builder, tag: str) -> None:
    """Make an image that offers what the Dockerfile uses of python:3.11-slim-bookworm, from Debian's packages."""
    root = builder.folder / "stand-in"
    if not root.exists():
        unfinished = builder.folder / "stand-in.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        _debootstrap(unfinished, builder.folder / "debootstrap.log")
        unfinished.rename(root)
    recipe = builder.folder / "stand-in.Dockerfile"
    recipe.write_text(STAND_IN)
    log = builder.folder / "build-stand-in.log"
    builder.run("bud", "--isolation", "chroot", "--layers", "--file", str(recipe), "--tag", tag, str(root), log=log)


def _debootstrap(root: Path, log: Path) -> None:
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, str(root)]
    with log.open("w") as file:
        if subprocess.run(command, stdout=file, stderr=file, check=False).returncode:
            raise ConfigurationError(f"debootstrap failed, see {log}.")
    for downloaded in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*Packages")):
        downloaded.unlink()


def pip_secrets(folder: Path) -> list[str]:
    """Return the options that lend pip's settings of this machine to a build; none of its layers keeps them."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings = pip_settings(listed.stdout.splitlines())
    certificates = settings.get("cert")
    if certificates is not None:
        settings["cert"] = CERTIFICATES
    written = ConfigParser(interpolation=None)
    written["global"] = settings
    (folder / "pip.conf").touch(mode=0o600)  # an index's URL may have a password
    with (folder / "pip.conf").open("w") as file:
        written.write(file)
    secrets = ["--secret", f"id=pip.conf,src={folder / 'pip.conf'}"]
    return secrets if certificates is None else [*secrets, "--secret", f"id=pip.crt,src={certificates}"]


def pip_settings(lines: Sequence[str]) -> dict[str, str]:
    """Return those of `pip config list` that a build needs; a file's settings give way to the environment's.

    What lies on this machine's disk cannot be reached from a build and is left out.
    """
    found: dict[str, str] = {}
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        place, _, value = line.partition("=")
        name, value = place.rpartition(".")[2], value.strip("'\"")
        if name.endswith("index-url"):
            value = " ".join(url for url in value.split() if not url.startswith("file:"))
        if name in PIP_SETTINGS and value:
            found[name] = value
    return found
