"""The round trip of ``airflow-secure check``: a real event to a real server, and its answer."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_secure_provider.inspection.findings import Finding, Verdict
from airflow_secure_provider.inspection.lineage import check_lineage
from airflow_secure_provider.lineage.setup import TRANSPORT
from airflow_secure_provider.lineage.transport import send_once
from sandbox.ca import Authority
from tests.lineage.server import Handler, LineageServer
from tests.tls_server import TlsServer


def look(transport: dict[str, Any]) -> Finding:
    inner = transport.get("transport", transport)
    return check_lineage(inner, partial(send_once, transport), "prod")


def test_an_event_arrives(tmp_path: Path) -> None:
    with LineageServer() as server:
        inner = {"type": "http", "url": server.url}
        spool = tmp_path / "spool"
        found = look({"type": TRANSPORT, "spool": str(spool), "transport": inner})
        again = look(inner)
    assert found.verdict == again.verdict == Verdict.WARNING  # over plaintext
    assert found.subject == f"OpenLineage at {server.url}"
    assert "it took an event" in found.detail
    assert len({event["run"]["runId"] for event in server.events}) == 1
    assert [(event["job"]["namespace"], event["eventType"]) for event in server.events] == [
        ("prod", "OTHER")
    ] * 2
    assert not spool.exists()


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "status 401, expected 2xx; look at its auth"),
        (404, "status 404, expected 2xx"),
        (422, "status 422"),
    ],
)
def test_a_server_that_takes_none(status: int, says: str) -> None:
    with LineageServer() as server:
        server.answers = [status]
        found = look({"type": "http", "url": server.url})
    assert found.verdict == Verdict.FAILED
    assert says in found.detail


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    found = look({"type": "file", "log_file_path": str(file), "append": True})
    assert (found.verdict, found.subject) == (Verdict.OK, "OpenLineage, file")
    assert json.loads(file.read_text())["job"]["name"] == "airflow-secure check"
    assert (
        look({"type": "file", "log_file_path": str(tmp_path / "no" / "x"), "append": True}).verdict
        == Verdict.FAILED
    )


def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "ca")

    class Secured(TlsServer):
        events: list[Any] = []  # noqa: RUF012 (of this one server)
        answers: list[int] = []  # noqa: RUF012
        delay = 0.0
        fails_at: set[str] = set()  # noqa: RUF012

    with Secured(Handler, "owner", authority) as server:
        inner = {"type": "http", "url": server.url}
        found = look(inner)
        assert found.verdict == Verdict.FAILED
        assert "its certificate is not trusted" in found.detail
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_pem))
        assert look(inner).verdict == Verdict.OK
        assert len(server.events) == 1


def test_no_credential_of_the_url_is_quoted() -> None:
    found = check_lineage({"type": "http", "url": "https://bob:Kanarì-77@127.0.0.1:1"}, print, "prod")
    assert found.subject == "OpenLineage at https://127.0.0.1:1"
    assert "Kanarì" not in found.detail


def test_no_credential_is_quoted() -> None:
    def fail(event: Any) -> None:
        raise requests.ConnectionError("Authorization: Bearer Kanarì-77")

    found = check_lineage({"type": "kafka"}, fail, "prod")
    assert (
        found.detail
        == "it took no event: ConnectionError: events of every task would wait for it, or be lost"
    )
