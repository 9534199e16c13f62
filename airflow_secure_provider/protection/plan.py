"""What happens to each column of a transfer, decided before the first row and then applied batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa

from ..crypto.keyset import Keyset
from ..errors import ConfigurationError, ContractError, FormatError
from ..model import ColumnRule, ColumnStatus, Protection
from .conversion import LOGICAL, canonical_text, check_comparable, check_required, convert
from .formatted import FormatCipher
from .irreversible import generalize, nullify, redact
from .numbers import NoiseAdder, check_roundable, rounded
from .pseudonyms import DateShifter, Pseudonymizer
from .reversible import ColumnCipher, check_cells, to_text

_IN_WORDS = {
    "date": "a date (YYYY-MM-DD)",
    "timestamp": "a timestamp (YYYY-MM-DD hh:mm:ss)",
    "time": "a time (hh:mm:ss)",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


class Keyed(Protocol):
    """A protection of one column under a keyset."""

    version: int

    @property
    def keyset_id(self) -> str: ...

    def protect(self, column: Any, beside: Sequence[Any] = ()) -> Any: ...


class Revealer(Protocol):
    """The way back from a reversible protection."""

    def reveal(self, column: Any, beside: Sequence[Any] = ()) -> Any: ...


@dataclass(frozen=True, slots=True)
class ColumnStep:
    """One column's way through a transfer.

    :param source: how the column stands in the source, where that is recorded.
    :param passes: the column is protected already, just as its rule wants, and goes through unchanged.
    :param revealer: opens the source's cells first.
    :param beside: the rules of the columns whose values in the same row take part.
    :param source_beside: the same for the revealer.
    """

    rule: ColumnRule
    source: ColumnStatus | None = None
    passes: bool = False
    revealer: Revealer | None = field(default=None, repr=False)
    keyed: Keyed | None = field(default=None, repr=False)
    beside: tuple[ColumnRule, ...] = ()
    source_beside: tuple[ColumnRule, ...] = ()

    @property
    def reveals(self) -> bool:
        """Whether plain values come out of ciphertext."""
        return self.revealer is not None and self.rule.protection is Protection.NONE

    @property
    def key(self) -> tuple[str, int] | tuple[None, None]:
        """Keyset id and key version of what reaches the target."""
        if self.keyed:
            return self.keyed.keyset_id, self.keyed.version
        if self.passes and self.source and self.source.keyset_id and self.source.key_version:
            return self.source.keyset_id, self.source.key_version
        return None, None

    def apply(self, batch: Any, *, first_record: int, where: str) -> Any:
        """Check, convert and protect this column of a batch.

        :param batch: a record batch as the source gave it: text, or the cells that its store holds.
        :return: the protected column: binary cells, text, or typed values.
        """
        rule, place = self.rule, _Place(first_record, where)
        column = batch.column(rule.name)
        if rule.required:
            check_required(column, name=rule.name, first_record=first_record, where=where)
        if self.passes:
            self._check_passing(column, place)
            return column
        if rule.protection is Protection.NULLIFY:
            return nullify(column)
        if self.revealer is not None:
            column = self.revealer.reveal(column, [place.text(batch, each) for each in self.source_beside])
        if rule.protection is Protection.NONE:
            return column
        typed = place.typed(column, rule)
        if rule.protection in (Protection.ROUND, Protection.NOISE):
            check_roundable(typed, rule, first_record=first_record, where=where)
        if rule.protection is Protection.ROUND:
            return rounded(typed, rule)
        if rule.protection in (Protection.SHIFT_DATE, Protection.NOISE) and self.keyed is not None:
            return self.keyed.protect(typed, [place.text(batch, each) for each in self.beside])
        if self.keyed is not None:
            # A number is checked and then protected as it was written: 1.0 and 1.00 are two texts.
            text = canonical_text(column if rule.logical_type == "number" else typed)
            return self.keyed.protect(text, [place.text(batch, each) for each in self.beside])
        if rule.protection is Protection.REDACT:
            return redact(canonical_text(typed), rule)
        if "bins" in rule.parameters:
            check_comparable(typed, name=rule.name, first_record=first_record, where=where)
        return generalize(typed, rule)

    def _check_passing(self, column: Any, place: _Place) -> None:
        """What is said to be ciphertext looks like it: a record that is wrong, or forged, lets no plain value through."""
        if not self.rule.protection.in_cells:
            return
        problem = ""
        try:
            check_cells(column, self.rule, self.key[1])
        except FormatError as error:
            problem = str(error)
        if problem:
            raise FormatError(
                f"{place.where}: column {self.rule.name!r} is recorded as {self.rule.protection}, and behind record "
                f"{place.first_record - 1:,} {problem}: the record of its columns is wrong, or they were changed"
            )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a batch lies in the source, for messages."""

    first_record: int
    where: str

    def typed(self, column: Any, rule: ColumnRule) -> Any:
        if rule.logical_type == "string":
            return column
        return convert(
            column,
            LOGICAL[rule.logical_type],
            name=rule.name,
            what=_IN_WORDS[rule.logical_type],
            first_record=self.first_record,
            where=self.where,
        )

    def text(self, batch: Any, rule: ColumnRule) -> Any:
        """A column beside, as canonical text."""
        return canonical_text(self.typed(batch.column(rule.name), rule))


