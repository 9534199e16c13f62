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
_VERSION = 2  # of the cache's form


@dataclass(frozen=True, slots=True)
class _Known:
    """
    :ivar name: ``schema.table``, or ``s3://bucket/key``; a folder ends with a slash.
    :ivar servers: namespaces, and for databases their names; ``None`` for any server, and none for servers that are not known here.
    """

    name: str
    servers: Sequence[tuple[str, str | None]] | None
    columns: Mapping[str, str]

    def describes(self, namespace: str, name: str) -> bool:
        if self.name.startswith("s3://"):
            uri = f"{namespace}/{name.strip('/')}"
            return uri == self.name or (self.name.endswith("/") and f"{uri}/".startswith(self.name))
        database, _, table = name.partition(".")
        if not namespace.startswith(("postgres://", "redshift://")) or self.name not in (table, name):
            return False
        return self.servers is None or any(
            where == namespace and named in (None, database) for where, named in self.servers
        )

    def may_be(self, name: str) -> bool:
        """Whether it is the dataset of this name on some server, as far as the name goes."""
        if name.startswith("s3://") or self.name.startswith("s3://"):
            return _overlap(self.name, name)
        ours, theirs = (each.lower().replace('"', "").split(".") for each in (self.name, name))
        return ours[-len(theirs) :] == theirs[-len(ours) :]


class Registry:
    """The classes that contracts give to columns. Of several that describe one column the strictest counts."""

    def __init__(self, known: Sequence[_Known] = (), broken: Sequence[str] = ()) -> None:
        self._known = known
        self.broken = tuple(broken)  # files that can't be read: what they describe is not known

    @classmethod
    def read(cls, folder: Path, cache: Path | None = None) -> Registry:
        """
        :param folder: with contracts, also in folders below it; ``~`` is the home of who runs it. What is no contract is warned of, and left out.
        :param cache: a file to keep what was read, for the next process.
        :raises ConfigurationError: if there is no such folder.
        """
        try:
            folder = folder.expanduser()
            if not folder.is_dir():
                raise ConfigurationError(
                    f"[secure_provider] contracts: {str(folder)!r} is no folder that can be read"
                )
            files = sorted(each for each in folder.rglob("*") if each.suffix in _ENDINGS and each.is_file())
        except OSError as error:
            raise ConfigurationError(
                f"[secure_provider] contracts: {str(folder)!r} can't be read: {error.strerror}"
            ) from None
        except RuntimeError:  # what pathlib raises for ~ of a user who is not there
            raise ConfigurationError(
                f"[secure_provider] contracts: {str(folder)!r} names a home that is not there"
            ) from None
        state = _state(files)
        kept = _read_cache(cache, state)
        if kept is None:
            kept = [], []
            for file in files:
                found = _known_of(file)
                if found is None:
                    kept[1].append(str(file))
                else:
                    kept[0].extend(found)
            if cache is not None:
                _write_cache(cache, state, *kept)
        for each in kept[1]:
            log.warning(
                "contract %s can't be read, so what it describes is not known; mend or remove it", each
            )
        return cls(*kept)

    def whole(self) -> Registry:
        """
        :raises ConfigurationError: if a contract can't be read: then nobody knows what its classes are.
        """
        if self.broken:
            raise ConfigurationError(
                f"[secure_provider] contracts: {self.broken[0]!r} can't be read, so nobody knows what its classes are: mend it, "
                "or remove it"
            )
        return self

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

    def named(self, name: str) -> dict[str, Classification] | None:
        """What is known of a dataset of which only the name is: its server is not looked at, so all that may be it count.

        :param name: ``table`` (of any schema), ``schema.table``, ``database.schema.table``; or ``s3://bucket/key``, a folder if
            it ends with a slash, and with ``\\0`` for each part that is not known yet.
        :return: the strictest class of each column; ``None`` if no contract describes anything that may be it.
        """
        found: dict[str, Classification] | None = None
        for each in self._known:
            if each.may_be(name):
                found = {} if found is None else found
                for column, word in each.columns.items():
                    classification = Classification(word)
                    if column not in found or found[column].rank < classification.rank:
                        found[column] = classification
        return found


def _overlap(known: str, asked: str) -> bool:
    """Of two URIs, either of which may be a folder; of an unfinished one as far as it is known."""
    if not (known.startswith("s3://") and asked.startswith("s3://")):
        return False
    head, unfinished, _ = asked.partition("\0")
    if unfinished or head.endswith("/"):
        return known.startswith(head) or (known.endswith("/") and head.startswith(known))
    return known == head or (known.endswith("/") and head.startswith(known))


def _known_of(file: Path) -> list[_Known] | None:
    """``None`` for a contract that can't be read, or that has a class that is none."""
    try:
        body = yaml.load(file.read_bytes(), Loader=_LOADER)  # noqa: S506 (a safe loader)
        if not isinstance(body, Mapping) or body.get("kind") != "DataContract":
            return []
        return [_known(schema, body.get("servers")) for schema in body.get("schema") or []]
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _known(schema: Mapping[str, Any], servers: Sequence[Mapping[str, Any]] | None) -> _Known:
    name = str(schema.get("physicalName") or schema["name"])
    of_postgres = [
        (namespace, each)
        for each in servers or ()
        if (namespace := namespace_of(each) or "").startswith("postgres://")
    ]
    if not name.startswith("s3://") and "." not in name:
        schemas = {str(each["schema"]) for _, each in of_postgres if each.get("schema")}
        name = f"{schemas.pop() if len(schemas) == 1 else 'public'}.{name}"
    columns = {
        str(each["name"]): str(Classification(each["classification"]))
        for each in schema.get("properties") or []
        if "classification" in each
    }
    places = [(namespace, each.get("database")) for namespace, each in of_postgres]
    return _Known(name, places if servers else None, columns)


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


def _read_cache(cache: Path | None, state: str) -> tuple[list[_Known], list[str]] | None:
    try:
        kept = json.loads(cache.read_bytes()) if cache is not None else {}
        if kept.get("state") != state:
            return None
        known = [
            _Known(
                each["name"],
                None if each["servers"] is None else [(where, named) for where, named in each["servers"]],
                each["columns"],
            )
            for each in kept["known"]
        ]
        return known, [str(each) for each in kept["broken"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it is made anew


def _write_cache(cache: Path, state: str, known: Sequence[_Known], broken: Sequence[str]) -> None:
    told = {"state": state, "known": [asdict(each) for each in known], "broken": list(broken)}
    body = json.dumps(told).encode()
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
