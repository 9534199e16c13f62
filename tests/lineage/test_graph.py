"""The graph out of events, and how it is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.errors import ConfigurationError
from airflow_secure_provider.lineage.drawing import mermaid
from airflow_secure_provider.lineage.graph import parse_time, read
from sandbox.aws import Aws
from tests.fixtures_vault import unique
from tests.tls_server import TlsServer

LAKE, DB = "s3://lake", "postgres://db:5432"


def dataset(namespace: str, name: str, status: str = "protected", **columns: bool) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "secureProvider_encryption": {
            "status": status,
            "atRest": {"scheme": "SSE-KMS", "evidence": "observed"},
            "inTransit": {
                "protocol": "TLSv1.3",
                "peerVerified": status == "protected",
                "evidence": "observed",
            },
            "columns": [],
        }
    }
    if columns:
        edges = {
            name: {"inputFields": [{"transformations": [{"masking": masked}]}], "transformationType": ""}
            for name, masked in columns.items()
        }
        facets["columnLineage"] = {"fields": edges}
    return {"namespace": namespace, "name": name, "facets": facets}


def event(job: str, day: int, source: Any, target: Any, kind: str = "COMPLETE") -> str:
    return json.dumps(
        {
            "eventType": kind,
            "eventTime": f"2026-01-{day:02d}T00:00:00Z",
            "job": {"namespace": "prod", "name": job},
            "run": {"runId": f"run-{job}-{day}"},
            "inputs": [source],
            "outputs": [target],
        }
    )


EVENTS = [
    event("load", 2, dataset(LAKE, "people.csv"), dataset(DB, "crm.crm.people", email=True, id=False)),
    event("load", 1, dataset(LAKE, "people.csv", "exposed"), dataset(DB, "crm.crm.people")),
    event("share", 3, dataset(DB, "crm.crm.people"), dataset(LAKE, "share/people.parquet", "partial")),
    event("share", 4, dataset(DB, "crm.crm.people"), dataset(LAKE, "share/failed", "exposed"), "FAIL"),
    event("loop", 5, dataset(LAKE, "share/people.parquet"), dataset(LAKE, "people.csv")),
    "no event",
    "{}",
    "",
]


def test_the_last_of_each_job_counts_and_circles_end() -> None:
    graph = read(EVENTS)
    assert graph.skipped == 2
    hops = graph.walk(graph.find("crm.people"), upstream=True)
    assert [(hop.job, hop.run_id) for hop in hops] == [
        ("prod.load", "run-load-2"),
        ("prod.loop", "run-loop-5"),
        ("prod.share", "run-share-3"),
    ]
    assert hops[0].source.status == "protected"
    assert hops[0].masked == ("email",)
    assert "share/failed" not in json.dumps([hop.as_dict() for hop in hops])  # it moved nothing


def test_downstream_and_as_of() -> None:
    graph, noon = read(EVENTS), datetime(2026, 1, 1, 12, tzinfo=UTC)
    (hop,) = graph.walk(f"{LAKE}/people.csv", upstream=False, as_of=noon)
    assert (hop.run_id, hop.source.status) == ("run-load-1", "exposed")
    assert graph.walk(f"{DB}/crm.crm.people", upstream=False, as_of=noon) == []
    assert [each.run_id for each in graph.hops(noon)] == ["run-load-1"]
    graph.add(replace(hop, at=datetime(2026, 1, 1, 6, tzinfo=UTC), run_id="late"))  # events come in any order
    assert graph.walk(f"{LAKE}/people.csv", upstream=False, as_of=noon)[0].run_id == "late"


def test_silence_is_unknown() -> None:
    bare = {"namespace": LAKE, "name": "x"}
    (hop,) = read([event("j", 1, bare, bare)]).hops()
    assert (hop.source.status, hop.source.at_rest, hop.source.in_transit) == (
        "unknown",
        "unknown (unknown)",
        "unknown",
    )


def test_names() -> None:
    graph = read(
        [*EVENTS, event("other", 6, dataset(LAKE, "a/people.csv"), dataset("s3://copy", "people.csv"))]
    )
    assert graph.find(f"{LAKE}/people.csv") == f"{LAKE}/people.csv"
    with pytest.raises(ConfigurationError, match="is the name of 3 datasets"):
        graph.find("people.csv")
    with pytest.raises(ConfigurationError, match="no event has a dataset 'nothing'"):
        graph.find("nothing")
    with pytest.raises(ConfigurationError, match="is no time"):
        parse_time("yesterday")


def test_mermaid_escapes() -> None:
    evil = dataset(LAKE, '"]; click x "javascript:<b>')
    text = mermaid(read([event("j", 1, evil, dataset(DB, "t"))]).hops())
    assert text.startswith("flowchart LR\n")
    assert '"]; click' not in text
    assert "<b>" not in text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "events.jsonl"
    made.write_text("\n".join(EVENTS))
    return made


def show(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["lineage", "show", *map(str, arguments)])


def test_the_command(file: Path) -> None:
    table = show("crm.people", "--events", file)
    assert table.exit_code == 0
    assert "2026-01-02 00:00:00  prod.load" in table.stdout
    assert "at rest SSE-KMS (observed); in transit TLSv1.3" in table.stdout
    assert "masked: email" in table.stdout
    assert "2 lines are no events" in table.stderr
    told = json.loads(show("crm.people", "--events", file, "--downstream", "--format", "json").stdout)
    assert [hop["job"] for hop in told] == ["prod.share", "prod.loop", "prod.load"]
    assert "flowchart LR" in show("crm.people", "--events", file, "--format", "mermaid").stdout
    assert (
        "nothing is downstream of it"
        in show("crm.people", "--events", file, "--downstream", "--as-of", "2026-01-02").stdout
    )
    assert show("nothing", "--events", file).exit_code == 1


class Broken(BaseHTTPRequestHandler):
    """Not Marquez, which ``tests/integration/test_marquez.py`` asks: what may answer in its place."""

    owner: Any

    def do_GET(self) -> None:
        status, body = {"/down": (503, b""), "/other": (200, b"<html>secret</html>")}[
            self.path.split("/api")[0]
        ]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_what_is_not_marquez() -> None:
    with TlsServer(Broken, "owner", None) as server:
        assert "status 503" in show("x", "--marquez", f"{server.url}/down").output
        other = show("x", "--marquez", f"{server.url}/other").output
        assert "something other than Marquez's events" in other
        assert "secret" not in other
    gone = show("x", "--marquez", server.url)
    assert gone.exit_code == 1
    assert "no answer of" in gone.output
    assert "Traceback" not in gone.output


def test_which_source(file: Path) -> None:
    assert show("x").exit_code == 2
    assert show("x", "--events", file, "--marquez", "https://m").exit_code == 2
    for url in ("marquez:5000", "https://user:hidden@m", "https://m?key=hidden"):
        refused = show("x", "--marquez", url)
        assert refused.exit_code == 1, refused.output
        assert "hidden" not in refused.output


def test_out_of_s3(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(aws.airflow_connection()))
    client, bucket = aws.client("s3"), unique("events")
    client.create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": client.meta.region_name}
    )
    for number, each in enumerate(EVENTS):
        client.put_object(Bucket=bucket, Key=f"lineage/{number}.json", Body=each.encode())
    client.put_object(Bucket=bucket, Key="all.jsonl", Body="\n".join(EVENTS).encode())
    for place in ("lineage/", "all.jsonl"):
        found = show(
            "crm.people", "--events", f"s3://{bucket}/{place}", "--aws-conn-id", "lake", "--format", "json"
        )
        assert found.exit_code == 0, found.output
        assert [hop["runId"] for hop in json.loads(found.stdout)] == [
            "run-load-2",
            "run-loop-5",
            "run-share-3",
        ]
    gone = show("x", "--events", f"s3://{bucket}/gone.jsonl", "--aws-conn-id", "lake")
    assert (gone.exit_code, "there is no such object" in gone.output) == (1, True)


def test_no_such_file(tmp_path: Path) -> None:
    found = show("x", "--events", tmp_path / "gone")
    assert (found.exit_code, "there is no such file" in found.output) == (1, True)


def test_a_status_is_never_better_than_its_facts() -> None:
    boast = dataset(LAKE, "x")
    boast["facets"]["secureProvider_encryption"]["atRest"] = {"scheme": "none", "evidence": "observed"}
    (hop,) = read(
        [
            event(
                "j",
                1,
                boast,
                {
                    "namespace": DB,
                    "name": "y",
                    "facets": {"secureProvider_encryption": {"status": "protected"}},
                },
            )
        ]
    ).hops()
    assert (hop.source.status, hop.target.status) == ("exposed", "unknown")


def test_names_do_not_speak_to_the_terminal(tmp_path: Path) -> None:
    evil = "x\n  to  \x1b[32mprotected\x1b[0m"
    made = tmp_path / "events.jsonl"
    made.write_text(event("j", 1, dataset(LAKE, evil), dataset(DB, "t")))
    shown = show("t", "--events", made).stdout
    assert "\\x1b" in shown
    assert "\x1b[32mprotected\x1b[0m\n" not in shown.replace("protected ", "")
    assert len([line for line in shown.splitlines() if line.startswith("  to")]) == 1


def test_mermaid_decodes_nothing_of_a_name() -> None:
    text = mermaid(read([event("j", 1, dataset(LAKE, "#lt;img#gt;\r"), dataset(DB, "t"))]).hops())
    assert "#lt;img" not in text.replace("#35;lt;img", "")
    assert "\r" not in text


def test_what_an_earlier_run_has_brought_may_still_be_there() -> None:
    def edges(**columns: str) -> dict[str, Any]:
        made = dataset(DB, "t")
        made["facets"]["columnLineage"] = {
            "fields": {
                to: {"inputFields": [{"namespace": LAKE, "name": "s", "field": of}]}
                for to, of in columns.items()
            }
        }
        return made

    graph = read(
        [
            event("j", 1, dataset(LAKE, "s"), edges(note="email")),
            event("j", 2, dataset(LAKE, "s"), edges(id="id")),
        ]
    )
    (hop,) = graph.hops()
    assert set(hop.edges) == {("note", "email"), ("id", "id")}
    assert hop.run_id == "run-j-2"
