"""From what an author wrote about one column to a checked :class:`ColumnRule`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..errors import ContractError
from ..model import Classification, ColumnRule, Protection

LOGICAL_TYPES = ("string", "date", "timestamp", "time", "number", "integer", "boolean")
_LATER = {"fpe", "pseudonymize", "shift_date"}
_MOST_KEPT = 1_000_000  # characters; far more than any cell has, and far less than Arrow's 32-bit lengths
_UNKEYED = {"hash", "md5", "sha1", "sha256", "sha-256", "sha512"}

# What each protection takes beside its method; keyed ones take a domain, encrypt also a scope.
_PARAMETERS: dict[Protection, frozenset[str]] = {
    Protection.NONE: frozenset(),
    Protection.ENCRYPT: frozenset({"domain", "scope"}),
    Protection.TOKENIZE: frozenset({"domain"}),
    Protection.REDACT: frozenset({"keep_first", "keep_last", "mark"}),
    Protection.GENERALIZE: frozenset({"to", "bins", "prefix"}),
    Protection.NULLIFY: frozenset(),
    Protection.DROP: frozenset(),
}


def column_rule(
    name: str,
    classification: str,
    protection: Any,
    *,
    contract_id: str,
    logical_type: str = "string",
    required: bool = False,
    where: str = "",
) -> ColumnRule:
    """Check one column's class and protection and fill in the defaults.

    :param protection: a method's name, or a mapping with ``method`` and its parameters.
    :param contract_id: names the default domain and scope.
    :raises ContractError: saying which column, what was got and what is expected.
    """
    place = f"{where}column {name!r}"
    try:
        level = Classification(classification)
    except ValueError:
        expected = ", ".join(Classification)
        raise ContractError(
            f"{place}: classification {classification!r}, expected one of {expected}"
        ) from None
    if logical_type not in LOGICAL_TYPES:
        expected = ", ".join(LOGICAL_TYPES)
        raise ContractError(
            f"{place}: logicalType {logical_type!r} can't be loaded, expected one of {expected}"
        )
    method, given = _split(protection, place)
    default = f"{quote(contract_id, safe='')}/{quote(name, safe='')}"
    domain = scope = None
    parameters: dict[str, Any] = {}
    if method.reversible:
        domain = _named(given.get("domain"), default, "domain", place)
        scope = _named(given.get("scope"), default, "scope", place) if method is Protection.ENCRYPT else None
    elif method is Protection.REDACT:
        parameters = _redaction(given, place, level)
    elif method is Protection.GENERALIZE:
        parameters = _generalization(given, place, logical_type)
    if required and method is Protection.NULLIFY:
        raise ContractError(f"{place} is required and would be nullified; choose drop, redact or encrypt")
    return ColumnRule(name, level, method, logical_type, required, domain, scope, parameters)


def _split(protection: Any, place: str) -> tuple[Protection, dict[str, Any]]:
    given = dict(protection) if isinstance(protection, Mapping) else {"method": protection}
    method = given.pop("method", None)
    if not isinstance(method, str):
        raise ContractError(f"{place}: protection needs a method, one of {', '.join(Protection)}")
    if method in _LATER:
        raise ContractError(f"{place}: protection {method!r} is not in this version yet; see the changelog")
    if method in _UNKEYED:
        raise ContractError(
            f"{place}: an unkeyed hash of personal data is undone by trying all values; take tokenize, which is keyed"
        )
    try:
        known = Protection(method)
    except ValueError:
        raise ContractError(
            f"{place}: protection {method!r}, expected one of {', '.join(Protection)}"
        ) from None
    unknown = sorted(map(str, set(given) - _PARAMETERS[known]))
    if unknown:
        takes = ", ".join(sorted(_PARAMETERS[known])) or "no parameters"
        raise ContractError(f"{place}: unknown parameter {unknown[0]!r} of {known}; it takes {takes}")
    return known, given


def _named(value: Any, default: str, what: str, place: str) -> str:
    if value is None:
        return default
    if not isinstance(value, str) or not value or "/" in value:
        raise ContractError(
            f"{place}: {what} must be a non-empty text without '/' (which marks the default ones)"
        )
    return value


def _redaction(given: Mapping[str, Any], place: str, level: Classification) -> dict[str, Any]:
    kept = {}
    for key in ("keep_first", "keep_last"):
        count = given.get(key, 0)
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _MOST_KEPT:
            raise ContractError(
                f"{place}: redact {key} must be a number of characters from 0 to {_MOST_KEPT:,}"
            )
        kept[key] = count
    mark = given.get("mark", "*")
    if not isinstance(mark, str) or len(mark) != 1:
        raise ContractError(f"{place}: redact mark must be one character")
    return {**kept, "mark": mark, "hide_half": level is Classification.RESTRICTED}


def _generalization(given: Mapping[str, Any], place: str, logical_type: str) -> dict[str, Any]:
    if len(given) != 1:
        raise ContractError(
            f"{place}: generalize takes exactly one of to: year (dates), bins: [...] (numbers), prefix: n (text)"
        )
    ((key, value),) = given.items()
    if key == "to":
        if value != "year" or logical_type not in ("date", "timestamp"):
            raise ContractError(
                f"{place}: generalize to {value!r} of a {logical_type}; expected year of a date or timestamp"
            )
        return {"to": "year"}
    if key == "bins":
        numbers = isinstance(value, (list, tuple)) and all(
            isinstance(number, (int, float)) and not isinstance(number, bool) for number in value
        )
        ascending = numbers and len(value) >= 2 and sorted(set(value)) == list(value)
        if not ascending or logical_type not in ("integer", "number"):
            raise ContractError(
                f"{place}: generalize bins must be two or more ascending numbers, of an integer or number"
            )
        return {"bins": tuple(value)}
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not 0 <= value <= _MOST_KEPT
        or logical_type != "string"
    ):
        raise ContractError(
            f"{place}: generalize prefix must be a number of characters from 0 to {_MOST_KEPT:,}, of a string"
        )
    return {"prefix": value}
