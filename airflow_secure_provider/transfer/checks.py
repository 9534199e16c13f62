"""Everything that is decided, and refused, before the first row moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..contract.contract import Contract, quoted
from ..crypto.keyset import Keyset
from ..errors import ConfigurationError, ContractError
from ..model import AtRest, Classification, ColumnRule, ColumnStatus, DatasetStatus, Protection, algorithm
from ..protection.plan import ColumnStep, plain_parameters, plan
from ..stores.states import Domain
from .quarantine import RejectTo
from .required import Required
from .sources import OpenSource
from .suspicion import ON_SUSPECTED_PII
from .targets import OpenTarget

EXTRA_COLUMNS = ("refuse", "drop")


@dataclass(frozen=True, slots=True)
class Options:
    """What else an author chose.

    :param require: the anonymity that the target is to have.

    :param keyset: for the columns to be encrypted or tokenized.
    :param reveal_with: opens the source's ciphertext where a rule needs the value.
    :param purpose: what plain values out of ciphertext are needed for; without it there are none.
    :param extra_columns: source columns outside the contract: ``refuse`` or ``drop``.
    :param declared_at_rest: what people declared of stores, by dataset namespace.
    :param ask_at_rest: gives what a store itself says of how it rests, by dataset namespace; ``None`` where it says nothing.
    :param known_classes: what contracts say of any dataset's columns, by OpenLineage namespace and name.
    :param reject: where rows go that do not fit; without it the first one ends the transfer.
    :param on_suspected_pii: what happens if an unprotected column of class public or internal looks like personal data:
        ``warn``, ``refuse`` or ``ignore``.
    """

    keyset: Keyset | None = None
    reveal_with: Keyset | None = None
    purpose: str | None = None
    extra_columns: str = "refuse"
    declared_at_rest: Mapping[str, AtRest] = field(default_factory=dict)
    ask_at_rest: Callable[[str], AtRest | None] = lambda namespace: None
    known_classes: Callable[[str, str], Mapping[str, Classification]] = lambda namespace, name: {}
    reject: RejectTo | None = None
    require: Required | None = None
    on_suspected_pii: str = "warn"

    def check_words(self) -> None:
        """:raises ConfigurationError: for an option that is none of the known ones."""
        if self.extra_columns not in EXTRA_COLUMNS:
            raise ConfigurationError(
                f"extra_columns {self.extra_columns!r}, expected one of {', '.join(EXTRA_COLUMNS)}"
            )
        if self.on_suspected_pii not in ON_SUSPECTED_PII:
            raise ConfigurationError(
                f"on_suspected_pii {self.on_suspected_pii!r}, expected one of {', '.join(ON_SUSPECTED_PII)}"
            )
        if self.reject is not None:
            self.reject.check_words()
        if self.reject is not None and self.require is not None:
            raise ConfigurationError(
                "require= counts the rows before they are written, and reject_to= takes some of them away: give one of both"
            )


@dataclass(frozen=True, slots=True)
class Checked:
    """All that was decided before the first row."""

    steps: tuple[ColumnStep, ...]
    source: DatasetStatus
    target: DatasetStatus
    warnings: tuple[str, ...]


def check(
    opened: OpenSource,
    contract: Contract,
    target: OpenTarget,
    options: Options,
    *,
    allow_insecure_transport: bool,
) -> Checked:
    """Hold source, contract and target together.

    :raises ContractError: if a column, the source or the target does not meet what is required.
    """
    # Before the first byte of the source's content is asked for: its columns are.
    if options.require is not None:
        options.require.check(contract.rules)
    known = _known_states(contract, opened, options)
    contract.policy.check_classes(contract.rules, known, opened.status.dataset.uri)
    contract.policy.check_source(contract.rules, opened.status, known)
    where = opened.status.dataset.uri
    drift = [
        f"{where}: {each}"
        for each in contract.mismatches(opened.columns, extra_columns=options.extra_columns)
    ]
    drift += [f"target {target.name}: {each}" for each in target.differences(contract)]
    if drift:
        raise ContractError("; ".join(drift))
    rules = contract.match(opened.columns, where, extra_columns=options.extra_columns)
    versions = _versions(rules, options.keyset, target)
    steps = plan(rules, options.keyset, opened.states, options.reveal_with, versions)
    _check_purpose(steps, options.purpose)
    _check_passing(steps, target)
    types = target.take(steps)
    source = replace(
        opened.status,
        columns=tuple(
            opened.states.get(rule.name)
            or ColumnStatus(
                rule.name, rule.classification, Protection.NONE, opened.column_types.get(rule.name, "text")
            )
            for rule in rules
        ),
    )
    contract.policy.check_source(rules, source, opened.states)
    reached = replace(target.status, columns=tuple(_status(step, types[step.rule.name]) for step in steps))
    warnings = contract.policy.check_target(
        [step.rule for step in steps], reached, allow_insecure_transport=allow_insecure_transport
    )
    return Checked(steps, source, reached, tuple(warnings))


def _check_purpose(steps: Sequence[ColumnStep], purpose: str | None) -> None:
    plain = [step.rule.name for step in steps if step.reveals]
    if plain and purpose is None:
        raise ContractError(
            f"column {quoted(plain)} of the source holds ciphertext and would be stored as plain values: give it a "
            "protection, or reveal it with RevealColumnsOperator, which records the purpose"
        )
    if purpose is not None and not purpose.strip():
        raise ConfigurationError("purpose= is empty; say what the values are needed for, such as the ticket")


def _known_states(contract: Contract, opened: OpenSource, options: Options) -> Mapping[str, ColumnStatus]:
    """What is recorded of the source's columns, with the class that a contract of the source gives them if that is higher."""
    here = getattr(opened, "datasets", None) or [opened.status.dataset]
    known: dict[str, ColumnStatus] = {}
    for rule in contract.rules:
        classes = [
            classification
            for dataset, column in opened.origins.get(rule.name) or [(each, rule.name) for each in here]
            if (classification := options.known_classes(dataset.namespace, dataset.name).get(column))
        ]
        if classes:
            strictest = max(classes, key=lambda each: each.rank)
            recorded = opened.states.get(rule.name) or ColumnStatus(rule.name, strictest, Protection.NONE)
            before = recorded.classification
            known[rule.name] = (
                recorded
                if before is not None and before.rank >= strictest.rank
                else replace(recorded, classification=strictest)
            )
    return dict(opened.states) | known


