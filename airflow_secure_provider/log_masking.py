"""Masks what a task logs in the task's own process.

Airflow masks it later, in the task's supervisor, and there for the log file only: what the LocalExecutor copies to the
scheduler's standard output, and what ``airflow dags test`` prints, goes unmasked.
"""

from __future__ import annotations

import logging
from typing import Any


def mask_at_the_source() -> None:
    """From now on, for all that this process logs through structlog or logging; once. What is printed is not touched."""
    import structlog
    from airflow.sdk.log import mask_logs

    # In place: loggers that have been used hold on to these very lists.
    chains: list[Any] = [structlog.get_config()["processors"]]
    last_is_writer = [True]
    for handler in logging.getLogger().handlers:
        formatter = handler.formatter
        if isinstance(formatter, structlog.stdlib.ProcessorFormatter):
            chains.append(formatter.foreign_pre_chain)
            last_is_writer.append(False)
    for chain, writes in zip(chains, last_is_writer, strict=True):
        if isinstance(chain, list) and mask_logs not in chain:
            chain.insert(len(chain) - 1 if writes and chain else len(chain), mask_logs)
