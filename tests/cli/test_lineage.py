"""``airflow-secure lineage``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.inspection.findings import Verdict
from airflow_secure_provider.inspection.lineage import check_spool
from airflow_secure_provider.lineage.spool import Spool
from tests.lineage.server import LineageServer
from tests.lineage.test_spool import RUNS, config


def flush(monkeypatch: pytest.MonkeyPatch, transport: Any, *arguments: str) -> Result:
    text = transport if isinstance(transport, str) else json.dumps(transport)
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", text)
    return CliRunner().invoke(cli, ["lineage", "flush", *arguments])


def waiting(spool: Path, number: int) -> None:
    for run in RUNS[:number]:
        Spool(spool).put({"run": {"runId": run}, "eventType": "START"})


def test_what_waits_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waiting(tmp_path, 3)
    (tmp_path / ".rests").touch()  # a task has given up just now: the command does not
    with LineageServer() as server:
        outcome = flush(monkeypatch, config(server.url, tmp_path))
        assert (outcome.exit_code, outcome.stdout) == (0, "3 events sent, 0 still wait\n")
        assert [each["run"]["runId"] for each in server.events] == RUNS[:3]


def test_what_is_not_taken_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waiting(tmp_path, 3)
    (tmp_path / "dropped").write_bytes(b"..")
    with LineageServer() as server:
        server.answers = [201, 422, 503]
        outcome = flush(monkeypatch, config(server.url, tmp_path), "--json")
    assert outcome.exit_code == 1
    assert json.loads(outcome.stdout) == {"taken": 1, "rejected": 1, "left": 1, "dropped": 2}


@pytest.mark.parametrize(
    ("transport", "says"),
    [("", "is not set"), ("{", "is not JSON"), ({"type": "http", "url": "http://x"}, "has no spool")],
)
def test_without_a_spool(monkeypatch: pytest.MonkeyPatch, transport: Any, says: str) -> None:
    outcome = flush(monkeypatch, transport)
    assert outcome.exit_code == 1
    assert says in outcome.output


def test_the_check_of_a_spool(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    found = check_spool(str(folder), 0, 0)
    assert found.verdict in (Verdict.OK, Verdict.WARNING)
    assert check_spool(str(folder), 2, 0).verdict == Verdict.WARNING
    folder.mkdir(parents=True, mode=0o700)
    assert check_spool(str(folder), 0, 0).verdict in (Verdict.OK, Verdict.WARNING)
    folder.chmod(0o777)
    assert "others may write there" in check_spool(f"{folder}/", 0, 0).detail
    folder.rmdir()
    assert check_spool("/dev/shm/lineage", 0, 0).detail.startswith("it is on tmpfs")
    assert (
        "3 events were dropped" in check_spool(str(folder), 0, 3).detail or found.verdict == Verdict.WARNING
    )
