"""How long a task will take: as its author says, or as its past runs did."""

from __future__ import annotations

import logging
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..vault.durations import in_words, parse_duration

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

AUTO = "auto"
_MOST_RUNS = 20
_LEAST_RUNS = 3
_QUANTILE = 0.95


def runtime_of(task: Any, context: Context) -> float | None:
    """Seconds; None if nobody says.

    :raises ConfigurationError: for a ``min_ttl`` that is no length of time.
    """
    given = getattr(task, "min_ttl", None)
    if given is None:
        return None
    if given != AUTO:
        return parse_duration(given, "min_ttl")
    if getattr(task, "asks_for_others", False):
        raise ConfigurationError(
            f"task {task.task_id!r}: min_ttl='auto' would be by its own past runs, which take a moment; say how long the job takes"
        )
    seconds = past_runs(context["ti"])
    if len(seconds) < _LEAST_RUNS:
        log.info(
            "min_ttl='auto': %d successful runs of this task to judge by, at least %d are needed; not checked",
            len(seconds),
            _LEAST_RUNS,
        )
        return None
    expected = seconds[math.ceil(_QUANTILE * len(seconds)) - 1]
    log.info("min_ttl='auto': %s, as 95%% of the last %d runs took at most", in_words(expected), len(seconds))
    return expected


def past_runs(instance: Any) -> list[float]:
    """Seconds of this task's last successful runs before this one, ascending; one question to the API server for each."""
    from airflow.sdk import TaskInstanceState

    found: list[float] = []
    before: datetime | None = None
    while len(found) < _MOST_RUNS:
        run = instance.get_previous_ti(
            state=TaskInstanceState.SUCCESS, logical_date=before, map_index=instance.map_index
        )
        if run is None or run.logical_date is None or (before is not None and run.logical_date >= before):
            break
        before = run.logical_date
        if run.start_date and run.end_date:
            found.append((run.end_date - run.start_date).total_seconds())
    return sorted(found)
