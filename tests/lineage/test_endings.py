"""What comes after the end of a run comes to Marquez as the end again. Why is seen in ``tests/integration/test_marquez.py``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_secure_provider.lineage.endings import Endings


def event(kind: str, run: str = "r-1", **facets: Any) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": f"at {kind}",
        "run": {"runId": run, "facets": facets},
        "job": {"name": "j"},
    }


def ended(kind: str = "COMPLETE", run: str = "r-1") -> dict[str, Any]:
    datasets = {"inputs": [{"name": "in"}], "outputs": [{"name": "out"}]}
    return event(kind, run, parent=1, credentials="lent") | datasets


@pytest.mark.parametrize("kind", ["COMPLETE", "FAIL", "ABORT"])
def test_the_end_once_more(tmp_path: Path, kind: str) -> None:
    Endings(tmp_path / "e").remember(ended(kind))
    (kept,) = (tmp_path / "e").iterdir()
    assert (oct(kept.stat().st_mode & 0o777), oct(kept.parent.stat().st_mode & 0o777)) == ("0o600", "0o700")
    said = Endings(tmp_path / "e").repeated(event("OTHER", credentials="revoked"))
    facets = {"parent": 1, "credentials": "revoked"}
    assert said == {**ended(kind), "eventTime": "at OTHER", "run": {"runId": "r-1", "facets": facets}}
    assert list((tmp_path / "e").iterdir()) == []


def test_what_stays_as_it_is(tmp_path: Path) -> None:
    endings = Endings(tmp_path)
    for each in (event("START"), {**event("RUNNING", "r-2"), "inputs": [1]}):
        endings.remember(each)
    endings.remember(ended(run="../../r-2"))
    assert [each.name for each in tmp_path.iterdir()] == ["______r-2.json"]
    for each in (
        event("START"),
        event("OTHER"),
        event("COMPLETE"),
        {**event("OTHER", "../../r-2"), "inputs": [1]},
    ):
        assert endings.repeated(each) == each


def test_what_nobody_asked_for_is_forgotten(tmp_path: Path) -> None:
    endings = Endings(tmp_path)
    endings.remember(ended(run="killed"))
    past = time.time() - 7200
    os.utime(tmp_path / "killed.json", (past, past))
    endings.remember(ended(run="now"))
    assert [each.name for each in tmp_path.iterdir()] == ["now.json"]
