"""Who has a port of this machine. No Prefect is imported here."""

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import httpx

_PROCESSES = Path("/proc")
_LISTENS = "0A"
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class PortHolder:
    """Whoever listens at a port. ``pid`` is None where the system does not tell; ``prefect`` is the version of a Prefect server."""

    pid: int | None
    command: str
    prefect: str | None

    def in_words(self) -> str:
        """Who it is, for a person."""
        what = f"a Prefect server {self.prefect}".rstrip() if self.prefect is not None else "another program"
        if self.pid is None:
            return f"{what} (which process is not told to this user)"
        return f"{what}, process {self.pid}" + (f" ({self.command})" if self.command else "")


def port_holder(host: str, port: int) -> PortHolder | None:
    """Who listens at ``host`` and ``port``; None when the port is free to be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            pass
        else:
            return None
    pid = _listener(port)
    return PortHolder(pid, _command(pid) if pid is not None else "", _prefect(host, port))


def _prefect(host: str, port: int) -> str | None:
    """The version of the Prefect server that answers there: empty where it does not say (it asks for a password)."""
    named = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    api = f"http://[{named}]:{port}/api" if ":" in named else f"http://{named}:{port}/api"
    try:
        health = httpx.get(f"{api}/health", timeout=_SECONDS)
        if health.status_code != 200 or health.json() is not True:
            return None
        version = httpx.get(f"{api}/admin/version", timeout=_SECONDS)
        return str(version.json()) if version.status_code == 200 else ""
    except (httpx.HTTPError, ValueError):
        return None


def _listener(port: int) -> int | None:
    inodes = _listening(port)
    with contextlib.suppress(OSError):
        for folder in _PROCESSES.iterdir():
            if folder.name.isdigit() and _has_one_of(folder, inodes):
                return int(folder.name)
    return None


def _listening(port: int) -> set[str]:
    """The sockets, by inode, that listen at the port."""
    found = set()
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROCESSES / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _has_one_of(folder: Path, inodes: set[str]) -> bool:
    with contextlib.suppress(OSError):  # somebody else's process, or one that has just ended
        for link in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(link) in inodes:
                    return True
    return False


def _command(pid: int) -> str:
    try:
        words = (_PROCESSES / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return " ".join(words).strip()[:100]
