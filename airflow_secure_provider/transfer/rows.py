"""The rows of a source, protected, as its target holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from ..errors import FormatError
from ..protection.plan import ColumnStep
from .pipeline import Timings, ahead
from .quarantine import Quarantine
from .sources import OpenSource
from .targets import OpenTarget


class ProtectedRows:
    """
    :param where: the source, for messages.
    :param quarantine: takes the rows that do not fit; without it the first one ends the transfer.
    """

    def __init__(
        self,
        opened: OpenSource,
        steps: Sequence[ColumnStep],
        target: OpenTarget,
        where: str,
        timings: Timings,
        quarantine: Quarantine | None = None,
    ) -> None:
        self._opened = opened
        self._steps = steps
        self._target = target
        self._where = where
        self._timings = timings
        self._quarantine = quarantine

    def produce(self) -> Iterator[list[Any]]:
        """The columns of each batch. It ends only after the source has proved to be whole."""
        record = 1
        with ahead(self._parse, 1) as batches:
            for batch in batches:
                with self._timings.measure("protect"):
                    made = list(self._fitting(batch, record))
                record += batch.num_rows
                yield from made
        with self._timings.measure("authenticate the end"):
            self._opened.finish()

    def _fitting(self, batch: Any, record: int) -> Iterator[list[Any]]:
        """The batch, or the parts of it between rows that do not fit, which are found by halving."""
        rejected = ""
        try:
            made = [self._protect(step, batch, record) for step in self._steps]
        except FormatError as error:
            if self._quarantine is None:
                raise
            rejected = str(error)
        if not rejected:
            yield made
        elif batch.num_rows == 1 and self._quarantine is not None:
            self._quarantine.add(batch, record, rejected)
        else:
            half = batch.num_rows // 2
            yield from self._fitting(batch.slice(0, half), record)
            yield from self._fitting(batch.slice(half), record + half)

    def _parse(self) -> Iterator[Any]:
        batches = self._opened.batches()
        while True:
            with self._timings.measure("parse"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _protect(self, step: ColumnStep, batch: Any, first_record: int) -> Any:
        try:
            made = step.apply(batch, first_record=first_record, where=self._where)
            return self._target.fit(step, made, first_record=first_record, where=self._where)
        except pa.ArrowException:  # it may quote a value
            pass
        name = step.rule.name
        raise FormatError(
            f"{self._where}: column {name!r}, behind record {first_record - 1:,}: a value does not fit "
            f"{step.rule.protection} of a {step.rule.logical_type}; check the type in the contract and the source"
        )
