"""For Marquez: the last event of a run, said once more when there is more to say of the run.

Seen with Marquez 0.50: an event without inputs takes away the edges from the job's inputs, one without outputs those to its outputs,
and any event but COMPLETE, FAIL and ABORT makes the run a running one. So what comes after the end, as the news that credentials
were revoked, has to come as the end again, with all of its datasets.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ENDS = ("COMPLETE", "FAIL", "ABORT")
_FORGOTTEN_AFTER_SECONDS = 3600.0


class Endings:
    """:param folder: of one machine's tasks: the end is sent by a child of the process that has more to say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remember(self, event: Mapping[str, Any]) -> None:
        """If it is the end of a run."""
        if event.get("eventType") not in _ENDS or not isinstance(event.get("run"), Mapping):
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._forget_old()
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")  # made with mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as writer:
            json.dump(event, writer)
        os.replace(name, self._file(event))

    def repeated(self, event: dict[str, Any]) -> dict[str, Any]:
        """The end of the event's run with the event's run facets, once; the event itself if it tells of datasets or nothing is known."""
        if (
            event.get("eventType") in (*_ENDS, "START", None)
            or event.get("inputs")
            or event.get("outputs")
            or not isinstance(event.get("run"), Mapping)
        ):
            return event
        file = self._file(event)
        try:
            end: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return event
        file.unlink(missing_ok=True)
        facets = {**(end["run"].get("facets") or {}), **(event["run"].get("facets") or {})}
        return {**end, "eventTime": event["eventTime"], "run": {**end["run"], "facets": facets}}

    def _file(self, event: Mapping[str, Any]) -> Path:
        return self.folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', str(event['run']['runId']))[:80]}.json"

    def _forget_old(self) -> None:
        """Of tasks that were killed before they could say more."""
        for each in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - each.stat().st_mtime > _FORGOTTEN_AFTER_SECONDS:
                    each.unlink()
