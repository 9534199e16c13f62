"""No event is lost, whatever the lineage server does; and no task waits long for it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.event_v2 import InputDataset, Job, Run, RunEvent, RunState
from openlineage.client.transport import get_default_factory

from airflow_secure_provider.errors import ConfigurationError, StoreError
from airflow_secure_provider.lineage.completion import completed
from airflow_secure_provider.lineage.spool import Answer, Spool, SpoolFull
from airflow_secure_provider.lineage.transport import SecureConfig, SecureTransport, transport_of
from tests.lineage.server import LineageServer

RUNS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(100)]


def event(run: str = RUNS[0], state: RunState = RunState.START, **job: Any) -> RunEvent:
    return RunEvent(
        eventType=state,
        eventTime="2026-01-01T00:00:00Z",
        run=Run(runId=run),
        job=Job(namespace="n", name=job.get("name", "j")),
        producer="https://example.com",
        inputs=[InputDataset("s3://bucket", "key")],
        outputs=[],
    )


def config(url: str, spool: Path, **more: Any) -> dict[str, Any]:
    http = {"type": "http", "url": url, "timeout": 1.0, "retry": {"total": 0}}
    return {
        "type": f"{SecureTransport.__module__}.SecureTransport",
        "spool": str(spool),
        "transport": http,
        **more,
    }


def make(url: str, spool: Path, **more: Any) -> SecureTransport:
    return transport_of(config(url, spool, **more))


# on disk


def test_an_event_is_on_disk_before_it_is_sent(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    file = spool.put({"run": {"runId": "a/b"}, "x": 1})
    assert file is not None
    assert json.loads(file.read_text()) == {"run": {"runId": "a/b"}, "x": 1}
    assert (oct(file.stat().st_mode & 0o777), oct(spool.folder.stat().st_mode & 0o777)) == ("0o600", "0o700")
    assert spool.waiting() == [file]
    assert spool.size() == file.stat().st_size
    assert sorted(each.name for each in spool.folder.iterdir()) == [file.name]


def test_runs_are_delivered_in_order_and_one_that_is_stuck_stops_no_other(tmp_path: Path) -> None:
    spool, seen = Spool(tmp_path), []
    for number in range(3):
        for run in ("stuck", "fine"):
            spool.put({"run": {"runId": run}, "number": number})

    def send(sent: dict[str, Any]) -> Answer:
        seen.append((sent["run"]["runId"], sent["number"]))
        return Answer.LATER if sent["run"]["runId"] == "stuck" else Answer.TAKEN

    flushed = spool.flush(send)
    assert (flushed.taken, flushed.left) == (3, 3)
    assert [each for each in seen if each[0] == "fine"] == [("fine", 0), ("fine", 1), ("fine", 2)]
    assert [each for each in seen if each[0] == "stuck"] == [("stuck", 0)]
    assert spool.flush(lambda _: Answer.TAKEN).taken == 3


def test_one_process_delivers_at_a_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put({"run": {"runId": "a"}})

    def send(_: dict[str, Any]) -> Answer:
        assert spool.flush(lambda _: Answer.TAKEN, until=time.monotonic() + 0.1).taken == 0
        return Answer.TAKEN

    assert spool.flush(send).taken == 1


def test_an_event_that_is_refused_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path)
    spool.put({"run": {"runId": "a"}})
    (tmp_path / f"{0:020d}-1-1-b.json").write_text("{")  # half a file, of another time
    flushed = spool.flush(lambda _: Answer.REJECTED)
    assert (flushed.rejected, flushed.left) == (2, 0)
    assert len(list((tmp_path / "rejected").iterdir())) == 2
    assert "refuses an event for good" in caplog.text


def test_a_full_spool(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    room = len(json.dumps({"a": 1}, separators=(",", ":")))
    failing, dropping = Spool(tmp_path, room), Spool(tmp_path, room, "drop")
    assert failing.put({"a": 1}) is not None
    with pytest.raises(SpoolFull, match="lineage flush"):
        failing.put({"a": 2})
    for _ in range(3):
        assert dropping.put({"a": 3}) is None
    assert (dropping.dropped(), len(dropping.waiting())) == (3, 1)
    assert "3 so far" in caplog.text


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        Spool(tmp_path / "file" / "spool").put({})


# the server


def test_what_is_taken_is_gone(tmp_path: Path) -> None:
    with LineageServer() as server:
        transport = make(server.url, tmp_path)
        for state in (RunState.START, RunState.COMPLETE):
            transport.emit(event(state=state))
    assert [each["eventType"] for each in server.events] == ["START", "COMPLETE"]
    assert Spool(tmp_path).waiting() == []


def test_airflow_makes_it_by_its_name(tmp_path: Path) -> None:
    assert isinstance(get_default_factory().create(config("http://127.0.0.1:9", tmp_path)), SecureTransport)


def test_a_server_that_is_away_holds_nobody_up_and_gets_all_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LineageServer() as server:
        port = server.port
    transport = make(f"http://127.0.0.1:{port}", tmp_path)
    started = time.monotonic()
    for run in RUNS[:50]:
        transport.emit(event(run))
    assert time.monotonic() - started < 5
    assert caplog.text.count("takes no events") == 1
    with LineageServer(port) as server:
        assert transport.flush().left == 0
        assert [each["run"]["runId"] for each in server.events] == RUNS[:50]


def test_a_slow_server_holds_a_task_up_once_and_not_long(tmp_path: Path) -> None:
    with LineageServer() as server:
        server.delay = 0.8
        transport = make(server.url, tmp_path, max_delay_seconds=0.3)
        started = time.monotonic()
        for run in RUNS[:5]:
            transport.emit(event(run))
        assert time.monotonic() - started < 1.0
        server.delay = 0
        time.sleep(1)
        transport.flush()
        assert {each["run"]["runId"] for each in server.events} == set(RUNS[:5])


@pytest.mark.parametrize(
    ("status", "waits"), [(400, False), (422, False), (401, True), (429, True), (500, True), (503, True)]
)
def test_what_the_server_answers(tmp_path: Path, status: int, waits: bool) -> None:
    with LineageServer() as server:
        server.answers = [status]
        transport = make(server.url, tmp_path)
        transport.emit(event())
        assert (len(transport.spool.waiting()), (tmp_path / "rejected").exists()) == (int(waits), not waits)
        assert transport.flush().left == 0
        assert len(server.events) == int(waits)


def test_the_next_task_sends_what_waits(tmp_path: Path) -> None:
    with LineageServer() as server:
        server.answers = [503]
        make(server.url, tmp_path).emit(event(RUNS[0]))
        os.utime(tmp_path / ".rests", (0, 0))  # some time later
        make(server.url, tmp_path).emit(event(RUNS[1]))
        assert {each["run"]["runId"] for each in server.events} == set(RUNS[:2])


def emit_some(url: str, spool: str, worker: int) -> int:
    transport = make(url, Path(spool), max_delay_seconds=0.5)
    for number in range(4):
        run = f"{worker:08d}-0000-4000-8000-{number:012d}"
        transport.emit(event(run, RunState.START))
        transport.emit(event(run, RunState.COMPLETE))
    return os.getpid()


@contextmanager
def _started(pool: ProcessPoolExecutor) -> Iterator[LineageServer]:
    """All its processes first: one that is forked later would hold on to the server's socket."""
    list(pool.map(abs, range(64)))
    with LineageServer() as server:
        yield server


