"""The rules: their ids, which never change their meaning, what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from ...contract.registry import Registry
from ...model import Classification
from . import files, ours, secrets, transfers, transport
from .model import Alarm, Level, Place, Seen, Told


@dataclass(frozen=True, slots=True)
class Rule:
    """:ivar title: what is wrong, in a few words."""

    id: str
    name: str
    level: Level
    title: str
    fix: str


_PUT_AWAY = (
    "keep it in an Airflow connection or Vault, and name the connection; then change it where it was valid"
)

RULES = {
    each.id: each
    for each in (
        Rule("SP100", "unread", Level.ERROR, "the file can't be read", "mend the file; until then nothing in it is checked"),
        Rule("SP101", "restricted-by-stock", Level.ERROR, "a stock transfer touches restricted data",
             "use EncryptedS3ToPostgresOperator, MaskColumnsOperator or EncryptToS3Operator with the dataset's contract"),
        Rule("SP102", "confidential-by-stock", Level.WARNING, "a stock transfer touches confidential data",
             "use EncryptedS3ToPostgresOperator, MaskColumnsOperator or EncryptToS3Operator with the dataset's contract"),
        Rule("SP103", "no-contract", Level.WARNING, "a transfer of what no contract describes",
             "write a contract that names the dataset as physicalName, into the folder of contracts"),
        Rule("SP104", "secret-in-code", Level.ERROR, "a secret in code or parameters", _PUT_AWAY),
        Rule("SP105", "password-in-uri", Level.ERROR, "a password in a URI", _PUT_AWAY),
        Rule("SP106", "weak-sslmode", Level.ERROR, "sslmode below verify-full",
             "set sslmode=verify-full and sslrootcert in the connection's extra"),
        Rule("SP107", "unverified-peer", Level.ERROR, "the check of a peer's identity is off",
             "leave the check on, and give the private CA's certificate"),
        Rule("SP108", "plain-endpoint", Level.WARNING, "an endpoint without TLS", "use https (sftp, ldaps)"),
        Rule("SP109", "plain-temp-file", Level.WARNING, "data in a plain temporary file",
             "stream it: our operators write nothing in plain text to a disk"),
        Rule("SP110", "operator-without-contract", Level.ERROR, "our operator without a contract",
             "give contract=, or columns= with every column named; one of the two"),
        Rule("SP111", "waived-check", Level.WARNING, "a check of our operator is waived",
             "remove the argument, and mend what it waives; or suppress this with the reason"),
        Rule("SP112", "personal-in-the-clear", Level.WARNING, "a column that is named like personal data is not protected",
             "protect it, or suppress this with the reason why it is none"),
        Rule("SP113", "contract-not-found", Level.ERROR, "the contract is not there",
             "paths of contracts are relative to the DAG file's folder"),
        Rule("SP114", "landed-without-contract", Level.NOTE, "an object is written without a contract",
             "give contract=, so that the connections are held to its highest class"),
        Rule("SP190", "bad-suppression", Level.ERROR, "a suppression that names no reason, or no rule",
             "write: # secure: ignore SP104 (the reason)"),
    )
}  # fmt: skip

_CHECKS: dict[str, Callable[[Seen], Iterator[Told]]] = {
    "SP104": secrets.in_code,
    "SP105": secrets.in_uris,
    "SP106": transport.weak_sslmode,
    "SP107": transport.unverified,
    "SP108": transport.plain_endpoint,
    "SP109": files.plain_files,
    "SP110": ours.without_contract,
    "SP111": ours.waived,
    "SP112": ours.personal_in_the_clear,
    "SP113": ours.missing_contract_file,
    "SP114": ours.landed_without_contract,
}


def alarms(seen: Seen, registry: Registry | None) -> list[Alarm]:
    """All of one file or task, by line.

    :param registry: what the contracts describe; ``None`` if there is no folder of them: then a missing one is a note.
    """
    known = registry or Registry()
    checks: dict[str, Callable[[Seen], Iterator[Told]]] = {
        "SP101": partial(transfers.classified, registry=known, wanted=Classification.RESTRICTED),
        "SP102": partial(transfers.classified, registry=known, wanted=Classification.CONFIDENTIAL),
        "SP103": partial(transfers.undescribed, registry=known),
        **_CHECKS,
    }
    found = {
        alarm(rule, seen.path, place, reason)
        for rule, check in checks.items()
        for place, reason in check(seen)
    }
    if registry is None:
        found = {replace(each, level=Level.NOTE) if each.rule == "SP103" else each for each in found}
    return sorted(found, key=lambda each: (each.place, each.rule, each.reason))


def alarm(rule: str, path: str, place: Place, reason: str) -> Alarm:
    return Alarm(rule, RULES[rule].level, path, place, reason, RULES[rule].fix)
