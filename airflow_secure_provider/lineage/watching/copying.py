"""``COPY`` through PostgresHook (``copy_expert``, ``bulk_load``, ``bulk_dump``): the stock provider tells no datasets of it.

What is found goes to Airflow's own collector of hook lineage, from where the OpenLineage provider takes it.
"""

from __future__ import annotations

import functools
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wrapt

from .harmless import harmless

log = logging.getLogger(__name__)

_NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_COPY = re.compile(
    rf"\s*COPY\s+(?:(?P<table>{_NAME}(?:\s*\.\s*{_NAME})?)\s*(?:\([^()]*\)\s*)?|\((?P<query>.*)\)\s*)"
    r"(?P<direction>FROM\s+STDIN|TO\s+STDOUT)\b",
    re.IGNORECASE | re.DOTALL,
)
_COMMENT = re.compile(r"\A(?:\s*(?:--[^\n]*\n|/\*.*?\*/))+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Copied:
    """
    :ivar tables: schema and table each; of a query all that it reads.
    :ivar into: the tables are written, and not read.
    """

    tables: tuple[tuple[str, str], ...]
    into: bool


def copied(statement: str) -> Copied | None:
    """What a COPY statement copies; ``None`` for one that is not understood, and then nothing is claimed."""
    found = _COPY.match(_COMMENT.sub("", statement))
    if found is None:
        return None
    into = found["direction"].upper().startswith("FROM")
    if found["query"] is None:
        return Copied((_table(found["table"]),), into)
    return Copied(_read_by(found["query"]), into)


def watch_copies() -> None:
    """From now on in this process and its forks."""
    wrapt.register_post_import_hook(_watch_copies, "airflow.providers.postgres.hooks.postgres")


@harmless
def _watch_copies(module: Any) -> None:
    original = module.PostgresHook.copy_expert

    @functools.wraps(original)
    def copy_expert(self: Any, sql: str, filename: str) -> Any:
        result = original(self, sql, filename)
        try:
            _collect(self, sql, filename)
        except Exception as error:  # noqa: BLE001 (a task must not fail by being watched)
            log.debug("a COPY was not looked at: %s", type(error).__name__)
        return result

    module.PostgresHook.copy_expert = copy_expert


def _collect(hook: Any, statement: str, filename: str) -> None:
    from airflow.sdk.lineage import get_hook_lineage_collector

    seen = copied(statement)
    if seen is None:
        return
    collector = get_hook_lineage_collector()
    connection = hook.connection
    tables, file = (
        (collector.add_output_asset, collector.add_input_asset)
        if seen.into
        else (collector.add_input_asset, collector.add_output_asset)
    )
    for schema, table in seen.tables:
        tables(
            context=hook,
            scheme="postgres",
            asset_kwargs={
                "host": connection.host,
                "port": connection.port or 5432,
                "database": hook.database or connection.schema,
                "schema": schema,
                "table": table,
            },
        )
    file(context=hook, scheme="file", asset_kwargs={"path": str(Path(filename).absolute())})


def _table(written: str) -> tuple[str, str]:
    parts = [
        part[1:-1].replace('""', '"') if part.startswith('"') else part.lower()
        for part in re.findall(_NAME, written)
    ]
    return (parts[0], parts[1]) if len(parts) == 2 else ("public", parts[0])


def _read_by(query: str) -> tuple[tuple[str, str], ...]:
    from openlineage_sql import parse

    found = parse([query], dialect="postgres")
    return tuple((each.schema or "public", each.name) for each in (found.in_tables if found else ()))
