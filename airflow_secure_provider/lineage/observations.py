"""What this task has seen of the stores that it used, whatever operator it runs: for the encryption facet of its datasets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ..model import AtRest, DatasetRef, DatasetStatus, InTransit
from ..stores.s3 import SHOWN, with_declared
from ..stores.tls import weaker
from .facets import encryption

_MOST_OBJECTS = 10_000

# Where each dataset comes over connections of its own; a database's tables come over its one. And the schemes that such a store
# tells of a dataset that is encrypted so.
_SHOWN = {
    "s3": SHOWN,
    "gs": frozenset({"SSE-KMS", "SSE-C"}),
    "wasbs": frozenset({"SSE-C", "SSE"}),
    "kafka": frozenset[str](),
}


class Observations:
    """
    Facts by OpenLineage name. Forked children inherit what their parent had seen.

    Of several connections to one dataset the one counts that proves least; of several answers about its encryption the last.

    :ivar declared: gives what people declared of stores, by dataset namespace.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_rest: dict[tuple[str, str], AtRest] = {}
        self._in_transit: dict[tuple[str, str], InTransit] = {}
        self._written: dict[tuple[str, str], None] = {}
        self.declared: Callable[[], Mapping[str, AtRest]] = dict

    def clear(self) -> None:
        with self._lock:
            self._at_rest.clear()
            self._in_transit.clear()
            self._written.clear()

    def stored(self, namespace: str, name: str, at_rest: AtRest) -> None:
        """How a dataset rests, as its store said."""
        with self._lock:
            if len(self._at_rest) < _MOST_OBJECTS:
                self._at_rest[namespace, _plain(name)] = at_rest

    def wrote(self, namespace: str, name: str) -> None:
        """This task has made it."""
        with self._lock:
            if len(self._written) < _MOST_OBJECTS:
                self._written[namespace, _plain(name)] = None

    def written(self, namespace: str) -> list[str]:
        """Names of what this task has made there, in their order."""
        with self._lock:
            return [name for where, name in self._written if where == namespace]

    def travelled(self, namespace: str, name: str, in_transit: InTransit) -> None:
        """How a connection was protected. Of a database it counts for all of the namespace's datasets, of others for the one alone."""
        with self._lock:
            everywhere = set() if _scheme(namespace) in _SHOWN else {(namespace, "")}
            for key in {(namespace, _plain(name))} | everywhere:
                before = self._in_transit.get(key)
                if len(self._in_transit) < _MOST_OBJECTS or before is not None:
                    self._in_transit[key] = in_transit if before is None else weaker(before, in_transit)

    def facet(self, namespace: str, name: str) -> dict[str, Any]:
        """The encryption facet of a dataset, as JSON; what nobody saw or declared is unknown."""
        shown = _SHOWN.get(_scheme(namespace))
        with self._lock:
            told = self._at_rest.get((namespace, _plain(name)))
            known = self._in_transit
            in_transit = known.get((namespace, _plain(name)))
            if in_transit is None and shown is None:
                in_transit = known.get((namespace, ""))
            in_transit = in_transit or InTransit()
        declared = self.declared().get(namespace)
        at_rest = told or AtRest()
        if told is not None and shown is not None:
            at_rest = with_declared(told, declared, f"{namespace}/{name}", shown)
        elif declared is not None and not at_rest.encrypted:
            at_rest = declared
        dataset = DatasetRef(namespace, name, "")
        return encryption(DatasetStatus(dataset, at_rest, in_transit))


def _scheme(namespace: str) -> str:
    return namespace.partition("://")[0]


def _plain(name: str) -> str:
    return name.strip("/")


OBSERVED = Observations()
