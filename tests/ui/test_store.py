"""The configured lineage store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def store_of(events: list[Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of events, set as the lineage store. What is text already is written as it is."""
    file = folder / "events of today.jsonl"
    lines = [each if isinstance(each, str) else json.dumps(each) for each in events]
    file.write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("AIRFLOW__SECURE_PROVIDER__LINEAGE_STORE", file.as_uri())
    return file