def test_many_processes_lose_nothing_through_a_restart(tmp_path: Path) -> None:
    with ProcessPoolExecutor(8) as pool, _started(pool) as first:
        port, url = first.port, first.url
        waiting = [pool.submit(emit_some, url, str(tmp_path), worker) for worker in range(16)]
        time.sleep(0.5)
        first.__exit__()
        time.sleep(0.5)
        with LineageServer(port) as second:
            for each in waiting:
                each.result()
            make(url, tmp_path).flush()
            taken = first.events + second.events
    by_run: dict[str, list[str]] = {}
    for each in taken:
        by_run.setdefault(each["run"]["runId"], []).append(each["eventType"])
    assert len(by_run) == 64
    for states in by_run.values():  # twice is allowed, another order is not
        assert list(dict.fromkeys(states)) == ["START", "COMPLETE"]


# what leaves


def test_a_secret_that_was_masked_late_is_redacted(tmp_path: Path) -> None:
    from airflow.sdk.log import mask_secret

    secret = "canary-password-4711"
    with LineageServer() as server:
        transport = make(server.url, tmp_path)
        mask_secret(secret)
        transport.emit(event(name=f"login failed with {secret}"))
    assert server.events[0]["job"]["name"] == "login failed with ***"


def test_every_dataset_has_the_encryption_facet(tmp_path: Path) -> None:
    with LineageServer() as server:
        make(server.url, tmp_path).emit(event())
    facet = server.events[0]["inputs"][0]["facets"]["secureProvider_encryption"]
    assert facet["status"] == "unknown"
    assert facet["_schemaURL"].endswith("EncryptionDatasetFacet:1-2-0")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"spool": "/x"}, "no transport that sends"),
        ({"transport": {"type": "http"}}, "absolute path"),
        ({"transport": {"type": "http"}, "spool": "relative"}, "absolute path"),
        ({"transport": {"type": "http"}, "spool": "/x", "on_full": "wait"}, "on_full 'wait'"),
        ({"transport": {"type": "http"}, "spool": "/x", "server": "mine"}, "server 'mine'"),
        ({"transport": {"type": "http"}, "spool": "/x", "spol": 1}, "unknown spol"),
        ({"transport": {"type": "async_http"}, "spool": "/x"}, "async_http .* use http"),
        ({"transport": {"type": "composite", "transports": []}, "spool": "/x"}, "hides the failure of one"),
    ],
)
def test_bad_configuration(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        SecureConfig.from_dict(given)
    with pytest.raises(ConfigurationError, match="has no spool"):
        transport_of({"type": "http"})


def test_names_change_on_the_way_only(tmp_path: Path) -> None:
    with LineageServer() as server:
        server.answers = [503]
        for transport in (make(server.url, tmp_path, server="marquez"), make(server.url, tmp_path / "plain")):
            transport.emit(event(name="a#b"))
            for kept in transport.spool.waiting():
                assert json.loads(kept.read_bytes())["job"]["name"] == "a#b"
            transport.flush()
        assert [each["job"]["name"] for each in server.events] == ["a@23b", "a#b"]


def test_nothing_of_an_event_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with LineageServer() as server, caplog.at_level(logging.INFO):
        server.answers = [400, 500]
        transport = make(server.url, tmp_path)
        transport.emit(event(RUNS[0], name="canary-name"))
        transport.emit(event(RUNS[1], name="canary-name"))
    assert caplog.text
    assert "canary-name" not in caplog.text


# what a review has found


@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_to_a_login_is_no_answer(tmp_path: Path, status: int) -> None:
    with LineageServer() as server:
        server.answers = [status]
        transport = make(server.url, tmp_path)
        transport.emit(event())
        assert server.events == []
        assert len(transport.spool.waiting()) == 1
        assert transport.flush().left == 0
        assert len(server.events) == 1


def test_one_event_that_is_never_taken_stops_no_other(tmp_path: Path) -> None:
    with LineageServer() as server:
        server.fails_at = {RUNS[0]}
        transport = make(server.url, tmp_path)
        spool = transport.spool
        spool.put({"run": {"runId": RUNS[0]}, "n": 0})
        for run in RUNS[1:11]:
            spool.put({"run": {"runId": run}})
        flushed = transport.flush()
    assert (flushed.taken, flushed.left) == (10, 1)


def test_what_marquez_can_not_be_told_is_set_aside(tmp_path: Path) -> None:
    with LineageServer() as server:
        transport = make(server.url, tmp_path, server="marquez")
        transport.spool.put(
            {
                "run": {"runId": RUNS[0]},
                "inputs": [{"namespace": "n", "name": "x", "facets": {"schema": {"fields": [1]}}}],
            }
        )
        transport.spool.put({"run": {"runId": RUNS[1]}})
        flushed = transport.flush()
    assert (flushed.taken, flushed.rejected, flushed.left) == (1, 1, 0)


def test_an_event_without_a_run_passes(tmp_path: Path) -> None:
    from openlineage.client.event_v2 import DatasetEvent, StaticDataset

    with LineageServer() as server:
        make(server.url, tmp_path, server="marquez").emit(
            DatasetEvent(
                eventTime="2026-01-01T00:00:00Z",
                producer="https://example.com",
                dataset=StaticDataset("s3://b", "k"),
            )
        )
        assert len(server.events) == 1


def test_contracts_that_can_not_be_read_lose_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (file / "below", tmp_path / "gone"):  # one raises NotADirectoryError on some systems
        monkeypatch.setenv("AIRFLOW__SECURE_PROVIDER__CONTRACTS", str(place))
        with LineageServer() as server:
            make(server.url, tmp_path / "spool").emit(event())
            assert len(server.events) == 1


def test_while_others_deliver_a_task_does_not_wait_and_does_not_blame_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LineageServer() as server:
        transport = make(server.url, tmp_path)
        transport.emit(event(RUNS[1]))  # what is imported is imported
        with transport.spool._alone(time.monotonic() + 1) as alone:
            assert alone
            began = time.monotonic()
            transport.emit(event())
            assert time.monotonic() - began < 1.0
        assert "takes no events" not in caplog.text
        assert transport.flush().left == 0


def test_an_event_that_is_nested_too_deep_loses_its_facets_and_is_not_lost(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(700):
        deep = {"deeper": deep}
    odd = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "run": {"runId": RUNS[0], "facets": {"odd": deep}},
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "s3://b", "name": "k", "facets": {}}],
        "outputs": [],
        "producer": "p",
    }
    body = completed(odd, lambda namespace, name: {})
    assert body["run"] == {"runId": RUNS[0]}
    assert body["inputs"][0]["facets"]["secureProvider_encryption"]["status"] == "unknown"
    assert body["eventType"] == "COMPLETE"


