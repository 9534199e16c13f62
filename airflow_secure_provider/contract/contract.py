"""A contract as the rest of the package uses it, and the short form that an author writes in the DAG."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ContractError
from ..model import AtRest, Classification, ColumnDefinition, ColumnRule, ContractRef, Owner, Protection
from .policy import BUILT_IN, Policy
from .rules import column_rule


@dataclass(frozen=True, slots=True)
class Contract:
    """The columns of one dataset, in the contract's order.

    :ivar declared_at_rest: what it says of its servers, by dataset namespace.
    """

    ref: ContractRef
    dataset: str
    rules: tuple[ColumnRule, ...]
    policy: Policy = BUILT_IN
    definitions: Mapping[str, ColumnDefinition] = field(default_factory=dict)
    description: str | None = None
    declared_at_rest: Mapping[str, AtRest] = field(default_factory=dict)

    def match(
        self, columns: Sequence[str], source: str, *, extra_columns: str = "refuse"
    ) -> tuple[ColumnRule, ...]:
        """The rules of a source's columns, in the source's order; everything that is off, in one message.

        :param extra_columns: what to do with columns that the contract does not know: ``refuse`` or ``drop``.
        :raises ContractError: for duplicated, missing and extra columns.
        """
        problems = self.mismatches(columns, extra_columns=extra_columns)
        if problems:
            raise ContractError(f"{source}: " + "; ".join(problems))
        known = {rule.name: rule for rule in self.rules}
        # Unknown is not public: a dropped extra column counts as restricted while it is read.
        return tuple(
            known.get(name) or ColumnRule(name, Classification.RESTRICTED, Protection.DROP)
            for name in columns
        )

    def mismatches(self, columns: Sequence[str], *, extra_columns: str = "refuse") -> list[str]:
        """How a source's columns differ from the contract's, in words."""
        known = {rule.name: rule for rule in self.rules}
        if columns and not names_some(columns, known):
            problem = (
                f"none of the {len(columns)} names in its header is a column of contract {self.ref.id!r}, which has "
                f"{quoted(list(known))}; they are not told, since they may be values: is there a header, and is the "
                "delimiter the right one (csv_options)?"
            )
            return [problem]
        twice = sorted({name for name in columns if list(columns).count(name) > 1})
        missing = [name for name in known if name not in columns]
        extra = [name for name in dict.fromkeys(columns) if name not in known]
        problems = []
        if twice:
            problems.append(f"column {quoted(twice)} stands twice in its header: rename or remove one")
        if missing:
            problems.append(
                f"column {quoted(missing)} of contract {self.ref.id!r} is missing: "
                "add it to the source, or remove it from the contract"
            )
        if extra and extra_columns != "drop":
            problems.append(
                f"column {quoted(extra)} is not classified: "
                f"add it to contract {self.ref.id!r}, or set extra_columns='drop'"
            )
        return problems


def from_columns(columns: Mapping[str, Any], name: str, policy: Policy = BUILT_IN) -> Contract:
    """A contract written in the DAG: ``{"email": "tokenize", "id": "none"}``.

    A value is a method or a mapping with ``method`` and its parameters, ``classification`` (default internal) and
    ``type`` (an ODCS logical type, default string). The default domain of a column is made of *name* and the column:
    a rename of *name* changes it, so name the domain of what must be revealed later, or write a contract.
    """
    contract_id = f"inline:{name}"
    rules = []
    for column, given in columns.items():
        options = dict(given) if isinstance(given, Mapping) else {"method": given}
        classification = options.pop("classification", Classification.INTERNAL)
        logical_type = options.pop("type", "string")
        rules.append(
            column_rule(
                column,
                classification,
                options,
                contract_id=contract_id,
                logical_type=logical_type,
                where="columns=: ",
            )
        )
    body = {"id": contract_id, "version": "inline", "columns": dict(columns)}
    return checked(Contract(reference(body), name, tuple(rules), policy), "columns=")


def checked(contract: Contract, where: str) -> Contract:
    """:raises ContractError: if the contract as a whole can't be carried out."""
    names = [rule.name for rule in contract.rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names:
        raise ContractError(f"contract {where} classifies no column")
    if twice:
        raise ContractError(f"contract {where}: column {quoted(twice)} is defined twice")
    if all(rule.protection is Protection.DROP for rule in contract.rules):
        raise ContractError(f"contract {where} drops every column; keep one at least")
    problems = _beside_problems(contract.rules)
    if problems:
        raise ContractError(f"contract {where}: " + "; ".join(problems))
    try:
        contract.policy.check_columns(contract.rules)
    except ContractError as error:
        raise ContractError(f"contract {where}: {error}") from None
    return contract


def _beside_problems(rules: Sequence[ColumnRule]) -> list[str]:
    """What is wrong with the columns that others name in ``bind_to`` and ``subject``."""
    known = {rule.name: rule for rule in rules}
    problems = []
    for rule in rules:
        for name in rule.beside:
            other = known.get(name)
            if other is None or other is rule:
                problems.append(
                    f"column {rule.name!r} names column {name!r}, which must be another of the contract"
                )
            elif other.logical_type == "number":
                problems.append(
                    f"column {rule.name!r} names column {name!r}, a number, which has no one way to be written"
                )
            elif "bind_to" in rule.parameters and other.protection is not Protection.NONE:
                problems.append(
                    f"column {rule.name!r} is bound to column {name!r}, which is {other.protection}: it must lie beside "
                    "the cell as it is, or the cell can't be revealed"
                )
    return problems


def reference(body: Mapping[str, Any], owners: tuple[Owner, ...] = ()) -> ContractRef:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return ContractRef(str(body["id"]), str(body["version"]), digest, owners)


def names_some(header: Sequence[str], known: Collection[str]) -> bool:
    """Whether a first record names a column that is known, if only in another case. If not, it may be the first row of values."""
    return not {name.casefold() for name in known}.isdisjoint(name.casefold() for name in header)


def quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
