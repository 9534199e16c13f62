"""The anonymity gate's first pass over 50 million rows and five quasi-identifiers: its speed, and the memory that it takes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROWS = 50_000_000
BATCH = 32_768
# By quasi-identifier how many different values; together 1.5 million different rows at most.
SIZES = {"born": 80, "postcode": 900, "sex": 2, "nationality": 5, "degree": 2}


def figures() -> Iterator[tuple[str, float]]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield from pool.apply(_measure).items()


def _measure() -> dict[str, float]:
    from airflow_secure_provider.transfer.anonymity import decide
    from airflow_secure_provider.transfer.required import Required

    required = Required.of(
        {
            "k": 5,
            "quasi_identifiers": {
                "born": [[40]],
                "postcode": [2, 0],
                "sex": [],
                "nationality": [],
                "degree": [],
            },
            "max_suppressed": 0.05,
        },
        lambda name: b"",
    )
    before, began = _peak_mb(), time.perf_counter()
    decided = decide(required, _batches(), iter(()), "the benchmark")
    seconds = time.perf_counter() - began
    return {
        "rows_per_s": ROWS / seconds,
        "seconds": seconds,
        "added_mb": _peak_mb() - before,
        "classes": float(decided.report.classes),
        "k": float(decided.report.k),
        "loss": decided.report.loss,
    }


def _batches() -> Iterator[Mapping[str, Any]]:
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(1)
    values = {
        name: pa.array([f"{n:05d}" if name != "born" else str(n) for n in range(size)])
        for name, size in SIZES.items()
    }
    for begin in range(0, ROWS, BATCH):
        rows = min(BATCH, ROWS - begin)
        yield {
            name: values[name].take(
                pa.array(np.minimum(rng.geometric(min(0.7, 3 / size), rows) - 1, size - 1))
            )
            for name, size in SIZES.items()
        }


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    raise AssertionError("/proc/self/status has no VmHWM")
