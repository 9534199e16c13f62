"""Lineage events on disk until a server has taken them: none is lost, whatever the server or the task does meanwhile.

A folder that only its user can enter, in it a file for each event, named by when it happened, and fsynced before ``put``
returns. Events of one run are delivered in their order. At least once: a process that dies between the server's answer and
the file's removal has the event delivered again.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ..errors import StoreError

log = logging.getLogger(__name__)

MOST_BYTES = 256 << 20
_OTHERS_SECONDS = 0.25
_NUMBERS = itertools.count()
_NAME = re.compile(r"\d{20}-\d+-\d+-(?P<run>[A-Za-z0-9_.-]*)\.json")


class Answer(Enum):
    """What became of an event."""

    TAKEN = "taken"
    REJECTED = "rejected"  # it will never be taken as it is
    LATER = "later"


class SpoolFull(StoreError):
    """There is no room for another event."""


@dataclass(frozen=True, slots=True)
class Flushed:
    """:ivar left: events that wait for another time."""

    taken: int
    rejected: int
    left: int


class Spool:
    """
    :param folder: on a disk that outlives the task.
    :param most_bytes: of all waiting events.
    :param on_full: ``fail``: :meth:`put` raises; ``drop``: the event is counted in ``dropped`` and gone.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES, on_full: str = "fail") -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.on_full = on_full

    def put(self, event: Mapping[str, Any]) -> Path | None:
        """:return: the event's file, on disk for good; None if it was dropped.

        :raises SpoolFull: if there is no room, and nothing shall be dropped.
        :raises StoreError: if the folder can't be written.
        """
        body = json.dumps(event, sort_keys=True, separators=(",", ":")).encode()
        run = re.sub(r"[^A-Za-z0-9_.-]", "_", str((event.get("run") or {}).get("runId") or ""))[:80]
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            there = self._sizes()
            if sum(there.values()) + len(body) > self.most_bytes:
                self._full()
                return None
            # Behind what waits of its run, also where somebody has put the clock back meanwhile.
            before = max((_moment(name) for name in there if _run(name) == run), default=0)
            return self._write(body, run, max(time.time_ns(), before + 1))
        except OSError as error:
            reason = error.strerror
        raise StoreError(f"lineage spool {self.folder} can't be written: {reason}")

    def size(self) -> int:
        """Bytes of the waiting events."""
        return sum(self._sizes().values())

    def waiting(self) -> list[Path]:
        """Oldest first."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(each for each in self.folder.iterdir() if _NAME.fullmatch(each.name))
        return []

    def ready(self) -> list[Path]:
        """Those that wait, of each run without a gap.

        A folder that is listed while files come may show a later one and not an earlier one. So it is listed twice: what was before
        anything in the first list is in the second.
        """
        last = {_run(each.name): each.name for each in self.waiting()}
        return [each for each in self.waiting() if each.name <= last.get(_run(each.name), "")]

    def dropped(self) -> int:
        """How many events there was no room for, since the counter was last removed."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "dropped").stat().st_size
        return 0

    def flush(
        self, send: Callable[[dict[str, Any]], Answer], *, until: float = float("inf"), first_run: str = ""
    ) -> Flushed:
        """Deliver what waits, if nobody else does that now: whoever does delivers what comes meanwhile, too.

        :param send: delivers one event.
        :param until: ``time.monotonic()`` at which no other one is begun.
        :param first_run: whose events go before all others'.
        """
        taken = rejected = 0
        with self._alone(min(until, time.monotonic() + _OTHERS_SECONDS)) as alone:
            stuck: set[str] = set()
            while alone:
                ready = [each for each in self.ready() if _run(each.name) not in stuck]
                if not ready or time.monotonic() >= until:
                    break
                ready.sort(key=lambda each: _run(each.name) != first_run)
                for file in ready:
                    if time.monotonic() >= until:
                        break
                    run = _run(file.name)
                    answer = self._deliver(file, send) if run not in stuck else Answer.LATER
                    taken += answer is Answer.TAKEN
                    rejected += answer is Answer.REJECTED
                    if answer is Answer.LATER:
                        stuck.add(run)  # what comes after it in its run comes after it at the server too
        return Flushed(taken, rejected, len(self.waiting()))

    # --- inside ---------------------------------------------------------------------------------------------

    def _sizes(self) -> dict[str, int]:
        """Of the waiting events, by the name of their files."""
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if _NAME.fullmatch(entry.name):
                        found[entry.name] = entry.stat().st_size
        return found

    def _write(self, body: bytes, run: str, moment: int) -> Path:
        file = self.folder / f"{moment:020d}-{os.getpid()}-{next(_NUMBERS)}-{run}.json"
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")  # made with mode 0600
        try:
            with os.fdopen(descriptor, "wb") as writer:
                writer.write(body)
                writer.flush()
                os.fsync(writer.fileno())
            os.rename(name, file)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
        self._sync_folder()
        return file

    def _sync_folder(self) -> None:
        """So that the name outlives a power cut as the content does."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _full(self) -> None:
        if self.on_full != "drop":
            raise SpoolFull(
                f"lineage spool {self.folder} holds {self.most_bytes} bytes already: the lineage server has not taken events for "
                "long; see it, then `airflow-secure lineage flush`, or raise spool_bytes"
            )
        with open(self.folder / "dropped", "ab") as counter:  # a byte for each: appending is atomic
            counter.write(b".")
        log.warning("lineage spool %s is full: an event was dropped, %d so far", self.folder, self.dropped())

    def _deliver(self, file: Path, send: Callable[[dict[str, Any]], Answer]) -> Answer:
        try:
            event = json.loads(file.read_bytes())
        except FileNotFoundError:
            return Answer.TAKEN
        except ValueError:
            answer = Answer.REJECTED
        else:
            answer = send(event)
        if answer is Answer.TAKEN:
            file.unlink(missing_ok=True)
        elif answer is Answer.REJECTED:
            aside = self.folder / "rejected"
            aside.mkdir(exist_ok=True, mode=0o700)
            file.rename(aside / file.name)
            log.warning("the lineage server refuses an event for good; it is kept in %s", aside)
        return answer

    @contextlib.contextmanager
    def _alone(self, until: float) -> Iterator[bool]:
        """One process at a time delivers: two would change the order of a run."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield self._locked(descriptor, until)
        finally:
            os.close(descriptor)

    @staticmethod
    def _locked(descriptor: int, until: float) -> bool:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
                time.sleep(0.01)
            else:
                return True


def _run(name: str) -> str:
    found = _NAME.fullmatch(name)
    return found["run"] if found else ""


def _moment(name: str) -> int:
    return int(name[:20])
