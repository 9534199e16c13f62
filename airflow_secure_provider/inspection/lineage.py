"""Where lineage goes: what waits for it, and whether an event arrives."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .findings import Finding, failed, ok, warning
from .tls import tls_problem

_PORTS = {"https": 443, "http": 80}
_CONNECT_SECONDS = 3.0
PROBE = "airflow-secure check"


def check_spool(folder: str, waiting: int, dropped: int) -> Finding:
    """Where lineage events wait for their server.

    :param folder: ``spool`` of [openlineage] transport.
    """
    subject = f"spool {folder}"
    above = next(each for each in (Path(folder), *Path(folder).parents) if each.exists())
    if not os.access(above, os.W_OK):
        return failed("lineage", subject, f"{above} can't be written by this user")
    if str(above) == folder.rstrip("/") and above.stat().st_mode & 0o022:
        return failed("lineage", subject, "others may write there, and so forge events: chmod 700")
    if _file_system(above) in ("tmpfs", "ramfs", "overlay"):
        return warning(
            "lineage",
            subject,
            f"it is on {_file_system(above)}, which does not outlive the machine or container: choose a disk",
        )
    if dropped:
        return warning(
            "lineage",
            subject,
            f"{dropped} events were dropped for want of room; raise spool_bytes, see the server",
        )
    return (warning if waiting else ok)(
        "lineage", subject, f"{waiting} events wait" if waiting else "on disk, nothing waits"
    )


def _file_system(path: Path) -> str:
    """By the longest mount point above; empty where there is no /proc."""
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                where, found = line.split()[1:3]
                inside = f"{path}/".startswith(f"{where.rstrip('/')}/")
                if inside and len(where) >= len(best):
                    best, kind = where, found
    except OSError:
        return ""
    return kind


def check_lineage(
    transport: Mapping[str, Any] | None, send: Callable[[Mapping[str, Any]], None], namespace: str
) -> Finding:
    """A round trip: one event, and the server's answer to it.

    :param transport: what sends, as it is configured; None if there is none.
    :param send: an event through all that is configured; raises if it is not taken.
    :param namespace: of jobs.
    """
    if not transport:
        return warning(
            "lineage",
            "OpenLineage",
            "no transport is configured, so no lineage is sent; set [openlineage] transport",
        )
    kind = str(transport.get("type"))
    if kind == "async_http":
        return warning("lineage", "OpenLineage", "async_http loses events of forked tasks; use http")
    if kind == "console":
        return ok("lineage", "OpenLineage", "transport console: events are in the log of each task")
    split = urlsplit(str(transport.get("url") or ""))
    subject = (
        f"OpenLineage at {split.scheme}://{split.netloc.rpartition('@')[2]}"
        if kind == "http"
        else f"OpenLineage, {kind}"
    )
    problem = _unreachable(split) if kind == "http" else None
    problem = problem or _not_taken(send, namespace)
    if problem:
        return failed("lineage", subject, f"{problem}: events of every task would wait for it, or be lost")
    took = f"it took an event (job {PROBE!r} in namespace {namespace!r})"
    if kind == "http" and split.scheme != "https":
        return warning(
            "lineage", subject, f"{took}, over plaintext http: names of tables and columns pass in the clear"
        )
    return ok("lineage", subject, took)


def _unreachable(split: Any) -> str | None:
    """Before the transport tries, which may take its time."""
    try:
        port = split.port or _PORTS.get(split.scheme, 80)
        with socket.create_connection((split.hostname or "", port), timeout=_CONNECT_SECONDS):
            return None
    except ValueError:
        return "the url of its transport has no valid port"
    except OSError as error:
        return tls_problem(error)


def _not_taken(send: Callable[[Mapping[str, Any]], None], namespace: str) -> str | None:
    try:
        send(_probe(namespace))
    except Exception as error:  # noqa: BLE001 (of anybody's transport; its text may quote a credential)
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            hint = "; look at its auth" if status in (401, 403) else ""
            return f"it answered an event with status {status}, expected 2xx{hint}"
        cause = _certificate_problem(error)
        return f"it took no event: {cause or type(error).__name__}"
    return None


def _certificate_problem(error: BaseException) -> str | None:
    """Of the handshake, as deep as an HTTP library has hidden it."""
    import ssl

    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, BaseException) or each in seen:
            continue
        if isinstance(each, ssl.SSLError):
            return tls_problem(each)
        seen.append(each)
        waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return None


def _probe(namespace: str) -> dict[str, Any]:
    """Always the same run, so that a server has one of it, however often it is asked."""
    url = "https://github.com/OpenLineage/OpenLineage/blob/main/client/python"
    return {
        "eventType": "OTHER",
        "eventTime": datetime.now(UTC).isoformat(),
        "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{namespace}/{PROBE}"))},
        "job": {"namespace": namespace, "name": PROBE},
        "inputs": [],
        "outputs": [],
        "producer": url,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }
