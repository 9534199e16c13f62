"""The graph of 100,000 events over 10,000 datasets, with a million column edges: built, and asked as of a moment."""

from __future__ import annotations

import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

EVENTS = 100_000
DATASETS = 10_000
COLUMNS = 10  # so a million edges
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_LAYERS = 10  # from raw to report: a dataset is made of those of the layer before
_QUERIES = 50


def graph_figures() -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "events.jsonl"
        with file.open("w", encoding="utf-8") as out:
            for event in _events():
                out.write(json.dumps(event, separators=(",", ":")) + "\n")
        # In a process of its own, for its memory.
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            yield from pool.apply(_measure, (file,)).items()


def _measure(file: Path) -> dict[str, float]:
    from airflow_secure_provider.lineage.classes import column_classes
    from airflow_secure_provider.lineage.graph import read

    before = _resident_mb()
    began = time.perf_counter()
    with file.open(encoding="utf-8") as lines:
        graph = read(lines)
    graph.hops()
    built = time.perf_counter() - began
    if graph.skipped or len(graph.datasets()) != DATASETS:
        raise AssertionError(f"{graph.skipped} events skipped, {len(graph.datasets())} datasets")
    chance = random.Random(7)
    taken = []
    found = 0
    for _ in range(_QUERIES):
        dataset = (
            f"postgres://db.example.com:5432/{_name(DATASETS - 1 - chance.randrange(DATASETS // _LAYERS))}"
        )
        moment = _BEGAN + timedelta(seconds=chance.randrange(EVENTS // 2, EVENTS))
        began = time.perf_counter()
        found += len(graph.walk(dataset, upstream=True, as_of=moment))
        taken.append(time.perf_counter() - began)
    began = time.perf_counter()
    classes = column_classes(graph.hops())
    classified = time.perf_counter() - began
    edges = sum(len(hop.edges) for hop in graph.hops())
    return {
        "graph_build_s": built,
        "graph_mb": _resident_mb() - before,
        "graph_events_mb": file.stat().st_size / 1e6,
        "graph_column_edges": float(edges),
        "asof_query_ms": 1000 * statistics.median(taken),
        "asof_query_max_ms": 1000 * max(taken),
        "asof_query_hops": found / _QUERIES,
        "classes_s": classified,
        "classes_columns": float(len(classes)),
    }


def _events() -> Iterator[dict[str, Any]]:
    """Ten jobs make each dataset, each of another one of the layer before."""
    chance = random.Random(1)
    size = DATASETS // _LAYERS
    for number in range(EVENTS):
        target = number % DATASETS
        layer = target // size
        source = (layer - 1) * size + chance.randrange(size) if layer else chance.randrange(size)
        yield {
            "eventType": "COMPLETE",
            "eventTime": (_BEGAN + timedelta(seconds=number)).isoformat(),
            "run": {"runId": f"00000000-0000-4000-8000-{number:012d}", "facets": {}},
            "job": {"namespace": "prod", "name": f"dag_{target}.load_{number // DATASETS}", "facets": {}},
            "inputs": [_dataset(source)],
            "outputs": [_dataset(target, _edges(source))],
            "producer": "https://example.com",
        }


def _dataset(number: int, edges: dict[str, Any] | None = None) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "secureProvider_encryption": {
            "status": "protected",
            "atRest": {"scheme": "volume", "evidence": "declared"},
            "inTransit": {"protocol": "TLSv1.3", "peerVerified": True, "evidence": "observed"},
            "columns": [
                {
                    "name": f"column_{n}",
                    "classification": "internal" if n else "restricted",
                    "protection": "none",
                }
                for n in range(COLUMNS)
            ],
        }
    }
    if edges is not None:
        facets["columnLineage"] = {"fields": edges}
    return {"namespace": "postgres://db.example.com:5432", "name": _name(number), "facets": facets}


def _edges(source: int) -> dict[str, Any]:
    return {
        f"column_{n}": {
            "inputFields": [
                {
                    "namespace": "postgres://db.example.com:5432",
                    "name": _name(source),
                    "field": f"column_{n}",
                    "transformations": [{"type": "DIRECT", "subtype": "IDENTITY", "masking": False}],
                }
            ]
        }
        for n in range(COLUMNS)
    }


def _name(number: int) -> str:
    return f"shop.layer_{number * _LAYERS // DATASETS}.table_{number}"


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    raise AssertionError("/proc/self/status has no VmRSS")
