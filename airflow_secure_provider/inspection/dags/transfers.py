"""Stock operators and hooks that move data, held to the contracts of what they touch."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...contract.registry import Registry
from ...model import Classification
from .datasets import Dataset, datasets_of, tables_of
from .model import HOLE, Call, Seen, Told
from .ours import OPERATORS
from .values import texts

OURS = "airflow_secure_provider."
# Those of no module "transfers". Operators of others count if they are named <Source>To<Target>Operator.
STOCK_NAMES = {
    "GenericTransfer",
    "S3CopyObjectOperator",
    "S3FileTransformOperator",
    "S3CreateObjectOperator",
    "CopyFromExternalStageToSnowflakeOperator",
    "RedshiftDataOperator",
}
_NAMED_TRANSFER = re.compile(r"^[A-Z]\w*(?:To[A-Z]\w*|Transfer)Operator$")
HOOK_METHODS = {
    "copy_expert",
    "bulk_load",
    "bulk_dump",
    "bulk_load_custom",
    "get_df",
    "get_pandas_df",
    "get_df_by_chunks",
    "get_pandas_df_by_chunks",
}
# They bring rows to the worker, or take them from it, and are used for much else: only what a contract calls confidential or
# restricted is told of.
_ROW_METHODS = {"get_records", "insert_rows", "upsert_rows", "to_sql", "write_database"}
_COUNTS = re.compile(r"\s*select\s+(?:count|min|max|exists)\s*\([^()]{0,300}\)\s+from\b", re.I)
_BOTO = {  # where bucket and key stand
    "get_object": ("Bucket", "Key"), "put_object": ("Bucket", "Key"),
    "download_file": ("Bucket", "Key"), "download_fileobj": ("Bucket", "Key"),
    "upload_file": ("Bucket", "Key"), "upload_fileobj": ("Bucket", "Key"),
}  # fmt: skip
_FRAME_SQL = {"read_sql", "read_sql_query", "read_database", "read_database_uri"}
_FRAME = (
    "read_csv",
    "read_parquet",
    "read_json",
    "read_table",
    "to_csv",
    "to_parquet",
    "to_json",
    "write_csv",
    "write_parquet",
    "scan_csv",
    "scan_parquet",
)
# Where S3Hook's methods have their key; the bucket comes next.
_KEY_AT = {
    "read_key": 0,
    "get_key": 0,
    "select_key": 0,
    "download_file": 0,
    "load_file": 1,
    "load_string": 1,
    "load_bytes": 1,
    "load_file_obj": 1,
}
_EXPORT = re.compile(
    r"\bunload\s*\(|aws_s3\.(?:query_export_to_s3|table_import_from_s3)\s*\(|\bcopy\s+(?:\(.{0,5000}?\)|[\w.\"]+(?:\s*\([^)]{0,2000}\))?)\s+(?:to|from)\s+(?:program|'|stdout|stdin)",
    re.I | re.S,
)
_SQL_OPERATORS = re.compile(r"(?:ExecuteQuery|Postgres|Redshift(?:Data|SQL)|Sql)Operator$")


def classified(seen: Seen, registry: Registry, wanted: Classification) -> Iterator[Told]:
    """SP101, SP102: a dataset whose strictest column is of this class."""
    for call, found in [*_moved(seen), *_rows_moved(seen)]:
        for each in found:
            classes = registry.named(each.name) if each.told else None
            highest = max((known.rank for known in classes.values()), default=-1) if classes else -1
            if classes and highest == wanted.rank:
                columns = sorted(name for name, known in classes.items() if known is wanted)
                yield (
                    call.place,
                    f"{call.name} moves {each.shown}, whose contract says {wanted}: {_listed(columns)}",
                )


def undescribed(seen: Seen, registry: Registry) -> Iterator[Told]:
    """SP103: a dataset that no contract describes, or that can't be told from the source; or no dataset at all."""
    for call, found in _moved(seen):
        for each in found:
            classes = registry.named(each.name) if each.told else {}
            if not classes:
                why = "which no contract describes" if classes is None else "whose contract gives it no class"
                why = why if each.told else "of which only a run tells what it is"
                yield call.place, f"{call.name} moves {each.shown}, {why}"
        if not found:
            yield call.place, f"{call.name} moves data of which its arguments don't tell what it is"


