"""What a process was lent, in a file that outlives it: for the sweep, if it is killed.

One file for each process, ``HOST,PID,START.json``, in a folder that only its user can enter: the addresses, and the ids of
the leases. With a lease id one can do nothing but, with a Vault token that may, end or extend it; it is no credential. The
file goes when the last lease does.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .lease import Held

log = logging.getLogger(__name__)

FORMAT = "airflow-secure-provider/leases/1"


@dataclass(frozen=True, slots=True)
class Entry:
    """A lease that a process held."""

    lease_id: str = field(repr=False)
    url: str
    namespace: str
    engine: str
    mount: str
    role: str
    expires: float  # time.time()


@dataclass(frozen=True, slots=True)
class Left:
    """What a process has left behind."""

    file: Path
    pid: int
    entries: tuple[Entry, ...]


class Journal:
    """:ivar folder: where it is kept; None for nowhere."""

    def __init__(self) -> None:
        self.folder: Path | None = None

    def write(self, living: list[Held]) -> None:
        """A folder that can't be written is told once: it is a net below the net, and no reason to fail a task."""
        try:
            self._write(living)
        except OSError as error:
            log.warning(
                "leases are not noted for `airflow-secure leases sweep`: %s: %s", self.folder, error.strerror
            )
            self.folder = None

    def _write(self, living: list[Held]) -> None:
        if self.folder is None:
            return
        entries = [_entry(held) for held in living if held.lease.lease_id]
        file = self.folder / f"{_host()},{os.getpid()},{started_at(os.getpid())}.json"
        if not entries:
            file.unlink(missing_ok=True)
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")  # made with mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as writer:
            json.dump({"format": FORMAT, "leases": entries}, writer)
        os.replace(name, file)


def left_behind(folder: Path) -> Iterator[Left]:
    """The files of this host's processes that no longer run; what others wrote into a shared folder is theirs to judge."""
    for file in sorted(folder.glob("*.json")):
        host, pid, start = [*file.stem.split(","), "", ""][:3]
        if host != _host() or not pid.isdecimal() or started_at(int(pid)) == start:
            continue
        try:
            held = json.loads(file.read_text(encoding="utf-8"))["leases"]
            yield Left(file, int(pid), tuple(Entry(**each) for each in held))
        except (ValueError, KeyError, TypeError):
            yield Left(file, int(pid), ())


def started_at(pid: int) -> str:
    """When a process began, in the kernel's clock ticks: a pid is used again, both together are not. Empty if none runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return "" if not _runs(pid) else "0"
    state, *rest = stat[stat.rindex(b")") + 2 :].split()
    return "" if state in (b"Z", b"X") else rest[18].decode()


def _host() -> str:
    """Of a container its own name: process numbers mean nothing in another."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())


def _runs(pid: int) -> bool:
    """Where there is no /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _entry(held: Held) -> dict[str, Any]:
    lease = held.lease
    return {
        "lease_id": lease.lease_id,
        "url": held.key.url,
        "namespace": held.key.namespace,
        "engine": lease.engine,
        "mount": lease.mount,
        "role": lease.role,
        "expires": round(time.time() + held.seconds_left(), 1) if held.seconds_left() < 1e12 else 0.0,
    }
