"""What every source looks like to a transfer: it is opened, judged, and then read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from ..model import AtRest, ColumnRule, ColumnStatus, DatasetRef, DatasetStatus, InTransit


class OpenSource(Protocol):
    """A source that has been looked at, and of which nothing has been read yet.

    Its columns are read (and with them the first bytes of its content) when first asked for.
    """

    @property
    def status(self) -> DatasetStatus: ...

    @property
    def version(self) -> str | None:
        """What identifies the content: an object's version. ``None`` where the source has none."""

    @property
    def selection(self) -> str | None:
        """What identifies the rows that are read, where these are not all."""

    @property
    def columns(self) -> list[str]: ...

    @property
    def column_types(self) -> Mapping[str, str]:
        """As the source's catalog writes them; empty where it has none, and everything is text."""

    @property
    def states(self) -> Mapping[str, ColumnStatus]:
        """How columns are known to be protected already."""

    @property
    def origins(self) -> Mapping[str, Sequence[tuple[DatasetRef, str]]]:
        """By column, the columns of other datasets that it comes from, where that is not the source's own."""

    @property
    def bytes_read(self) -> int: ...

    @property
    def timings(self) -> Mapping[str, float]:
        """Seconds in its own threads so far: ``read`` and ``decrypt``; and ``waited``, which parsing has waited for them."""

    def batches(self) -> Iterator[Any]:
        """Arrow record batches, unverified until :meth:`finish` has returned."""

    def finish(self) -> None:
        """Verify that everything was read, and nothing else. Raises if not."""

    def again(self) -> OpenSource:
        """The same content once more, of the same version or snapshot, to be read and closed before this one is read."""

    def close(self) -> None: ...


class Source(Protocol):
    @property
    def where(self) -> str:
        """The source in messages: the URI, or the table."""

    @property
    def transport_ahead(self) -> InTransit:
        """What is known of the transport before the first request is made."""

    def open(self, declared: Mapping[str, AtRest], rules: Sequence[ColumnRule] = ()) -> OpenSource:
        """
        :param declared: what people declared of stores at rest, by dataset namespace.
        :param rules: what the contract says of the columns, for formats that don't say enough themselves.
        """
