"""``require``: two passes over a source. The first counts classes and decides; the second writes what it has decided."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..contract.contract import quoted
from ..errors import ConfigurationError, ContractError, FormatError
from ..model import ColumnRule, Protection
from ..protection.anonymity import Classes, Entries, Hierarchy, Outcome, Requirement
from ..protection.hierarchies import Level, ladder
from ..reports import AnonymityReport

log = logging.getLogger(__name__)

MOST_ENTRIES = 20_000_000
_MERGED_AT = 4_000_000
_KNOWN = ("k", "quasi_identifiers", "l_diversity", "t_closeness", "sensitive", "max_suppressed")
# What is another for equal values tells of no class; who has such a column as a quasi-identifier has an identifier.
_NO_CLASS = {
    Protection.ENCRYPT: "is to be encrypted",
    Protection.DROP: "is dropped",
    Protection.NOISE: "gets noise, in which equal values are not equal",
}


@dataclass(frozen=True, slots=True)
class Required:
    """``require``, checked.

    :param ladders: by quasi-identifier, the steps by which it may become coarser.
    :param max_suppressed: rows, or below 1 a share of them.
    :param digest: of all that was asked for, hierarchy files too.
    """

    k: int
    ladders: Mapping[str, tuple[Level, ...]] = field(repr=False)
    l_diversity: int = 1
    t_closeness: float = 1.0
    sensitive: tuple[str, ...] = ()
    max_suppressed: float = 0
    digest: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any], read: Callable[[str], bytes]) -> Required:
        """
        :param read: gives a hierarchy file.
        :raises ConfigurationError: for what is missing, unknown or means nothing.
        """
        unknown = [name for name in given if name not in _KNOWN]
        if unknown:
            raise ConfigurationError(f"require has unknown {unknown[0]!r}; it takes {', '.join(_KNOWN)}")
        quasi = given.get("quasi_identifiers")
        if isinstance(quasi, str) or not isinstance(quasi, (Mapping, Sequence)) or not quasi:
            raise ConfigurationError(
                "require has no quasi_identifiers: a list of columns, or a mapping of columns to the steps that may be taken"
            )
        if isinstance(quasi, Mapping) and not all(isinstance(name, str) for name in quasi):
            raise ConfigurationError("require: quasi_identifiers is no mapping of columns to steps")
        steps = (
            dict(quasi)
            if isinstance(quasi, Mapping)
            else dict.fromkeys(_names(given, "quasi_identifiers"), ())
        )
        sensitive = _names(given, "sensitive")
        files: dict[str, str] = {}

        def noted(name: str) -> bytes:
            content = read(name)
            files[name] = hashlib.sha256(content).hexdigest()
            return content

        ladders = {name: ladder(name, each, noted) for name, each in steps.items()}
        found = cls(
            _number(given, "k", 2, 1_000_000_000, whole=True),
            ladders,
            _number(given, "l_diversity", 1, 1_000_000, 1, whole=True),
            _number(given, "t_closeness", 0, 1, 1.0),
            sensitive,
            _number(given, "max_suppressed", 0, 1e12, 0),
            hashlib.sha256(
                json.dumps(
                    [{**given, "quasi_identifiers": steps, "sensitive": sensitive}, files],
                    sort_keys=True,
                    default=str,
                ).encode()
            ).hexdigest(),
        )
        if (found.l_diversity > 1 or found.t_closeness < 1) != bool(found.sensitive):
            raise ConfigurationError(
                "require: sensitive goes with l_diversity or t_closeness, and they with it"
            )
        return found

    def check(self, rules: Sequence[ColumnRule]) -> None:
        """:raises ContractError: for a column that the target does not get, or that has no classes."""
        by_name = {rule.name: rule for rule in rules}
        for name in (*self.ladders, *self.sensitive):
            rule = by_name.get(name)
            if rule is None or rule.protection in _NO_CLASS:
                what = "is not in the contract" if rule is None else _NO_CLASS[rule.protection]
                raise ContractError(f"require names column {name!r}, which {what}: take it out")
        both = sorted(set(self.ladders) & set(self.sensitive))
        if both:
            raise ContractError(f"require: column {quoted(both)} is either a quasi-identifier or sensitive")

    def in_rows(self, total: int) -> Requirement:
        share = 0 < self.max_suppressed < 1
        # As it is written: 0.29 of 100 are 29, which they are not in binary.
        most = int(Decimal(str(self.max_suppressed)) * total) if share else int(self.max_suppressed)
        return Requirement(self.k, self.l_diversity, self.t_closeness, most)


def _names(given: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = given.get(key) or ()
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, Sequence) or not all(isinstance(each, str) for each in names):
        raise ConfigurationError(f"require: {key} is no list of columns")
    return tuple(dict.fromkeys(names))


def _number(
    given: Mapping[str, Any],
    name: str,
    least: float,
    most: float,
    default: Any = None,
    *,
    whole: bool = False,
) -> Any:
    value = given.get(name, default)
    kind = int if whole else (int, float)
    if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigurationError(
            f"require: {name} is {value!r}, expected {'a whole number' if whole else 'a number'} from {least} up"
        )
    return value


Held = tuple[Mapping[str, Any], Any]
"""Classes that a target holds: quasi-identifiers and sensitive columns, and the number of rows of each."""


class Decided:
    """What the first pass has decided, and what the second does by it."""

    def __init__(
        self,
        coders: Mapping[str, _Coder],
        hierarchies: Mapping[str, _Steps],
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
        coders, table, _ = _counted(required, iter(()), held)
        levels = [
            Hierarchy((np.arange(len(coders[name].values()), dtype=np.int64),)) for name in required.ladders
        ]
        need = Requirement(required.k, required.l_diversity, required.t_closeness)
        classes = Classes(_entries(required, coders, table), levels, need)
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
    coders, table, anything_held = _counted(required, columns, held)
    entries = _entries(required, coders, table)
    hierarchies = {
        name: _Steps(coders[name].values(), () if anything_held else steps)
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


def _counted(
    required: Required, columns: Iterator[Mapping[str, Any]], held: Iterator[Held]
) -> tuple[dict[str, _Coder], Any, bool]:
    """:return: the columns' codes, how often each combination of them occurs, and whether anything was held."""
    names = [*required.ladders, *required.sensitive]
    coders = {name: _Coder(name) for name in names}
    counter = _Counter(names)
    for batch in columns:
        counter.add([coders[name].learned(batch[name]) for name in names], None, held=False)
    anything_held = False
    for batch, numbers in held:
        anything_held = anything_held or len(numbers) > 0
        counter.add([coders[name].learned(batch[name]) for name in names], numbers, held=True)
    return coders, counter.table(), anything_held


