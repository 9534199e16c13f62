"""What each class requires, and whether columns and stores meet it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import ContractError
from ..model import (
    AtRest,
    Classification,
    ColumnRule,
    ColumnStatus,
    DatasetStatus,
    Evidence,
    InTransit,
    Protection,
)

COARSER = (Protection.GENERALIZE, Protection.ROUND)
"""What leaves the values, less exactly. Noise is none of it: around what it leaves, the value is the likeliest."""
_CLIENT_OR_CUSTOMER_KEY = ("client-side", "SSE-KMS", "DSSE-KMS", "SSE-C")


@dataclass(frozen=True, slots=True)
class ClassRequirement:
    """What one class requires.

    :param tls: encrypted transport.
    :param peer_verified: and a verified peer.
    :param at_rest: source and target encrypted: observed, reported by the store, or declared.
    :param source_key_control: the source observed as client-side or customer-key encrypted.
    :param protections: one of these on every column; empty for any.
    """

    tls: bool = False
    peer_verified: bool = False
    at_rest: bool = False
    source_key_control: bool = False
    protections: tuple[Protection, ...] = ()


@dataclass(frozen=True)
class Policy:
    """What the classes require.

    :param name: for reports: ``built-in``, or the document's id, version and digest.
    """

    name: str
    requirements: Mapping[Classification, ClassRequirement]

    def check_columns(self, rules: Iterable[ColumnRule]) -> None:
        """:raises ContractError: naming every column whose protection is too weak for its class, and the fix."""
        problems = []
        for rule in rules:
            allowed = self.requirements[rule.classification].protections
            if allowed and rule.protection not in allowed:
                has = (
                    "no protection" if rule.protection is Protection.NONE else f"protection {rule.protection}"
                )
                problems.append(
                    f"column {rule.name!r} is {rule.classification} and has {has}; set one of {', '.join(allowed)}"
                )
        if problems:
            raise ContractError("; ".join(problems))

    def check_classes(
        self, rules: Iterable[ColumnRule], states: Mapping[str, ColumnStatus], where: str
    ) -> None:
        """Hold a contract to the classes that are recorded of its source's columns.

        A lower class is accepted only where the way takes the values away or makes them coarser, as the recorded class
        allows. Otherwise a second contract could turn what the first one called restricted into anything.

        :param states: how the source's columns are recorded, by name.
        :raises ContractError: naming every column whose class would sink, and the fix.
        """
        problems = []
        for rule in rules:
            state = states.get(rule.name)
            recorded = state.classification if state else None
            if state is None or recorded is None or rule.classification.rank >= recorded.rank:
                continue
            if state.protection is not Protection.NULLIFY and not self._may_lower(rule, recorded):
                problems.append(
                    f"column {rule.name!r} is known as {recorded} and the contract calls it {rule.classification}: "
                    f"classify it {recorded}, or take out its values (drop, nullify, redact wholly"
                    f"{''.join(f', {each}' for each in COARSER if self._takes(recorded, each))})"
                )
        if problems:
            raise ContractError(f"source {where}: " + "; ".join(problems))

    def check_ahead(self, rules: Iterable[ColumnRule], in_transit: InTransit, where: str) -> None:
        """Refuse a plaintext connection before anything is asked of the source; its answer would travel in the clear.

        :param in_transit: what is known before the first request; nothing is refused for being unknown yet.
        :raises ContractError: as :meth:`check_source`, which judges the live connection later.
        """
        if in_transit.protocol == "none":
            rule, need = self._strictest(rules)
            problems = _transport_problems(need, _why(rule), in_transit, where)
            if problems:
                raise ContractError(f"source {where}: " + "; ".join(problems))

    def check_source(
        self,
        rules: Iterable[ColumnRule],
        status: DatasetStatus,
        states: Mapping[str, ColumnStatus] | None = None,
    ) -> None:
        """Hold the source to the strictest class among the columns read.

        :param states: how its columns are recorded: the higher of both classes counts.
        :raises ContractError: with each unmet requirement, the column that makes it one, and the fix.
        """
        known = states or {}
        held = [_at_least(rule, known.get(rule.name)) for rule in rules]
        rule, need = self._strictest(held)
        problems = _transport_problems(need, _why(rule), status.in_transit, status.dataset.namespace)
        problems += _storage_problems(need, rule, status, "source")
        rest = status.at_rest
        controlled = rest.scheme in _CLIENT_OR_CUSTOMER_KEY and rest.evidence is Evidence.OBSERVED
        if need.source_key_control and not controlled and not self._cells_only(held, known):
            problems.append(
                f"column {rule.name!r} is {rule.classification}, so the source must be client-side or customer-key encrypted; it is "
                f"{rest.scheme} ({rest.evidence}): write it with the AWS Encryption SDK, or store it under SSE-KMS"
            )
        if problems:
            raise ContractError(f"source {status.dataset.uri}: " + "; ".join(problems))

    def check_target(
        self, rules: Iterable[ColumnRule], status: DatasetStatus, *, allow_insecure_transport: bool = False
    ) -> list[str]:
        """Hold the target to the strictest class among the columns written.

        :param allow_insecure_transport: accept a weaker connection; what is waived comes back.
        :return: the waived requirements, as warnings.
        :raises ContractError: as :meth:`check_source`.
        """
        rule, need = self._strictest(rules)
        transport = _transport_problems(need, _why(rule), status.in_transit, status.dataset.namespace)
        storage = _storage_problems(need, rule, status, "target")
        if storage or (transport and not allow_insecure_transport):
            raise ContractError(f"target {status.dataset.uri}: " + "; ".join(transport + storage))
        return [f"allow_insecure_transport=True: {problem}" for problem in transport]

    def check_passage(self, rules: Iterable[ColumnRule] | None, end: DatasetStatus) -> None:
        """Hold one end of a way to its highest class, where the content is carried and not looked at.

        :param rules: of the contract; ``None`` without one, and then the content counts as restricted.
        :raises ContractError: if its connection is weaker than that class demands.
        """
        if rules is None:
            rule = ColumnRule("", Classification.RESTRICTED, Protection.NONE)
            need = self.requirements[rule.classification]
            why = "no contract says what the content is, so it counts as restricted"
        else:
            rule, need = self._strictest(rules)
            why = _why(rule)
        problems = _transport_problems(need, why, end.in_transit, end.dataset.namespace)
        if problems:
            raise ContractError(f"{end.dataset.uri}: " + "; ".join(problems))

    def _may_lower(self, rule: ColumnRule, recorded: Classification) -> bool:
        if rule.protection in (Protection.NULLIFY, Protection.DROP):
            return True
        if rule.protection is Protection.REDACT:
            kept = any(rule.parameters.get(name) for name in ("keep_first", "keep_last", "keep_format"))
            return recorded is not Classification.RESTRICTED or not kept
        return rule.protection in COARSER and self._takes(recorded, rule.protection)

    def _takes(self, classification: Classification, protection: Protection) -> bool:
        accepted = self.requirements[classification].protections
        return not accepted or protection in accepted

    def _strictest(self, rules: Iterable[ColumnRule]) -> tuple[ColumnRule, ClassRequirement]:
        rule = max(rules, key=lambda each: each.classification.rank)
        return rule, self.requirements[rule.classification]

    def _cells_only(self, rules: Iterable[ColumnRule], states: Mapping[str, ColumnStatus]) -> bool:
        """Whether every column whose source must be under a key of ours is recorded as ciphertext, redacted or empty.

        Then the values are not in the source at all, and nobody but the holder of the keyset can read them:
        that is client-side encryption, column by column.
        """
        accepted = self.requirements[Classification.RESTRICTED].protections
        controlled = [
            rule.name for rule in rules if self.requirements[rule.classification].source_key_control
        ]
        return all(name in states and states[name].protection in accepted for name in controlled)


_REQUIREMENTS: dict[Classification, ClassRequirement] = {
    Classification.PUBLIC: ClassRequirement(),
    Classification.INTERNAL: ClassRequirement(tls=True),
    Classification.CONFIDENTIAL: ClassRequirement(tls=True, peer_verified=True, at_rest=True),
    Classification.RESTRICTED: ClassRequirement(
        tls=True,
        peer_verified=True,
        at_rest=True,
        source_key_control=True,
        protections=(
            Protection.ENCRYPT,
            Protection.TOKENIZE,
            Protection.FPE,
            Protection.PSEUDONYMIZE,
            Protection.REDACT,
            Protection.NULLIFY,
            Protection.DROP,
        ),
    ),
}

BUILT_IN = Policy("built-in", _REQUIREMENTS)


def _at_least(rule: ColumnRule, state: ColumnStatus | None) -> ColumnRule:
    recorded = state.classification if state else None
    if recorded is None or recorded.rank <= rule.classification.rank:
        return rule
    return replace(rule, classification=recorded)


def _why(rule: ColumnRule) -> str:
    return f"column {rule.name!r} is {rule.classification}"


def _transport_problems(need: ClassRequirement, why: str, transport: InTransit, where: str) -> list[str]:
    plain = transport.protocol == "none"
    if need.peer_verified and not transport.verified:
        got = (
            "plaintext"
            if plain
            else ("an unverified peer" if transport.encrypted else "nothing that proves it")
        )
        return [
            (
                f"{why}, so the connection to {where} needs TLS with a verified peer; observed {got}: set "
                "sslmode=verify-full and sslrootcert (PostgreSQL), or an https endpoint with verify (S3, HTTP), in the "
                "connection"
            )
        ]
    if need.tls and not transport.encrypted:
        got = "plaintext" if plain else "nothing that proves it"
        return [
            (
                f"{why}, so the connection to {where} needs TLS; observed {got}: "
                "set sslmode=verify-full (PostgreSQL) or an https endpoint (S3, HTTP) in the connection"
            )
        ]
    return []


def _storage_problems(
    need: ClassRequirement, rule: ColumnRule, status: DatasetStatus, side: str
) -> list[str]:
    rest: AtRest = status.at_rest
    if not need.at_rest or rest.encrypted:
        return []
    return [
        (
            f"column {rule.name!r} is {rule.classification}, so the {side} must be encrypted at rest; it is {rest.scheme} "
            f"({rest.evidence}): encrypt it, or declare what encrypts {status.dataset.namespace!r} under "
            "[secure_provider] declared_at_rest"
        )
    ]