def plan(
    rules: Sequence[ColumnRule],
    keyset: Keyset | None,
    source_states: Mapping[str, ColumnStatus] | None = None,
    reveal_with: Keyset | None = None,
    versions: Mapping[tuple[Protection, str], int] | None = None,
) -> tuple[ColumnStep, ...]:
    """A step for every column that reaches the target; dropped columns have none.

    :param rules: in the source's order.
    :param source_states: how the source's columns are known to be protected already.
    :param reveal_with: the keyset that may open them.
    :param versions: the key version of deterministic protections, by protection and domain; where none is given, and for
        ``encrypt`` always, it is the newest.
    :raises ConfigurationError: if a keyset is needed and there is none.
    :raises ContractError: if a column's rule can't be met from what the source holds.
    """
    states = {
        name: state
        for name, state in (source_states or {}).items()
        if state.protection not in (Protection.NONE, Protection.NULLIFY)
    }
    by_name = {rule.name: rule for rule in rules}
    steps = []
    for rule in rules:
        if rule.protection is Protection.DROP:
            continue
        state = states.get(rule.name)
        if state is None:
            step = ColumnStep(rule, (source_states or {}).get(rule.name))
        else:
            step = _from_protected(rule, state, reveal_with, by_name, states)
        if not step.passes:
            version = (versions or {}).get((rule.protection, rule.domain or ""))
            step = replace(
                step, keyed=keyed(rule, keyset, version if rule.protection.deterministic else None)
            )
        if step.keyed is not None:
            step = replace(step, beside=_beside(rule.name, rule.beside, by_name, states))
        steps.append(step)
    return tuple(steps)


def fit(column: Any, *, text_target: bool) -> Any:
    """Cells as the target's column wants them: bytes as they are, or base64 for a text column."""
    binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    return to_text(column) if binary and text_target else column


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON would give them back, to compare and to store."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in parameters.items()}


def keyed(rule: ColumnRule, keyset: Keyset | None, version: int | None = None) -> Keyed | None:
    """What protects a column under a keyset; ``None`` for a protection without key.

    :raises ConfigurationError: if there is no keyset and the protection takes one.
    """
    if not rule.protection.keyed:
        return None
    if keyset is None:
        raise ConfigurationError(
            f"column {rule.name!r} has protection {rule.protection} and there is no keyset; set keyset="
        )
    if rule.protection is Protection.PSEUDONYMIZE:
        return Pseudonymizer(rule, keyset, version)
    if rule.protection is Protection.SHIFT_DATE:
        return DateShifter(rule, keyset, version)
    if rule.protection is Protection.NOISE:
        return NoiseAdder(rule, keyset, version)
    return reversible(rule, keyset, version)


def reversible(rule: ColumnRule, keyset: Keyset, version: int | None = None) -> ColumnCipher | FormatCipher:
    """What protects and reveals a column with a reversible protection."""
    if rule.protection is Protection.FPE:
        return FormatCipher(rule, keyset, version)
    return ColumnCipher(rule, keyset, version)


def _from_protected(
    rule: ColumnRule,
    state: ColumnStatus,
    reveal_with: Keyset | None,
    by_name: Mapping[str, ColumnRule],
    states: Mapping[str, ColumnStatus],
) -> ColumnStep:
    if rule.protection is Protection.NULLIFY:
        return ColumnStep(rule, state)
    if rule.protection is state.protection and (
        (state.domain, state.scope) == (rule.domain, rule.scope)
        and dict(state.parameters) == plain_parameters(rule.parameters)
    ):
        return ColumnStep(rule, state, passes=True)
    if not state.protection.reversible:
        raise ContractError(
            f"column {rule.name!r} of the source is {state.protection} already, which nothing undoes; "
            f"its rule wants {rule.protection}: give it the same rule as in the source, or drop it"
        )
    if reveal_with is None:
        raise ContractError(
            f"column {rule.name!r} of the source holds ciphertext ({state.protection}), and its rule wants "
            f"{rule.protection}: name the keyset that may reveal it in reveal_with=, or give it the source's domain"
        )
    was = ColumnRule(
        rule.name,
        rule.classification,
        state.protection,
        domain=state.domain,
        scope=state.scope,
        parameters=state.parameters,
    )
    return ColumnStep(
        rule,
        state,
        revealer=reversible(was, reveal_with, state.key_version),
        source_beside=_beside(rule.name, was.beside, by_name, states),
    )


def _beside(
    name: str,
    beside: Sequence[str],
    by_name: Mapping[str, ColumnRule],
    states: Mapping[str, ColumnStatus],
) -> tuple[ColumnRule, ...]:
    for other in beside:
        if other not in by_name:
            raise ContractError(f"column {name!r} needs column {other!r} beside it, which the source lacks")
        if other in states:
            raise ContractError(
                f"column {name!r} needs the values of column {other!r} beside it, which is protected in the source "
                f"({states[other].protection}); bind to a column that is not"
            )
    return tuple(by_name[other] for other in beside)
