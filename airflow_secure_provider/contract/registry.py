"""A folder of contracts: what is known of a dataset's columns by its OpenLineage name, whoever touches it.

Only names and classes are read. A contract is judged as a whole where an operator applies it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigurationError
from ..model import Classification
from .servers import namespace_of

log = logging.getLogger(__name__)

_ENDINGS = (".yaml", ".yml", ".json")
_VERSION = 1  # of the cache's form


@dataclass(frozen=True, slots=True)
class _Known:
    """
    :ivar name: ``schema.table``, or ``s3://bucket/key``; a folder ends with a slash.
    :ivar servers: namespaces, and for databases their names; none for any server.
    """

    name: str
    servers: Sequence[tuple[str, str | None]]
    columns: Mapping[str, str]

    def describes(self, namespace: str, name: str) -> bool:
        if self.name.startswith("s3://"):
            uri = f"{namespace}/{name.strip('/')}"
            return uri == self.name or (self.name.endswith("/") and uri.startswith(self.name))
        database, _, table = name.partition(".")
        if not namespace.startswith(("postgres://", "redshift://")) or table != self.name:
            return False
        return not self.servers or any(
            where == namespace and named in (None, database) for where, named in self.servers
        )


class Registry:
    """The classes that contracts give to columns. Of several that describe one column the strictest counts."""

    def __init__(self, known: Sequence[_Known] = ()) -> None:
        self._known = known

    @classmethod
    def read(cls, folder: Path, cache: Path | None = None) -> Registry:
        """
        :param folder: with contracts, also in folders below it. What is no contract is warned of, and left out.
        :param cache: a file to keep what was read, for the next process.
        :raises ConfigurationError: if there is no such folder.
        """
        if not folder.is_dir():
            raise ConfigurationError(
                f"[secure_provider] contracts: {str(folder)!r} is no folder that can be read"
            )
        files = sorted(each for each in folder.rglob("*") if each.suffix in _ENDINGS and each.is_file())
        state = _state(files)
        kept = _read_cache(cache, state)
        if kept is not None:
            return cls(kept)
        known = [each for file in files for each in _known_of(file)]
        if cache is not None:
            _write_cache(cache, state, known)
        return cls(known)

    def classes(self, namespace: str, name: str) -> dict[str, Classification]:
        """By column; empty for a dataset that no contract describes."""
        found: dict[str, Classification] = {}
        for each in self._known:
            if not each.describes(namespace, name):
                continue
            for column, word in each.columns.items():
                classification = Classification(word)
                if column not in found or found[column].rank < classification.rank:
                    found[column] = classification
        return found


def _known_of(file: Path) -> list[_Known]:
    try:
        body = yaml.load(file.read_bytes(), Loader=_LOADER)  # noqa: S506 (a safe loader)
        if not isinstance(body, Mapping) or body.get("kind") != "DataContract":
            return []
        servers = [
            (namespace, each.get("database"))
            for each in body.get("servers") or []
            if (namespace := namespace_of(each)) is not None and namespace.startswith("postgres://")
        ]
        return [_known(schema, servers) for schema in body.get("schema") or []]
    except (
        OSError,
        yaml.YAMLError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        log.warning(
            "contract %s can't be read (%s), so what it describes is unclassified", file, type(error).__name__
        )
        return []


def _known(schema: Mapping[str, Any], servers: Sequence[tuple[str, str | None]]) -> _Known:
    name = str(schema.get("physicalName") or schema["name"])
    if not name.startswith("s3://") and "." not in name:
        name = f"public.{name}"
    columns = {
        str(each["name"]): str(Classification(each["classification"]))
        for each in schema.get("properties") or []
        if "classification" in each
    }
    return _Known(name, servers, columns)


# --- the cache: parsing YAML would cost every task some milliseconds a contract ------------------------------


def _state(files: Sequence[Path]) -> str:
    told = [_VERSION, [[str(file), *_stamp(file)] for file in files]]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _read_cache(cache: Path | None, state: str) -> list[_Known] | None:
    try:
        kept = json.loads(cache.read_bytes()) if cache is not None else {}
        if kept.get("state") != state:
            return None
        return [
            _Known(each["name"], [(where, named) for where, named in each["servers"]], each["columns"])
            for each in kept["known"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it is made anew


def _write_cache(cache: Path, state: str, known: Sequence[_Known]) -> None:
    body = json.dumps({"state": state, "known": [asdict(each) for each in known]}).encode()
    try:
        number, name = tempfile.mkstemp(dir=cache.parent, prefix=f"{cache.name}-")
        try:
            with os.fdopen(number, "wb") as file:
                file.write(body)
            os.replace(name, cache)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as error:
        log.debug("%s could not be written: %s", cache, error.strerror)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
