"""What happens to each column of a transfer, decided before the first row and then applied batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ..crypto.keyset import Keyset
from ..errors import ConfigurationError, ContractError
from ..model import ColumnRule, ColumnStatus, Protection
from .conversion import LOGICAL, canonical_text, check_comparable, check_required, convert
from .irreversible import generalize, nullify, redact
from .reversible import ColumnCipher, to_text

_IN_WORDS = {
    "date": "a date (YYYY-MM-DD)",
    "timestamp": "a timestamp (YYYY-MM-DD hh:mm:ss)",
    "time": "a time (hh:mm:ss)",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


@dataclass(frozen=True, slots=True)
class ColumnStep:
    """One column's way through a transfer.

    :param source: how the column stands in the source, where that is recorded.
    :param passes: the column is protected already, just as its rule wants, and goes through unchanged.
    :param revealer: opens the source's cells first.
    """

    rule: ColumnRule
    source: ColumnStatus | None = None
    passes: bool = False
    revealer: ColumnCipher | None = field(default=None, repr=False)
    cipher: ColumnCipher | None = field(default=None, repr=False)

    @property
    def key(self) -> tuple[str, int] | tuple[None, None]:
        """Keyset id and key version of the cells that reach the target."""
        if self.cipher:
            return self.cipher.keyset_id, self.cipher.version
        if self.passes and self.source and self.source.keyset_id and self.source.key_version:
            return self.source.keyset_id, self.source.key_version
        return None, None

    def apply(self, column: Any, *, first_record: int, where: str) -> Any:
        """Check, convert and protect one batch of the column.

        :param column: as the source gave it: text, or the cells that its store holds.
        :return: the protected column: binary cells, text, or typed values.
        """
        rule = self.rule
        if rule.required:
            check_required(column, name=rule.name, first_record=first_record, where=where)
        if self.passes or rule.protection is Protection.NONE:
            return self.revealer.reveal(column) if self.revealer else column
        if rule.protection is Protection.NULLIFY:
            return nullify(column)
        if self.revealer is not None:
            column = self.revealer.reveal(column)
        typed = column
        if rule.logical_type != "string":
            what = _IN_WORDS[rule.logical_type]
            typed = convert(
                column,
                LOGICAL[rule.logical_type],
                name=rule.name,
                what=what,
                first_record=first_record,
                where=where,
            )
        if self.cipher is not None:
            # A number is checked and then protected as it was written: 1.0 and 1.00 are two texts.
            return self.cipher.protect(column if rule.logical_type == "number" else canonical_text(typed))
        if rule.protection is Protection.REDACT:
            return redact(canonical_text(typed), rule)
        if "bins" in rule.parameters:
            check_comparable(typed, name=rule.name, first_record=first_record, where=where)
        return generalize(typed, rule)


def plan(
    rules: Sequence[ColumnRule],
    keyset: Keyset | None,
    source_states: Mapping[str, ColumnStatus] | None = None,
    reveal_with: Keyset | None = None,
) -> tuple[ColumnStep, ...]:
    """A step for every column that reaches the target; dropped columns have none.

    :param rules: in the source's order.
    :param source_states: how the source's columns are known to be protected already.
    :param reveal_with: the keyset that may open them.
    :raises ConfigurationError: if a keyset is needed and there is none.
    :raises ContractError: if a column's rule can't be met from what the source holds.
    """
    states = source_states or {}
    steps = []
    for rule in rules:
        if rule.protection is Protection.DROP:
            continue
        state = states.get(rule.name)
        if state is None or state.protection in (Protection.NONE, Protection.NULLIFY):
            steps.append(ColumnStep(rule, state, cipher=_cipher(rule, keyset)))
        else:
            steps.append(_from_protected(rule, state, keyset, reveal_with))
    return tuple(steps)


def fit(column: Any, *, text_target: bool) -> Any:
    """Cells as the target's column wants them: bytes as they are, or base64 for a text column."""
    binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    return to_text(column) if binary and text_target else column


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON would give them back, to compare and to store."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in parameters.items()}


def _from_protected(
    rule: ColumnRule, state: ColumnStatus, keyset: Keyset | None, reveal_with: Keyset | None
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
    was = ColumnRule(rule.name, rule.classification, state.protection, domain=state.domain, scope=state.scope)
    return ColumnStep(rule, state, revealer=ColumnCipher(was, reveal_with), cipher=_cipher(rule, keyset))


def _cipher(rule: ColumnRule, keyset: Keyset | None) -> ColumnCipher | None:
    if not rule.protection.reversible:
        return None
    if keyset is None:
        raise ConfigurationError(
            f"column {rule.name!r} has protection {rule.protection} and there is no keyset; set keyset="
        )
    return ColumnCipher(rule, keyset)
