"""Golden events: what each operator tells, to the letter. After a wanted change: delete the file and run again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Stage

FOLDER = Path(__file__).parent / "golden"

# What is another in every run, and the name that stands for it.
_CHANGING = (
    (re.compile(r"postgres://127\.0\.0\.1:\d+"), "postgres://SERVER"),
    (re.compile(r"https://127\.0\.0\.1:\d+"), "https://API"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "ETAG"),
    (re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(?:\+00:00|Z)"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DATE"),
)
_NUMBERS = frozenset({"size", "ttlSeconds"})


def check(stage: Stage, dag_id: str, task_id: str, kind: str = "COMPLETE") -> None:
    """The task's first event of a kind, without what other packages tell of the run."""
    events = [each for each in stage.events(dag_id) if each["job"]["name"] == f"{dag_id}.{task_id}"]
    event = next(each for each in events if each["eventType"] == kind)
    facets = event["run"]["facets"]
    told = {
        "eventType": kind,
        "job": event["job"]["name"],
        "run": {name: facet for name, facet in facets.items() if name.startswith("secureProvider_")},
        "inputs": event["inputs"],
        "outputs": event["outputs"],
    }
    got = json.dumps(_plain(told), indent=2, sort_keys=True) + "\n"
    path = FOLDER / f"{dag_id}.{task_id}.{kind.lower()}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(got)
        pytest.fail(f"{path.name} was missing and is written now: read it, commit it")
    assert got == path.read_text()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "NUMBER" if name in _NUMBERS and isinstance(item, int) else _plain(item)
            for name, item in value.items()
            if name != "_producer"
        }
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        for pattern, name in _CHANGING:
            value = pattern.sub(name, value)
    return value
