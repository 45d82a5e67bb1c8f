"""A network of its own for containers: a bridge, an address for each, their names in a hosts file.

All of it lives in a network namespace that one process holds, and is gone with that process.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from visibility.errors import ConfigurationError

PREFIX = "10.77.0"
GATEWAY = f"{PREFIX}.1"
FIRST = 10  # the last part of the first container's address
# given, as a bridge otherwise changes its own with every cable that is plugged, and neighbours go on using the old one
HARDWARE = "02:00:0a:4d:00"
HOLD = f"""
set -e
ip link set lo up
ip link add bridge0 address {HARDWARE}:01 type bridge
ip addr add {GATEWAY}/24 dev bridge0
ip link set bridge0 up
echo ready
exec sleep infinity
"""
# run in the container's namespace: an end of a cable in here, the other end at the bridge
JOIN = f"""
set -e
hub="nsenter --net=/proc/$1/ns/net"
last=$2
$hub ip link add "cable$last-$$" type veth peer name eth0 address "{HARDWARE}:$last" netns $$
$hub ip link set "cable$last-$$" master bridge0 up
ip link set lo up
ip addr add "{PREFIX}.$last/24" dev eth0
ip link set eth0 up
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Network:
    """Containers that find each other by name, and nothing else."""

    holder: int
    hosts: Path
    names: Sequence[str]

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        """Return what runs a command under the address of a name, in network and mount namespaces of its own."""
        last = str(FIRST + list(self.names).index(name))
        return ["unshare", "--net", "--mount", "sh", "-c", JOIN, "join", str(self.holder), last, *command]

    def beside(self, command: Sequence[str]) -> list[str]:
        """Return what runs a command of this machine in the network, under the gateway's address."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", *command]


@contextmanager
def network(names: Sequence[str], gateway: str, folder: Path) -> Iterator[Network]:
    """A network for these names; the name `gateway` is the machine beside it."""
    hosts = folder / "hosts"
    lines = ["127.0.0.1 localhost", f"{GATEWAY} {gateway}"]
    hosts.write_text("\n".join([*lines, *(f"{PREFIX}.{FIRST + n} {name}" for n, name in enumerate(names))]) + "\n")
    hosts.chmod(0o644)
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", HOLD], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "ready":
            raise ConfigurationError("No network for containers can be made: bridges are not permitted here.")
        yield Network(holder.pid, hosts, names)
    finally:
        holder.kill()
        holder.wait()
