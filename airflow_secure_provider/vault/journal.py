"""What a process was lent, in a file that outlives it: for the sweep, if it is killed.

One file for each process, ``PLACE,PID,START.json``, in a folder that only its user can enter: the addresses, and the ids of
the leases. With a lease id one can do nothing but, with a Vault token that may, end or extend it; it is no credential. The
file goes when the last lease does.
"""

from __future__ import annotations

import functools
import hashlib
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

_FORGOTTEN_SECONDS = 7 * 86400.0
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
    problem: str = ""


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
        file = self.folder / f"{_place()},{os.getpid()},{started_at(os.getpid())}.json"
        if not entries:
            file.unlink(missing_ok=True)
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_entries(file, entries)


def write_entries(file: Path, entries: list[dict[str, Any]]) -> None:
    """All or nothing, for its user only."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")  # made with mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as writer:
        json.dump({"format": FORMAT, "leases": entries}, writer)
    os.replace(name, file)


def left_behind(folder: Path) -> Iterator[Left]:
    """The files of processes of this place that no longer run; what others wrote into a shared folder is theirs to judge.

    :raises OSError: if the folder can't be read. A file that can't be, or is none of ours, is a :class:`Left` without entries
        and with a problem.
    """
    for file in sorted(folder.glob("*.json")):
        place, pid, start = [*file.stem.split(","), "", ""][:3]
        if place != _place() or not pid.isdecimal() or started_at(int(pid)) == start:
            continue
        yield _read(file, int(pid))


def tidy(folder: Path) -> None:
    """Remove what nobody will ever sweep: of places that are no more, when all of it has long ended, and half-written files."""
    for file in folder.glob("*"):
        old = time.time() - _FORGOTTEN_SECONDS
        try:
            if file.stat().st_mtime > old:
                continue
            elsewhere = file.suffix == ".json" and file.stem.partition(",")[0] != _place()
            ended = elsewhere and all(each.expires < old for each in _read(file, 0).entries)
            if ended or file.name.startswith(".new-"):
                file.unlink()
        except OSError:
            continue  # another user's, or just gone


def _read(file: Path, pid: int) -> Left:
    try:
        body = json.loads(file.read_bytes())
        if body["format"] != FORMAT:
            raise ValueError
        entries = tuple(Entry(**{**each, "expires": float(each["expires"])}) for each in body["leases"])
        return Left(file, pid, entries)
    except OSError as error:
        return Left(file, pid, (), f"{file.name} can't be read: {error.strerror}")
    except (ValueError, KeyError, TypeError):
        return Left(file, pid, (), f"{file.name} is not a file of this version")


def started_at(pid: int) -> str:
    """When a process began, in the kernel's clock ticks: a pid is used again, both together are not. Empty if none runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return "" if not runs(pid) else "0"
    state, *rest = stat[stat.rindex(b")") + 2 :].split()
    return "" if state in (b"Z", b"X") else rest[18].decode()


@functools.cache
def _place() -> str:
    """Where process numbers mean the same: a host since its last start, and of it one container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = namespace = ""
    digest = hashlib.sha256(f"{boot}{namespace}".encode()).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()) + f"-{digest}"


def runs(pid: int) -> bool:
    """Whether there is such a process."""
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
