"""The configured lineage store: a file, an object in S3, or Marquez; bounded, and never the end of the page."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_secure_provider.ui import lineage_store
from airflow_secure_provider.ui.lineage_store import stored
from sandbox.aws import Aws
from tests.ui.facts import NAMESPACE, event

FACET = {
    "status": "protected",
    "atRest": {"scheme": "SSE-KMS", "keyId": "k1", "evidence": "observed"},
    "inTransit": {"protocol": "TLSv1.3", "peerVerified": True, "evidence": "observed"},
    "columns": [{"name": "email", "classification": "restricted", "protection": "tokenize", "keyVersion": 2}],
}


def store_of(events: list[Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of events, set as the lineage store. What is text already is written as it is."""
    file = folder / "events of today.jsonl"
    lines = [each if isinstance(each, str) else json.dumps(each) for each in events]
    file.write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("AIRFLOW__SECURE_PROVIDER__LINEAGE_STORE", file.as_uri())
    return file


@contextmanager
def marquez(answer: Callable[[dict[str, list[str]]], tuple[int, bytes, float]]) -> Iterator[str]:
    """What answers as Marquez does; ``answer`` takes the query, and gives status, body and seconds to wait."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            split = urlsplit(self.path)
            assert split.path == "/api/v1/events/lineage"
            status, body, seconds = answer(parse_qs(split.query))
            time.sleep(seconds)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            with suppress(BrokenPipeError):  # who asks may have heard enough
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_an_event_becomes_a_task_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = event("load", "group.copy", facet=FACET)
    sent["run"]["facets"]["airflow"]["taskInstance"]["map_index"] = 4
    sent["outputs"][0]["facets"]["columnLineage"] = {
        "fields": {
            "email": {
                "inputFields": [
                    {
                        "namespace": "s3://lake",
                        "name": "in.csv",
                        "field": "mail",
                        "transformations": [{"masking": True, "description": "tokenize"}],
                    }
                ]
            }
        }
    }
    file = store_of([sent], tmp_path, monkeypatch)
    found = stored(file.as_uri(), NAMESPACE)
    (run,) = found.runs
    assert found.notes == ()
    assert run.key == ("load", "run-1", "group.copy", 4)
    (target,) = run.targets
    assert (target.status, target.at_rest.key_id) == ("protected", "k1")
    (column,) = target.columns
    assert (column.protection, column.key_version) == ("tokenize", "2")
    assert target.note is None
    (edge,) = run.edges
    assert (edge.source_column, edge.target_column, edge.masking) == ("mail", "email", True)


def test_warnings_of_an_event_are_shown_and_names_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    warned = event("load", facet=FACET | {"warnings": ["column 'a' is called public", "<b>"]})
    warned["outputs"][0] |= {
        "namespace": "s3://lake",
        "name": "@32026/a@23.csv",
    }  # as Marquez can carry 2026/a#.csv

    with marquez(lambda query: (200, json.dumps({"events": [warned]}).encode(), 0)) as url:
        (run,) = stored(url, NAMESPACE).runs
    (target,) = run.targets
    assert (target.name, target.note) == ("2026/a#.csv", "column 'a' is called public; <b>")


@pytest.mark.parametrize(
    "change",
    [
        {"eventType": "START"},
        {"eventType": "FAIL"},
        {"job": {"namespace": "another Airflow", "name": "load.task"}},
        {"job": {"namespace": NAMESPACE, "name": "sell.task"}},
        {"job": {"namespace": NAMESPACE, "name": "load"}},
        {"run": {"facets": {}}},
        {"run": {"facets": {"parent": {"job": {"namespace": NAMESPACE, "name": "load"}}}}},
        {"run": {"facets": {"airflow": {"dag": {"dag_id": "load"}, "task": {"task_id": "task"}}}}},
        {"run": None},
    ],
    ids=str,
)
def test_an_event_whose_dag_can_not_be_told_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    file = store_of([event("load") | change], tmp_path, monkeypatch)
    assert stored(file.as_uri(), NAMESPACE) == lineage_store.Stored()


def test_what_is_no_event_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = "[" * 100_000
    broken = ["{", "[]", "1", "{}", '{"job": []}', deep]
    file = store_of([*broken, event("load"), event("sell", at="yesterday")], tmp_path, monkeypatch)
    found = stored(file.as_uri(), NAMESPACE)
    assert len(found.runs) == 1
    assert found.notes == ("7 entries in the lineage store are no events, and were left out.",)


def test_of_a_long_file_the_newest_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event("load", run_id=f"run-{number}") for number in range(50)]
    file = store_of(events, tmp_path, monkeypatch)
    monkeypatch.setattr(lineage_store, "MOST_EVENTS", 3)
    found = stored(file.as_uri(), NAMESPACE)
    assert [run.run_id for run in found.runs] == ["run-49", "run-48", "run-47"]
    assert "the newest 3 events" in found.notes[0]
    lineage_store._KEPT.clear()
    monkeypatch.setattr(lineage_store, "MOST_EVENTS", 100)
    monkeypatch.setattr(lineage_store, "MOST_BYTES", 5_000)
    found = stored(file.as_uri(), NAMESPACE)
    assert 1 < len(found.runs) < 10
    assert found.runs[0].run_id == "run-49"
    assert len(found.notes) == 1  # the line that the cut has hit is not called broken


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://lake/events", "expected https://"),
        ("/var/events.jsonl", "expected https://"),
        ("s3://lake", "expected https://"),
        ("file://another.host/events", "expected https://"),
        ("https://user:secret@marquez", "holds a login"),
        ("http://[", "no URL"),
        ("file:///nowhere/at/all.jsonl", "the file can't be read (No such file or directory)"),
        ("file:///dev/null", "no regular file"),
        ("http://127.0.0.1:1", "can't be asked (ConnectionError)"),
    ],
)
def test_a_store_that_can_not_be_read_is_a_note(url: str, words: str) -> None:
    found = stored(url, NAMESPACE)
    assert found.runs == ()
    (note,) = found.notes
    assert words in note
    assert "secret" not in note


def test_the_page_works_without_its_store(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__SECURE_PROVIDER__LINEAGE_STORE", "http://127.0.0.1:1")
    answer = client("ana").get("/data-protection/")
    assert answer.status_code == 200
    assert "The lineage store could not be read" in answer.text


def test_marquez_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage_store, "_PAGE_EVENTS", 2)
    events = [event("load", run_id=f"run-{number}") for number in range(5)]
    asked: list[dict[str, list[str]]] = []

    def answer(query: dict[str, list[str]]) -> tuple[int, bytes, float]:
        asked.append(query)
        begin = int(query["offset"][0])
        return 200, json.dumps({"events": events[begin : begin + 2], "totalCount": 5}).encode(), 0

    with marquez(answer) as url:
        found = stored(url, NAMESPACE)
        assert stored(url, NAMESPACE) is found  # kept for a while
    assert [run.run_id for run in found.runs] == [f"run-{number}" for number in range(5)]
    assert found.notes == ()
    assert [(each["limit"], each["sortDirection"]) for each in asked] == [(["2"], ["desc"])] * 3


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, b"", "status 500"),
        (302, b"", "status 302"),
        (200, b"<html>", "does not answer with JSON"),
        (200, b"[]", "holds no events"),
        (200, b'{"events": {}}', "holds no events"),
    ],
)
def test_what_is_no_marquez_is_a_note(status: int, body: bytes, words: str) -> None:
    with marquez(lambda _: (status, body, 0)) as url:
        found = stored(url, NAMESPACE)
    assert words in found.notes[0]


def test_a_slow_marquez_delays_the_page_by_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage_store, "MOST_SECONDS", 0.5)
    with marquez(lambda _: (200, b'{"events": []}', 3.0)) as url:
        began = time.monotonic()
        found = stored(url, NAMESPACE)
        assert time.monotonic() - began < 2.0
    assert "can't be asked (ReadTimeout)" in found.notes[0]


def test_a_huge_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage_store, "MOST_BYTES", 100_000)
    with marquez(lambda _: (200, b" " * 1_000_000, 0)) as url:
        found = stored(url, NAMESPACE)
    assert "The lineage store holds more than is read at once" in found.notes[0]


def test_an_object_in_s3(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(aws.airflow_connection()))
    monkeypatch.setattr(lineage_store, "_CHUNK_BYTES", 4_000)
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="lineage-page", CreateBucketConfiguration={"LocationConstraint": aws.region})
    events = [event("load", run_id=f"run-{number}") for number in range(30)]
    body = "".join(f"{json.dumps(each)}\n" for each in events).encode()
    s3.put_object(Bucket="lineage-page", Key="a b/events.jsonl", Body=body)
    s3.put_object(Bucket="lineage-page", Key="empty", Body=b"")
    url = "s3://lineage-page/a%20b/events.jsonl?aws_conn_id=lake"
    found = stored(url, NAMESPACE)
    assert [run.run_id for run in found.runs] == [f"run-{number}" for number in reversed(range(30))]
    assert found.notes == ()
    assert stored("s3://lineage-page/empty?aws_conn_id=lake", NAMESPACE) == lineage_store.Stored()
    assert "S3 answers 404" in stored("s3://lineage-page/none?aws_conn_id=lake", NAMESPACE).notes[0]
    (note,) = stored("s3://lineage-page/none?aws_conn_id=none", NAMESPACE).notes
    assert "the AWS connection can't be used (ConfigurationError)" in note
    lineage_store._KEPT.clear()
    monkeypatch.setattr(lineage_store, "MOST_BYTES", 9_000)
    found = stored(url, NAMESPACE)
    assert 1 < len(found.runs) < 20
    assert found.runs[0].run_id == "run-29"
    assert len(found.notes) == 1


def test_one_event_takes_the_page_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Any
) -> None:
    """Deep nesting, times at the end of time, and halves of characters."""
    deep: Any = {}
    for _ in range(900):
        deep = {"x": deep}
    odd = event("load", "odd", outputs=("crm.crm.\ud800odd",))
    bad = [
        event("load", "deep") | {"outputs": [deep]},
        event("load", "early", at="0001-01-01T00:00:00+14:00"),
        event("load", "late", at="9999-12-31T23:59:59-14:00"),
        odd,
        event("load", "good"),
    ]
    with marquez(lambda query: (200, json.dumps({"events": bad}).encode(), 0)) as url:
        monkeypatch.setenv("AIRFLOW__SECURE_PROVIDER__LINEAGE_STORE", url)
        found = stored(url, NAMESPACE)
        assert {"odd", "good"} <= {run.task_id for run in found.runs}
        for path in ("", "datasets.csv", "datasets.json"):
            assert client("ana").get(f"/data-protection/{path}").status_code == 200
