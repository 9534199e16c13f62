"""The rows of a source, protected, as its target holds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ContractError, FormatError
from ..protection.plan import ColumnStep
from .anonymity import Decided
from .pipeline import Timings, ahead
from .quarantine import Quarantine
from .sources import OpenSource
from .targets import OpenTarget


class ProtectedRows:
    """
    :param where: the source, for messages.
    :param quarantine: takes the rows that do not fit; without it the first one ends the transfer.
    :param decided: what the anonymity gate has decided of these very rows.
    :param look: is shown each batch before it is protected, and may refuse it.
    """

    def __init__(
        self,
        opened: OpenSource,
        steps: Sequence[ColumnStep],
        target: OpenTarget,
        where: str,
        timings: Timings,
        quarantine: Quarantine | None = None,
        decided: Decided | None = None,
        look: Callable[[Any], None] = lambda batch: None,
    ) -> None:
        self._opened = opened
        self._steps = steps
        self._target = target
        self._where = where
        self._timings = timings
        self._quarantine = quarantine
        self._decided = decided
        self._look = look

    def produce(self) -> Iterator[list[Any]]:
        """The columns of each batch. It ends only after the source has proved to be whole."""
        record = 1
        with ahead(self._parse, 1) as batches:
            for batch in batches:
                with self._timings.measure("look"):
                    self._look(batch)
                with self._timings.measure("protect"):
                    made = list(self._fitting(batch, record))
                record += batch.num_rows
                yield from made
        with self._timings.measure("authenticate the end"):
            self._opened.finish()

    def counted(self, names: Collection[str]) -> Iterator[Mapping[str, Any]]:
        """Only these columns, as the target would hold them, to the end of the source."""
        steps = [step for step in self._steps if step.rule.name in names]
        record = 1
        for batch in self._opened.batches():
            yield {
                step.rule.name: self._fit(step, self._apply(step, batch, record), record) for step in steps
            }
            record += batch.num_rows
        self._opened.finish()

    def _fitting(self, batch: Any, record: int) -> Iterator[list[Any]]:
        """The batch, or the parts of it between rows that do not fit, which are found by halving."""
        rejected = ""
        try:
            made = [self._fit(step, self._apply(step, batch, record), record) for step in self._steps]
        except FormatError as error:
            if self._quarantine is None:
                raise
            rejected = str(error)
        if not rejected:
            yield self._decided_on(made, record)
        elif batch.num_rows == 1 and self._quarantine is not None:
            self._quarantine.add(batch, record, rejected)
        else:
            half = batch.num_rows // 2
            yield from self._fitting(batch.slice(0, half), record)
            yield from self._fitting(batch.slice(half), record + half)

    def _decided_on(self, made: list[Any], record: int) -> list[Any]:
        """As coarse as the anonymity gate has decided, and without the rows that it leaves out."""
        if self._decided is None:
            return made
        names = [step.rule.name for step in self._steps]
        coarser, keep = self._decided.apply(names, made)
        made = [
            column if column is before else self._fit_coarser(step, column, record)
            for step, before, column in zip(self._steps, made, coarser, strict=True)
        ]
        return made if keep is None else [pc.filter(column, keep) for column in made]

    def _fit_coarser(self, step: ColumnStep, column: Any, first_record: int) -> Any:
        """:raises ContractError: if the target can't hold what a step has made; the source is not to blame."""
        try:
            return self._fit(step, column, first_record)
        except FormatError:
            pass  # its words blame the source
        name, level = step.rule.name, self._decided.report.levels[step.rule.name] if self._decided else 0
        raise ContractError(
            f"require: column {name!r} of {self._target.name} can't hold what step {level} makes of it, which is "
            f"{'text' if pa.types.is_large_string(column.type) or pa.types.is_string(column.type) else column.type}: make the "
            "column one that can (text always does), or take other steps"
        )

    def _parse(self) -> Iterator[Any]:
        batches = self._opened.batches()
        while True:
            with self._timings.measure("parse"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def _apply(self, step: ColumnStep, batch: Any, first_record: int) -> Any:
        return self._held_to(
            step, first_record, lambda: step.apply(batch, first_record=first_record, where=self._where)
        )

    def _fit(self, step: ColumnStep, column: Any, first_record: int) -> Any:
        return self._held_to(
            step,
            first_record,
            lambda: self._target.fit(step, column, first_record=first_record, where=self._where),
        )

    def _held_to(self, step: ColumnStep, first_record: int, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except pa.ArrowException:  # it may quote a value
            pass
        name = step.rule.name
        raise FormatError(
            f"{self._where}: column {name!r}, behind record {first_record - 1:,}: a value does not fit "
            f"{step.rule.protection} of a {step.rule.logical_type}; check the type in the contract and the source"
        )