# in order, also while it fills


def test_a_listing_that_misses_an_earlier_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """POSIX lets a folder that is listed while files come show the later one only."""
    spool = Spool(tmp_path / "spool")
    first, second = (spool.put({"run": {"runId": "a"}, "x": x}) for x in (1, 2))
    other = spool.put({"run": {"runId": "b"}, "x": 3})
    listings = [[second], [first, second, other], [other], [first, second, other]]
    monkeypatch.setattr(spool, "waiting", lambda: [each for each in listings.pop(0) if each is not None])

    assert spool.ready() == [first, second]
    assert spool.ready() == [other]


def test_a_clock_that_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool")
    moments = iter([2_000_000_000_000_000_000, 1_000_000_000_000_000_000, 1_500_000_000_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    for run, x in (("a", 1), ("a", 2), ("b", 3)):
        spool.put({"run": {"runId": run}, "x": x})

    seen: list[int] = []
    spool.flush(lambda each: (seen.append(each["x"]), Answer.TAKEN)[1])
    assert seen == [3, 1, 2]


def _fill(folder: Path, number: int) -> None:
    spool = Spool(folder)
    for each in range(100):
        for state in ("START", "COMPLETE"):
            spool.put({"run": {"runId": f"{number}-{each}"}, "state": state})


def test_in_order_while_several_processes_fill_it(tmp_path: Path) -> None:
    spool, seen = Spool(tmp_path / "spool"), []

    def send(told: dict[str, Any]) -> Answer:
        seen.append((told["run"]["runId"], told["state"]))
        return Answer.TAKEN

    with ProcessPoolExecutor(4) as pool:
        filling = [pool.submit(_fill, spool.folder, number) for number in range(4)]
        while not all(each.done() for each in filling):
            spool.flush(send)
        for each in filling:
            each.result()
    spool.flush(send)
    assert len(seen) == len(set(seen)) == 800
    for run in {run for run, _ in seen}:
        assert [state for each, state in seen if each == run] == ["START", "COMPLETE"]
