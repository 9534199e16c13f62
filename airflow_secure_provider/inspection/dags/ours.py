"""How our own operators are used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .model import Call, Seen, Told
from .values import is_told

# With exactly one of contract= and columns=. Those that take a whole object as it is need neither.
NEED_A_CONTRACT = {"EncryptedS3ToPostgresOperator", "MaskColumnsOperator"}
LAND = {"EncryptToS3Operator", "HttpToEncryptedS3Operator"}
OPERATORS = NEED_A_CONTRACT | LAND | {"RevealColumnsOperator", "ReprotectColumnsOperator"}
WAIVERS = ("allow_insecure_transport", "allow_unauthenticated")
_PERSONAL = re.compile(
    r"(?:^|_)(?:e?mail|email_?address|phone|mobile|ssn|social_security(?:_number)?|tax_?id|iban|card|card_?number|credit_?card|pan|cvv"
    r"|passport(?:_no|_number)?|birth_?date|date_of_birth|dob|first_?name|last_?name|full_?name|surname|maiden_?name|street|address"
    r"|ip_?address|national_?id|nin|licen[cs]e_?number|diagnosis|password)$",
    re.I,
)
_WEAK_CLASSES = {"public", "internal"}


def without_contract(seen: Seen) -> Iterator[Told]:
    """SP110."""
    for call in _our(seen):
        if not call.complete:
            continue
        given = [name for name in ("contract", "columns") if call.value(name) is not None]
        if call.name in NEED_A_CONTRACT and len(given) != 1:
            problem = "both contract= and columns=" if given else "neither contract= nor columns="
            yield call.place, f"{call.name} has {problem}"


def landed_without_contract(seen: Seen) -> Iterator[Told]:
    """SP114."""
    for call in _our(seen):
        if call.name in LAND and call.complete and call.value("contract") is None:
            yield call.place, f"{call.name} has no contract, so nothing says of which class its content is"


def waived(seen: Seen) -> Iterator[Told]:
    """SP111."""
    for call in _our(seen):
        for name in WAIVERS:
            if call.value(name) is True:
                yield call.arguments[name].place, f"{name}=True waives a check of {call.name}"


def personal_in_the_clear(seen: Seen) -> Iterator[Told]:
    """SP112: by the names of inline columns only."""
    for call in _our(seen):
        columns = call.value("columns")
        if isinstance(columns, dict):
            for name, rule in columns.items():
                if isinstance(name, str) and _PERSONAL.search(name) and _is_clear(rule):
                    yield (
                        call.arguments["columns"].place,
                        f"column {name!r} is named like personal data and is written as it is",
                    )


def missing_contract_file(seen: Seen) -> Iterator[Told]:
    """SP113."""
    for call in _our(seen):
        path = call.value("contract")
        if seen.folder is None or not isinstance(path, str) or not is_told(path) or "://" in path:
            continue
        if not Path(path).is_absolute() and not (seen.folder / path).is_file():
            yield call.arguments["contract"].place, f"contract {path!r} is not beside the DAG file"


def _our(seen: Seen) -> Iterator[Call]:
    for call in seen.calls:
        if call.name in OPERATORS and "task_id" in call.arguments:
            yield call


def _is_clear(rule: Any) -> bool:
    if isinstance(rule, dict):
        return rule.get("method") == "none" or str(rule.get("classification")) in _WEAK_CLASSES
    return bool(rule == "none")
