"""Which tables and objects the arguments of a call name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model import HOLE, Call
from .values import texts

# bucket and key, in the words of the stock operators
_OBJECTS = (
    ("s3_bucket", "s3_key"),
    ("bucket", "s3_key"),
    ("bucket_name", "key"),
    ("dest_s3_bucket", "dest_s3_key"),
    ("source_bucket_name", "source_bucket_key"),
    ("dest_bucket_name", "dest_bucket_key"),
    ("s3_bucket_name", "s3_key_prefix"),
    ("s3_bucket_name", "s3_key"),
    ("s3_bucket", "s3_object"),
    ("dest_bucket", "dest_key"),
    ("bucket", "key"),
    ("bucket", "prefix"),
)
_URIS = (
    "s3_source_key",
    "s3_destination_key",
    "source_s3_key",
    "dest_s3_key",
    "s3_url",
    "s3_uri",
    "uri",
    "dest_s3",
    "dest_aws_s3",
    "source_bucket_key",
    "dest_bucket_key",
    "s3_key",
    "s3_keys",
    "key",
    "filepath",
    "source",
    "target",
)
_TABLES = (
    "table",
    "table_name",
    "destination_table",
    "mysql_table",
    "hive_table",
    "source_table",
    "target_table",
    "preoperator_table",
)
_EITHER = "query_or_table"
_SQLS = ("sql", _EITHER, "query", "select_query", "hql")
# All arguments that are looked at.
NAMES = {name for pair in _OBJECTS for name in pair} | {
    *_URIS,
    *_TABLES,
    *_SQLS,
    "schema",
}
# A text may be long and odd: no pattern may take more than linear time, so none runs on without end.
_HOLE = re.compile(r"\{\{.{0,500}?\}\}|\{%.{0,500}?%\}|\x00", re.S)
_FROM = re.compile(r"\b(?:from|join|into|update|copy)[\s(]+([\w.\"]+)", re.I | re.S)
_COMMENTS = re.compile(r"--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z)", re.S)
# A FROM that names no table.
_NO_FROM = re.compile(r"\b(?:extract|substring|trim|overlay)\s*\([^()]{0,300}\)|\bdistinct\s+from\b", re.I)
_CALLED = re.compile(r"\b(?:from|join)\s+([\w.]+)\s*\(", re.I)  # a function in a table's place
_NO_TABLES = {"select", "stdin", "stdout", "lateral", "unnest", "program"}


@dataclass(frozen=True, slots=True)
class Dataset:
    """
    :ivar name: ``schema.table``, ``table`` or ``s3://bucket/key``; what a run only tells is :data:`HOLE` in it.
    :ivar shown: for messages.
    """

    name: str

    @property
    def shown(self) -> str:
        return self.name.replace(HOLE, "…")

    @property
    def told(self) -> bool:
        """Enough of it to look for: a whole table name, or a bucket and the beginning of a key."""
        if self.name.startswith("s3://"):
            return bool(re.match(r"s3://[^/\x00]+/[^\x00]", self.name))
        return HOLE not in self.name


def datasets_of(call: Call, folder: Path | None) -> list[Dataset]:
    """All that it names, each once."""
    found = {name: Dataset(name) for name in _names(call, folder) if name}
    return list(found.values())


def tables_of(sql: str) -> set[str]:
    """Of SQL, maybe with templates. What no parser understands is searched for names."""
    plain = re.sub(r"\{%.{0,500}?%\}", " ", sql, flags=re.S)
    plain = _HOLE.sub("xtemplatedx", _COMMENTS.sub(" ", plain))
    called = {each.lower() for each in _CALLED.findall(plain)}
    searched = _FROM.findall(_NO_FROM.sub(" ", plain))
    found = {each.replace('"', "").lower() for each in (*searched, *_parsed(plain))}
    return {each for each in found - called - _NO_TABLES if "xtemplatedx" not in each}


def _parsed(sql: str) -> set[str]:
    try:
        from openlineage_sql import parse
    except ImportError:  # where only the command line is installed
        return set()
    told = parse([each for each in sql.split(";") if each.strip()], dialect="postgres")
    if told is None:
        return set()
    return {
        ".".join(part for part in (each.database, each.schema, each.name) if part)
        for each in (*told.in_tables, *told.out_tables)
    }


def _names(call: Call, folder: Path | None) -> Iterator[str]:
    taken: set[str] = set()
    for bucket_name, key_name in _OBJECTS:
        bucket, key = call.value(bucket_name), call.value(key_name)
        if bucket is None or key is None or key_name in taken:
            continue
        taken.add(key_name)
        for each in _each(key):
            yield each if each.startswith("s3://") else f"s3://{_one(bucket)}/{each.lstrip('/')}"
    for name in _URIS:
        if name not in taken:
            yield from (_plain(each) for each in texts(call.value(name)) if each.startswith("s3://"))
    schema = call.value("schema") if "schema" in call.arguments else None
    for name in _TABLES:
        if name in call.arguments:
            for each in _each(call.value(name)):
                yield f"{_one(schema)}.{each}" if schema and "." not in each else each
    either = call.value(_EITHER)
    if isinstance(either, str) and not re.search(r"\s", either.strip()):
        yield _one(either)
    for name in _SQLS:
        for sql in texts(call.value(name)):
            yield from sorted(tables_of(_file(sql, folder)))


def _each(value: Any) -> list[str]:
    """A mapped task has a list; what is not told is one hole."""
    if isinstance(value, list):
        return [_one(each) for each in value]
    return [_one(value)]


def _one(value: Any) -> str:
    return _plain(value) if isinstance(value, str) else HOLE


def _plain(text: str) -> str:
    return _HOLE.sub(HOLE, text)


def _file(sql: str, folder: Path | None) -> str:
    """A template file beside the DAG stands for what is in it."""
    if folder is not None and sql.strip().endswith(".sql") and "\n" not in sql:
        path = folder / sql.strip()
        try:
            return path.read_text()
        except (OSError, ValueError):
            return sql
    return sql
