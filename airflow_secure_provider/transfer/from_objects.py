"""Rows out of several S3 objects, as one source: all of them in one transaction, or none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigurationError, ContractError, FormatError
from ..model import AtRest, ColumnRule, ColumnStatus, DatasetRef, DatasetStatus, InTransit
from ..stores import s3
from ..stores.object_manifest import parse
from ..stores.s3 import S3Object
from ..stores.tls import weaker
from .from_object import OpenObject, S3Source
from .sources import OpenSource

_MANIFEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class S3Objects:
    """The objects under a prefix, or of a list, in the order of their keys or of the list.

    They have the same columns, and are encrypted and protected alike.

    :param each: how one is read; its ``uri`` is the prefix, ``s3://bucket/folder/``, where there is no list.
    :param uris: the list.
    :param manifest: ``each.uri`` is a manifest that lists them. Each of them must be there, and have the stated size.
    """

    each: S3Source
    uris: Sequence[str] | None = None
    manifest: bool = False

    @property
    def where(self) -> str:
        if self.uris is None:
            return self.each.uri
        return f"{self.uris[0]} and {len(self.uris) - 1} more" if len(self.uris) > 1 else "".join(self.uris)

    @property
    def transport_ahead(self) -> InTransit:
        return self.each.transport_ahead

    def open(self, declared: Mapping[str, AtRest], rules: Sequence[ColumnRule] = ()) -> OpenSource:
        listed = self._listed()
        if not listed:
            raise ConfigurationError(
                f"{self.where}: there is no object; check the prefix, and the date in it"
            )
        sources = [replace(self.each, uri=uri) for uri, _ in listed]
        if len({source.uri for source in sources}) != len(sources):
            raise ConfigurationError(f"{self.where}: an object stands twice in the list")
        found = [(source, source.describe(declared)) for source in sources]
        for (_, described), (uri, size) in zip(found, listed, strict=True):
            if size is not None and size != described.size:
                raise FormatError(
                    f"{uri} has {described.size:,} bytes, and its manifest {self.where} states {size:,}: it was "
                    "overwritten since"
                )
        return _OpenObjects(self.where, found, rules, found[0][0].open_described(found[0][1], rules))

    def _listed(self) -> list[tuple[str, int | None]]:
        if self.manifest:
            return parse(s3.read_small(self.each.client, self.each.uri, _MANIFEST_BYTES), self.each.uri)
        if self.uris is None:
            return [(uri, None) for uri in s3.list_objects(self.each.client, self.each.uri)]
        return [(uri, None) for uri in self.uris]


@dataclass
class _OpenObjects:
    where: str
    found: list[tuple[S3Source, S3Object]]
    rules: Sequence[ColumnRule]
    opened: OpenObject
    selection: str | None = None
    origins: Mapping[str, Any] = field(default_factory=dict)
    _before: int = 0
    _seconds: Mapping[str, float] = field(default_factory=dict)
    _done: int = 0

    def __post_init__(self) -> None:
        self._first = self.opened

    @property
    def version(self) -> str:
        pinned = [[described.location.uri, described.version] for _, described in self.found]
        return "objects:" + hashlib.sha256(json.dumps(pinned).encode()).hexdigest()

    @property
    def status(self) -> DatasetStatus:
        bucket = self.found[0][1].location.bucket
        if self.where.endswith("/"):
            name = self.where.removeprefix(f"s3://{bucket}/")
            ref = DatasetRef(f"s3://{bucket}", name, self.where, self.version)
        else:
            ref = replace(self._first.status.dataset, uri=self.where, version=self.version)
        return replace(self._first.status, dataset=ref)

    @property
    def datasets(self) -> list[DatasetRef]:
        """Each of them, since contracts may tell them apart."""
        return [described.dataset for _, described in self.found]

    @property
    def columns(self) -> list[str]:
        return self._first.columns

    @property
    def column_types(self) -> Mapping[str, str]:
        return self._first.column_types

    @property
    def states(self) -> Mapping[str, ColumnStatus]:
        return self._first.states

    @property
    def bytes_read(self) -> int:
        return self._before + self.opened.bytes_read

    @property
    def timings(self) -> Mapping[str, float]:
        names = {*self._seconds, *self.opened.timings}
        return {name: self._seconds.get(name, 0.0) + self.opened.timings.get(name, 0.0) for name in names}

    def batches(self) -> Iterator[Any]:
        """Each object has proved to be whole before the next one is opened."""
        for number, (source, described) in enumerate(self.found):
            if number:
                self._before += self.opened.bytes_read
                self._seconds = self.timings
                self.opened.close()
                self.opened = source.open_described(described, self.rules)
                self._hold_to_first(self.opened, described.location.uri)
            yield from self.opened.batches()
            self.opened.finish()
            self._done += 1

    def finish(self) -> None:
        if self._done != len(self.found):
            raise FormatError(f"{self.where}: {self._done} of {len(self.found)} objects were read")

    def again(self) -> _OpenObjects:
        first, described = self.found[0]
        return _OpenObjects(self.where, self.found, self.rules, first.open_described(described, self.rules))

    def close(self) -> None:
        self.opened.close()

    def _hold_to_first(self, opened: OpenObject, uri: str) -> None:
        """What was checked of the first object holds for this one too."""
        first, this = self._first.status, opened.status
        if opened.columns != self._first.columns:
            raise FormatError(
                f"{uri}: its columns are not those of {self._first.body.where}; load objects of different columns apart"
            )
        if dict(opened.states) != dict(self._first.states):
            raise ContractError(
                f"{uri}: its columns are not protected as those of {self._first.body.where}; load them apart"
            )
        alike = (this.at_rest.scheme, this.at_rest.evidence) == (first.at_rest.scheme, first.at_rest.evidence)
        if not alike or weaker(first.in_transit, this.in_transit) != first.in_transit:
            raise ContractError(
                f"{uri}: it is {this.at_rest.scheme} ({this.at_rest.evidence}), and {self._first.body.where} is "
                f"{first.at_rest.scheme} ({first.at_rest.evidence}), or came over another kind of connection; load them apart"
            )
