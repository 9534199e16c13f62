"""``require``: two passes over a source. The first counts classes and decides; the second writes what it has decided."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..contract.contract import quoted
from ..errors import ContractError
from ..protection.anonymity import Classes, Entries, Hierarchy, Outcome, Requirement
from ..reports import AnonymityReport
from .class_counting import Coder, Held, Steps, counted, entries_of
from .required import Required

log = logging.getLogger(__name__)


class Decided:
    """What the first pass has decided, and what the second does by it."""

    def __init__(
        self,
        coders: Mapping[str, Coder],
        hierarchies: Mapping[str, Steps],
        outcome: Outcome,
        entries: Entries,
        left_out: Any,
        report: AnonymityReport,
        required: Required,
    ) -> None:
        self.report = report
        self._required = required
        self._coders = coders
        self._steps = hierarchies
        self._levels = dict(zip(hierarchies, outcome.levels, strict=True))
        self._out = self._keys(entries.quasi[left_out & (entries.rows > 0)])

    def apply(self, names: Sequence[str], columns: list[Any]) -> tuple[list[Any], Any]:
        """
        :param columns: protected as the contract says.
        :return: with the quasi-identifiers as coarse as was decided; and which rows stay, ``None`` for all.
        """
        at = {name: index for index, name in enumerate(names)}
        codes = {name: self._coders[name].codes(columns[at[name]]) for name in self._steps}
        if self._out is None:
            keep = None
        else:
            here = pa.table(dict(zip(self._out.column_names, map(pa.array, codes.values()), strict=True)))
            joined = here.append_column("row", pa.array(np.arange(len(here)))).join(
                self._out, self._out.column_names, join_type="left anti"
            )
            mask = np.zeros(len(here), dtype=np.bool_)
            mask[joined["row"].to_numpy()] = True
            keep = pa.array(mask)
        made = list(columns)
        for name, level in self._levels.items():
            if level:
                made[at[name]] = self._steps[name].at(level, codes[name])
        return made, keep

    def missed_by(self, held: Iterator[Held]) -> str:
        """What the target holds now, counted anew.

        :return: in words what is not as required; "" if all is.
        """
        required = self._required
        coders, table, _ = counted(required, iter(()), held)
        levels = [
            Hierarchy((np.arange(len(coders[name].values()), dtype=np.int64),)) for name in required.ladders
        ]
        need = Requirement(required.k, required.l_diversity, required.t_closeness)
        classes = Classes(entries_of(required, coders, table), levels, need)
        found = classes.at(tuple(0 for _ in levels))
        return (
            "" if classes.allowed(found) else f"k={found.k}, l={found.l_diversity}, t={found.t_closeness:.3f}"
        )

    def _keys(self, left_out: Any) -> Any:
        if not len(left_out):
            return None
        keys = np.unique(left_out, axis=0)
        return pa.table({f"c{index}": pa.array(keys[:, index]) for index in range(len(self._steps))})


def decide(
    required: Required,
    columns: Iterator[Mapping[str, Any]],
    held: Iterator[Held],
    where: str,
) -> Decided:
    """The first pass.

    :param columns: of each batch the quasi-identifiers and sensitive columns, protected as the contract says.
    :param held: the classes that the target keeps: such columns, and the number of rows of each.
    :raises ContractError: with what was reached, if no choice that is allowed meets what is required.
    """
    coders, table, anything_held = counted(required, columns, held)
    entries = entries_of(required, coders, table)
    hierarchies = {
        name: Steps(coders[name].values(), () if anything_held else steps)
        for name, steps in required.ladders.items()
    }
    need = required.in_rows(int(entries.rows.sum()))
    classes = Classes(entries, [each.hierarchy for each in hierarchies.values()], need)
    outcome = classes.best()
    if outcome is None:
        raise ContractError(_refusal(required, need, classes, hierarchies, where, anything_held))
    report = _report(required, outcome, hierarchies, classes.total)
    log.info("anonymity: %s", report.in_words())
    return Decided(coders, hierarchies, outcome, entries, classes.left_out(outcome.levels), report, required)


def _refusal(
    required: Required,
    need: Requirement,
    classes: Classes,
    hierarchies: Mapping[str, Steps],
    where: str,
    held: bool,
) -> str:
    bottom = classes.at(tuple(0 for _ in hierarchies))
    top = classes.at(tuple(len(each.hierarchy.levels) - 1 for each in hierarchies.values()))
    nearest = min((bottom, top), key=lambda each: each.suppressed)
    wanted = [f"k={need.k}"]
    wanted += [f"l={need.l_diversity}"] if need.l_diversity > 1 else []
    wanted += [f"t={need.t_closeness:g}"] if need.t_closeness < 1 else []
    if nearest.suppressed <= need.max_suppressed and not nearest.classes:
        cause = f"all {classes.total:,} rows would have to be left out, and nothing be loaded: give the quasi-identifiers more steps"
    elif nearest.suppressed <= need.max_suppressed:
        cause = "the target holds rows already that do not meet it, and stay: load with mode='replace'"
    else:
        cause = (
            f"{nearest.suppressed:,} of {classes.total:,} rows would have to be left out, and max_suppressed allows "
            f"{need.max_suppressed:,}: raise it, give the quasi-identifiers more steps, or drop one of them"
        )
        if held and any(required.ladders.values()):
            cause += (
                " (nothing is made coarser here, since the target holds rows already: mode='replace' may)"
            )
    return f"{where}: {', '.join(wanted)} over {quoted(list(required.ladders))} is not reached: {cause}"


def _report(required: Required, outcome: Outcome, steps: Mapping[str, Steps], total: int) -> AnonymityReport:
    return AnonymityReport(
        tuple(required.ladders),
        required.sensitive,
        outcome.k,
        outcome.l_diversity if required.sensitive else None,
        outcome.t_closeness if required.sensitive else None,
        outcome.classes,
        total - outcome.suppressed,
        outcome.suppressed,
        round(outcome.loss, 6),
        dict(zip(steps, outcome.levels, strict=True)),
        {"k": required.k}
        | ({"l": required.l_diversity} if required.l_diversity > 1 else {})
        | ({"t": required.t_closeness} if required.t_closeness < 1 else {}),
    )