def is_transfer(call: Call) -> bool:
    """An operator that moves data, and is none of ours. Its name may be in a ``**`` of which only a run tells what it is."""
    is_task = "task_id" in call.arguments or not call.complete
    return is_task and not _is_ours(call.qualified) and is_known(call.qualified)


def is_known(qualified: str) -> bool:
    """Whether a class is known as an operator that moves data, ours too."""
    name = qualified.rpartition(".")[2]
    if name in STOCK_NAMES or ".transfers." in qualified or _is_ours(qualified):
        return True
    return not qualified.startswith("airflow.providers.") and bool(_NAMED_TRANSFER.match(name))


def _is_ours(qualified: str) -> bool:
    return qualified.rpartition(".")[2] in OPERATORS or qualified.startswith(OURS)


def _moved(seen: Seen) -> Iterator[tuple[Call, list[Dataset]]]:
    for call in seen.calls:
        if is_transfer(call):
            yield call, datasets_of(call, seen.folder)
        elif "task_id" in call.arguments:
            exported = [sql for sql in texts(call.value("sql")) if _EXPORT.search(sql)]
            if exported and _SQL_OPERATORS.search(call.name):
                yield call, [Dataset(name) for sql in exported for name in sorted(tables_of(sql))]
        elif "." in call.qualified:
            found = _of_method(call)
            if found:
                yield call, found


def _rows_moved(seen: Seen) -> Iterator[tuple[Call, list[Dataset]]]:
    for call in seen.calls:
        if "." not in call.qualified or "task_id" in call.arguments:
            continue
        if call.name in _ROW_METHODS:
            first = call.value("0", "sql", "table", "name", "table_name")
            schema = call.value("schema")
            if isinstance(first, str) and _COUNTS.match(first):
                continue
            if isinstance(first, str) and re.search(r"\s", first.strip()):
                yield call, [Dataset(name) for name in sorted(tables_of(first))]
            elif isinstance(first, str):
                yield call, [Dataset(f"{schema}.{first}" if isinstance(schema, str) else first)]
        elif call.name in _BOTO:
            bucket, key = (call.value(name) for name in _BOTO[call.name])
            if isinstance(bucket, str) and isinstance(key, str):
                yield call, [Dataset(f"s3://{bucket}/{key}")]


def _of_method(call: Call) -> list[Dataset]:
    """``hook.copy_expert(sql, …)``, ``hook.bulk_dump(table, …)``, ``pandas.read_csv("s3://…")``, ``hook.read_key(key, bucket)``."""
    if call.name in HOOK_METHODS:
        first = call.value("0", "sql", "table")
        if not isinstance(first, str):
            return [Dataset(HOLE)]
        if call.name.startswith("bulk_"):
            return [Dataset(first)]
        return [Dataset(name) for name in sorted(tables_of(first))] or [Dataset(HOLE)]
    found: list[Dataset] = []
    if call.name in _FRAME_SQL:
        found = [Dataset(name) for sql in texts(call.value("0", "sql")) for name in sorted(tables_of(sql))]
    elif call.name in _KEY_AT:
        at = _KEY_AT[call.name]
        key, bucket = call.value("key", str(at)), call.value("bucket_name", str(at + 1))
        if isinstance(key, str) and isinstance(bucket, str) and "/" in bucket and "/" not in key:
            key, bucket = bucket, key  # a client of boto3, which has them the other way round
        if isinstance(key, str):
            found = [Dataset(key if key.startswith("s3://") else f"s3://{bucket}/{key}")]
    elif call.name.startswith(_FRAME):
        given = call.value("0", "path", "path_or_buf", "filepath_or_buffer")
        found = [Dataset(uri) for uri in texts(given) if uri.startswith("s3://")]
    return [each for each in found if each.told]  # of any code's calls only those that name a dataset


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