def _versions(rules: Sequence[ColumnRule], keyset: Keyset | None, target: OpenTarget) -> Mapping[Domain, int]:
    """Deterministic values keep the key version of their domain, or they would not join."""
    wanted = {
        (rule.protection, rule.domain) for rule in rules if rule.protection.deterministic and rule.domain
    }
    return target.domain_versions(keyset.id, wanted) if keyset is not None and wanted else {}


def _check_passing(steps: Sequence[ColumnStep], target: OpenTarget) -> None:
    """Tokens that pass as they are must be under the version that their domain has where they go."""
    for step in steps:
        keyset_id, version = step.key
        domain = step.rule.protection, step.rule.domain or ""
        if not step.passes or not step.rule.protection.deterministic or keyset_id is None:
            continue
        there = target.domain_versions(keyset_id, [domain]).get(domain)
        if there not in (None, version):
            raise ContractError(
                f"column {step.rule.name!r} of the source stands under key version {version} of keyset {keyset_id!r}, and its "
                f"domain {step.rule.domain!r} under {there} in the target's database, so they would not join: move both to "
                "one version with ReprotectColumnsOperator"
            )


def _status(step: ColumnStep, column_type: str) -> ColumnStatus:
    rule = step.rule
    keyset_id, key_version = step.key
    return ColumnStatus(
        name=rule.name,
        classification=rule.classification,
        protection=rule.protection,
        type=column_type,
        algorithm=algorithm(rule.protection, rule.parameters),
        reversible=rule.protection.reversible,
        domain=rule.domain,
        scope=rule.scope,
        keyset_id=keyset_id,
        key_version=key_version,
        parameters=plain_parameters(rule.parameters),
    )
