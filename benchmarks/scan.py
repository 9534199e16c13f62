"""How fast a scan reads, and what it finds and misses on columns whose kind is known.

The labelled columns are other people's inventions (``_make_scan_labels.py``), which the rules were not written by.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.discovery.columns import ColumnLook
from airflow_secure_provider.discovery.judging import Finding, judge
from airflow_secure_provider.inspection.scan import scan
from airflow_secure_provider.protection.plan import plan
from airflow_secure_provider.stores.csv import CsvReader
from airflow_secure_provider.transfer.suspicion import Suspicion

LABELS = Path(__file__).with_name("_scan_labels.json")
MEGABYTES = 100
ROUNDS = 3


def figures() -> Iterator[tuple[str, float]]:
    pa.set_cpu_count(1)
    labelled = json.loads(LABELS.read_text(encoding="utf-8"))
    data = _csv(labelled)
    yield "mb_s", _speed(data)
    yield "look_at_load_ms_per_column", _look_at_load(data)
    yield from quality(labelled)


def _speed(data: bytes) -> float:
    rates = []
    for _ in range(ROUNDS):
        began = time.process_time()
        scan(CsvReader(io.BytesIO(data), "bench"), "bench")
        rates.append(len(data) / 1e6 / (time.process_time() - began))
    return statistics.median(rates)


def _look_at_load(data: bytes) -> float:
    """What a load of 100 MB spends to look at a column that is called internal, in milliseconds."""
    reader = CsvReader(io.BytesIO(data), "bench")
    steps = plan(from_columns(dict.fromkeys(reader.columns, "none"), "bench").rules, None)
    suspicion = Suspicion(steps, "warn", "bench")
    spent = 0.0
    for batch in reader.batches():
        began = time.process_time()
        suspicion.look(batch)
        spent += time.process_time() - began
    return 1000 * spent / len(steps)


def _csv(labelled: list[Any]) -> bytes:
    """A column of each kind, and as many of none; read in one thread."""
    chosen = {each["kind"]: each for each in reversed(labelled) if each["kind"]}
    others = [each for each in labelled if each["kind"] is None][:: max(1, len(labelled) // 300)]
    columns = [*chosen.values(), *others[: len(chosen)]]
    names = [f"{each['name']}_{number}" for number, each in enumerate(columns)]
    rows = pa.table(
        {
            name: pa.array(
                [None if value is None else str(value).replace("\n", ", ") for value in each["values"]]
            )
            for name, each in zip(names, columns, strict=True)
        }
    )
    out = io.BytesIO()
    csv.write_csv(rows, out)
    header, _, body = out.getvalue().partition(b"\n")
    return header + b"\n" + body * (MEGABYTES * 1_000_000 // len(body))


def quality(labelled: list[Any]) -> Iterator[tuple[str, float]]:
    """Of each kind: how many that are said to be of it are (precision), how many that are of it are found (recall), and
    found or asked about. Of what is personal data: how much is passed over without a word; of what is none: how much is
    taken for it, and asked about."""
    judged = [(each["kind"], _finding(each)) for each in labelled]
    found = [(kind, finding.kind) for kind, finding in judged if finding.verdict == "found"]
    said, right = (
        Counter(kind for _, kind in found),
        Counter(kind for kind, kind_found in found if kind == kind_found),
    )
    there = Counter(kind for kind, _ in judged if kind)
    noticed = Counter(kind for kind, finding in judged if kind and finding.verdict != "nothing")
    for kind in sorted(there):
        yield f"precision_{kind}", right[kind] / said[kind] if said[kind] else 0.0
        yield f"recall_{kind}", right[kind] / there[kind]
        yield f"recall_or_asked_{kind}", noticed[kind] / there[kind]
    others = [finding.verdict for kind, finding in judged if kind is None]
    yield "columns", len(labelled)
    yield "passed_over", 1 - sum(noticed.values()) / sum(there.values())
    yield "false_found", others.count("found") / len(others)
    yield "false_asked", others.count("ask") / len(others)


def _finding(each: Any) -> Finding:
    look = ColumnLook(each["name"])
    look.look(pa.array(each["values"]))
    return judge(look)
