"""Many processes emit through Airflow's own adapter while the lineage server goes away and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._lineage_outage import PROCESSES, RUNS_EACH, outage


@pytest.mark.parametrize(
    ("processes", "runs_each"), [(8, 5), pytest.param(PROCESSES, RUNS_EACH, marks=pytest.mark.long)]
)
def test_nothing_is_lost_and_runs_keep_their_order(tmp_path: Path, processes: int, runs_each: int) -> None:
    seen = outage(tmp_path, processes, runs_each)
    assert (len(seen.runs), seen.failed, seen.lost) == (processes * runs_each, 0, 0)
    assert set(seen.states) == set(seen.runs)
    for states in seen.states.values():  # twice is allowed, another order is not
        assert list(dict.fromkeys(states)) == ["START", "COMPLETE"]