def _refusal(
    required: Required,
    need: Requirement,
    classes: Classes,
    hierarchies: Mapping[str, _Steps],
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


def _report(required: Required, outcome: Outcome, steps: Mapping[str, _Steps], total: int) -> AnonymityReport:
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


class _Coder:
    """A number for each different value of a column; null has one too."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: Any = None

    def learned(self, column: Any) -> Any:
        """Codes of a column, whose new values are new codes."""
        column = _flat(column)
        if self._known is None:
            self._known = column.slice(0, 0)
        if column.type != self._known.type:
            column = column.cast(self._known.type)
        new = pc.unique(column)
        new = new.filter(pc.invert(pc.is_in(new, value_set=self._known)))
        if len(new):
            self._known = pa.concat_arrays([self._known, new])
        return self._of(column)

    def codes(self, column: Any) -> Any:
        """:raises FormatError: for a value that was not there in the first pass."""
        column = _flat(column)
        found = self._of(column.cast(self._known.type) if column.type != self._known.type else column)
        if (found < 0).any():
            raise FormatError(
                f"column {self._name!r}: the source has changed between the pass that counted and this one; run the task again"
            )
        return found

    def values(self) -> Any:
        return self._known if self._known is not None else pa.array([], pa.string())

    def _of(self, column: Any) -> Any:
        return (
            pc.index_in(column, value_set=self._known)
            .fill_null(-1)
            .to_numpy(zero_copy_only=False)
            .astype(np.int64)
        )


def _flat(column: Any) -> Any:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


class _Counter:
    """How often each combination of codes occurs. Its memory grows with the different ones, not with the rows."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [f"c{index}" for index in range(len(names))]
        self._parts: list[Any] = []
        self._pending = 0

    def add(self, codes: Sequence[Any], numbers: Any, *, held: bool) -> None:
        """:raises ContractError: for more combinations than there is room for."""
        ones = (
            np.ones(len(codes[0]), dtype=np.int64) if numbers is None else np.asarray(numbers, dtype=np.int64)
        )
        columns = {
            name: pa.array(code.astype(np.int32)) for name, code in zip(self._names, codes, strict=True)
        }
        columns["rows"] = pa.array(ones * (0 if held else 1))
        columns["held"] = pa.array(ones * (1 if held else 0))
        part = self._summed(pa.table(columns))
        self._parts.append(part)
        self._pending += len(part)
        if self._pending >= _MERGED_AT:
            merged = self.table()
            if len(merged) > MOST_ENTRIES:
                raise ContractError(
                    f"require: the quasi-identifiers and sensitive columns have more than {MOST_ENTRIES:,} different rows, so next to "
                    "none has a class: generalize them in the contract first"
                )
            self._pending = len(merged) // 2  # so that what is large is merged seldom

    def table(self) -> Any:
        if not self._parts:
            return pa.table(
                {
                    **{name: pa.array([], pa.int32()) for name in self._names},
                    "rows": pa.array([], pa.int64()),
                    "held": pa.array([], pa.int64()),
                }
            )
        self._parts = [self._summed(pa.concat_tables(self._parts))]
        return self._parts[0]

    def _summed(self, table: Any) -> Any:
        found = table.group_by(self._names).aggregate([("rows", "sum"), ("held", "sum")])
        return found.rename_columns([name.removesuffix("_sum") for name in found.column_names]).select(
            [*self._names, "rows", "held"]
        )


class _Steps:
    """A quasi-identifier's values at each of its levels."""

    def __init__(self, values: Any, levels: tuple[Level, ...]) -> None:
        self._values = [values, *(level(values) for level in levels)]
        codes = [np.arange(len(values), dtype=np.int64)]
        for each in self._values[1:]:
            encoded = pc.dictionary_encode(_flat(each), null_encoding="encode")
            codes.append(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64))
        self.hierarchy = Hierarchy(tuple(codes))

    def at(self, level: int, codes: Any) -> Any:
        return _flat(self._values[level]).take(pa.array(codes))


def _entries(required: Required, coders: Mapping[str, _Coder], table: Any) -> Entries:
    columns = [table[f"c{index}"].to_numpy().astype(np.int64) for index in range(len(coders))]
    number = len(required.ladders)
    quasi, sensitive = columns[:number], columns[number:]
    ordered = []
    for index, name in enumerate(required.sensitive):
        values = _flat(coders[name].values())
        is_number = (
            pa.types.is_integer(values.type)
            or pa.types.is_floating(values.type)
            or pa.types.is_decimal(values.type)
        )
        ordered.append(bool(is_number))
        if is_number and len(values):  # codes in the order of the values
            ranks = np.empty(len(values), dtype=np.int64)
            ranks[pc.array_sort_indices(values).to_numpy()] = np.arange(len(values))
            sensitive[index] = ranks[sensitive[index]]
    return Entries(
        _stacked(quasi, len(table)),
        _stacked(sensitive, len(table)),
        ordered,
        table["rows"].to_numpy(),
        table["held"].to_numpy(),
    )


def _stacked(columns: Sequence[Any], rows: int) -> Any:
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0), dtype=np.int64)
