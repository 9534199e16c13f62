"""Key/value secrets, version 1 and 2."""

from __future__ import annotations

import time
from typing import Any

from .core import Backend, Core
from .protocol import JSON, Answer, Refused, Request, iso, unsupported
from .words import children


class Unversioned(Backend):
    """KV version 1."""

    type = "kv"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.entries: dict[str, JSON] = {}

    def describe(self) -> JSON:
        return super().describe() | {"options": {"version": "1"}}

    def exists(self, rest: str) -> bool:
        return rest in self.entries

    def handle(self, request: Request, rest: str) -> Answer:
        if request.verb == "LIST":
            return Answer(data={"keys": children(self.entries, rest)})
        if request.writes:
            self.entries[rest] = request.body
            return Answer()
        if request.verb == "DELETE":
            self.entries.pop(rest, None)
            return Answer()
        if rest not in self.entries:
            raise Refused(404)
        return Answer(data=self.entries[rest])


class Versioned(Backend):
    """KV version 2."""

    type = "kv"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.entries: dict[str, dict[int, JSON]] = {}
        self.custom: dict[str, JSON] = {}

    def describe(self) -> JSON:
        return super().describe() | {"options": {"version": "2"}}

    def exists(self, rest: str) -> bool:
        kind, _, path = rest.partition("/")
        return kind not in ("data", "metadata") or path in self.entries

    def handle(self, request: Request, rest: str) -> Answer:
        kind, _, path = rest.partition("/")
        with self.core.lock:
            versions = self.entries.get(path, {})
            match (request.verb, kind):
                case (_, "metadata"):
                    return self._metadata(request, path)
                case ("GET", "data"):
                    return self._read(request, versions)
                case ("POST" | "PUT", "data"):
                    return self._write(request, path, versions)
                case ("DELETE", "data"):
                    mark_deleted(versions, [max(versions, default=0)], iso(time.time()))
                case ("POST" | "PUT", "delete"):
                    mark_deleted(versions, request.required("versions"), iso(time.time()))
                case ("POST" | "PUT", "undelete"):
                    mark_deleted(versions, request.required("versions"), "")
                case ("POST" | "PUT", "destroy"):
                    for number in set(map(int, request.required("versions"))) & set(versions):
                        versions[number]["data"] = None
                        versions[number]["metadata"]["destroyed"] = True
                case _:
                    raise unsupported(request)
            return Answer()

    def _read(self, request: Request, versions: dict[int, JSON]) -> Answer:
        number = int(request.query.get("version") or 0) or max(versions, default=0)
        if number not in versions:
            raise Refused(404)
        found = versions[number]
        if found["metadata"]["destroyed"] or found["metadata"]["deletion_time"]:
            raise Refused(404, data={"data": None, "metadata": found["metadata"]})
        return Answer(data={"data": found["data"], "metadata": found["metadata"]})

    def _write(self, request: Request, path: str, versions: dict[int, JSON]) -> Answer:
        current = max(versions, default=0)
        expected = (request.body.get("options") or {}).get("cas")
        if expected is not None and int(expected) != current:
            raise Refused(400, "check-and-set parameter did not match the current version")
        metadata = {
            "created_time": iso(time.time()),
            "custom_metadata": self.custom.get(path),
            "deletion_time": "",
            "destroyed": False,
            "version": current + 1,
        }
        versions[current + 1] = {"data": request.required("data"), "metadata": metadata}
        self.entries[path] = versions
        return Answer(data=dict(metadata))

    def _metadata(self, request: Request, path: str) -> Answer:
        if request.verb == "LIST":
            return Answer(data={"keys": children(self.entries, path)})
        if request.verb == "DELETE":
            self.entries.pop(path, None)
            return Answer()
        if request.writes:
            self.entries.setdefault(path, {})
            self.custom[path] = request.body.get("custom_metadata") or {}
            return Answer()
        versions = self.entries.get(path)
        if not versions:
            raise Refused(404)
        return Answer(
            data={
                "versions": {str(number): each["metadata"] for number, each in versions.items()},
                "current_version": max(versions),
                "oldest_version": min(versions),
                "custom_metadata": self.custom.get(path),
                "cas_required": False,
                "max_versions": 0,
            }
        )


def mark_deleted(versions: dict[int, JSON], numbers: Any, deletion_time: str) -> None:
    for number in set(map(int, numbers)) & set(versions):
        versions[number]["metadata"]["deletion_time"] = deletion_time
