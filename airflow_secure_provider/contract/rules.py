"""From what an author wrote about one column to a checked :class:`ColumnRule`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from ..crypto.symbols import Alphabet
from ..errors import ContractError
from ..model import Classification, ColumnRule, Protection

LOGICAL_TYPES = ("string", "date", "timestamp", "time", "number", "integer", "boolean")
_NESTED = ("array", "object")
_ANY_VALUE = (Protection.NONE, Protection.NULLIFY, Protection.DROP)
_UNFIT_MARK = "*"
_MOST_KEPT = 1_000_000  # characters; far more than any cell has, and far less than Arrow's 32-bit lengths
DATE_PARTS = ("month", "quarter", "year", "decade")
_USUAL_SHIFT_DAYS, _MOST_SHIFT_DAYS = 182, 36_500
_MOST_STEP, _MOST_SCALE = 1e12, 1e12
_MOST_DECIMALS = 9
_UNKEYED = {"hash", "md5", "sha1", "sha256", "sha-256", "sha512"}

# What each protection takes beside its method; keyed ones take a domain, encrypt also a scope.
_PARAMETERS: dict[Protection, frozenset[str]] = {
    Protection.NONE: frozenset(),
    Protection.ENCRYPT: frozenset({"domain", "scope", "bind_to"}),
    Protection.TOKENIZE: frozenset({"domain"}),
    Protection.FPE: frozenset({"domain", "alphabet", "on_unfit"}),
    Protection.PSEUDONYMIZE: frozenset({"domain", "algorithm"}),
    Protection.SHIFT_DATE: frozenset({"domain", "subject", "days"}),
    Protection.NOISE: frozenset({"domain", "subject", "scale", "to"}),
    Protection.ROUND: frozenset({"to"}),
    Protection.REDACT: frozenset({"keep_first", "keep_last", "keep_format", "mark"}),
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
    if logical_type in _NESTED and _split(protection, place)[0] in _ANY_VALUE:
        logical_type = "string"  # it goes as it is, or not at all
    if logical_type not in LOGICAL_TYPES:
        expected = ", ".join(LOGICAL_TYPES) + ", and array and object for none, nullify and drop"
        raise ContractError(
            f"{place}: logicalType {logical_type!r} can't be loaded, expected one of {expected}"
        )
    method, given = _split(protection, place)
    default = f"{quote(contract_id, safe='')}/{quote(name, safe='')}"
    parameters = _parameters(method, given, place, level, logical_type)
    domain = scope = None
    if method is Protection.SHIFT_DATE:
        # By subject, not by column: the dates of one subject keep their intervals also across columns.
        default = f"{quote(contract_id, safe='')}/{quote(parameters['subject'], safe='')}"
    if method.keyed:
        domain = _named(given.get("domain"), default, "domain", place)
    if method is Protection.ENCRYPT or parameters.get("on_unfit") == "encrypt":
        scope = _named(given.get("scope"), default, "scope", place)
    if required and method is Protection.NULLIFY:
        raise ContractError(f"{place} is required and would be nullified; choose drop, redact or encrypt")
    return ColumnRule(name, level, method, logical_type, required, domain, scope, parameters)


def _split(protection: Any, place: str) -> tuple[Protection, dict[str, Any]]:
    given = dict(protection) if isinstance(protection, Mapping) else {"method": protection}
    method = given.pop("method", None)
    if not isinstance(method, str):
        raise ContractError(f"{place}: protection needs a method, one of {', '.join(Protection)}")
    if method in _UNKEYED:
        raise ContractError(
            f"{place}: an unkeyed hash of personal data is undone by trying all values; take pseudonymize, which is keyed"
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


def _parameters(
    method: Protection, given: Mapping[str, Any], place: str, level: Classification, logical_type: str
) -> dict[str, Any]:
    if method is Protection.ENCRYPT:
        return _binding(given, place)
    if method is Protection.FPE:
        return _format(given, place, logical_type)
    if method is Protection.PSEUDONYMIZE:
        algorithm = given.get("algorithm", "aes-cmac")
        return {"algorithm": _one_of(algorithm, ("aes-cmac", "hmac-sha256"), "pseudonymize algorithm", place)}
    if method is Protection.SHIFT_DATE:
        return _shift(given, place, logical_type)
    if method is Protection.NOISE:
        return _noise(given, place, logical_type)
    if method is Protection.ROUND:
        return {"to": _step(given.get("to"), "round to", place, logical_type)}
    if method is Protection.REDACT:
        return _redaction(given, place, level)
    if method is Protection.GENERALIZE:
        return _generalization(given, place, logical_type)
    return {}


def _one_of(value: Any, known: Sequence[str], what: str, place: str) -> str:
    if value not in known:
        raise ContractError(f"{place}: {what} {value!r}, expected one of {', '.join(known)}")
    return str(value)


def _binding(given: Mapping[str, Any], place: str) -> dict[str, Any]:
    columns = given.get("bind_to")
    if columns is None:
        return {}
    names = [columns] if isinstance(columns, str) else columns
    good = isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names)
    if not good or len(set(names)) != len(names):
        raise ContractError(f"{place}: bind_to must be a column's name, or a list of different ones")
    return {"bind_to": tuple(names)}


def _format(given: Mapping[str, Any], place: str, logical_type: str) -> dict[str, Any]:
    alphabet = given.get("alphabet", "digits")
    if logical_type not in ("string", "integer"):
        raise ContractError(f"{place}: fpe of a {logical_type}; expected a string or an integer")
    try:
        Alphabet.named(alphabet)
    except (TypeError, ValueError) as error:
        raise ContractError(f"{place}: fpe alphabet: {error}") from None
    on_unfit = _one_of(
        given.get("on_unfit", "refuse"), ("refuse", "redact", "encrypt"), "fpe on_unfit", place
    )
    if on_unfit == "redact" and _UNFIT_MARK in Alphabet.named(alphabet).characters:
        raise ContractError(
            f"{place}: fpe with on_unfit redact writes {_UNFIT_MARK!r} for what is unfit, so it can't be in the alphabet: "
            "take it out, or set on_unfit to refuse or encrypt"
        )
    return {"alphabet": alphabet, "on_unfit": on_unfit}


def _shift(given: Mapping[str, Any], place: str, logical_type: str) -> dict[str, Any]:
    subject, days = given.get("subject"), given.get("days", _USUAL_SHIFT_DAYS)
    if logical_type not in ("date", "timestamp"):
        raise ContractError(f"{place}: shift_date of a {logical_type}; expected a date or timestamp")
    if not isinstance(subject, str):
        raise ContractError(
            f"{place}: shift_date needs subject: the column that says whose date it is; all dates of one subject are "
            "shifted alike"
        )
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= _MOST_SHIFT_DAYS:
        raise ContractError(f"{place}: shift_date days must be a number from 1 to {_MOST_SHIFT_DAYS:,}")
    return {"subject": subject, "days": days}


def _noise(given: Mapping[str, Any], place: str, logical_type: str) -> dict[str, Any]:
    subject, scale = given.get("subject"), given.get("scale")
    if not isinstance(subject, str):
        raise ContractError(
            f"{place}: noise needs subject: the column that says whose number it is; the same number of one subject always gets "
            "the same noise, or many loads of it would average the noise out"
        )
    if not isinstance(scale, (int, float)) or isinstance(scale, bool) or not 0 < scale <= _MOST_SCALE:
        raise ContractError(
            f"{place}: noise needs scale, a number above 0 and up to {_MOST_SCALE:,.0f}: half of the values move by more than "
            "0.69 of it"
        )
    to = given.get("to")
    if to is None:
        exponent = Decimal(str(scale)).adjusted() - 1
        to = 10 ** max(exponent, 0) if logical_type == "integer" or exponent >= 0 else float(f"1e{exponent}")
    step = _step(to, "noise to", place, logical_type)
    decimals = -min(0, int(Decimal(str(step)).normalize().as_tuple().exponent))
    if scale * 10**decimals > _MOST_SCALE:
        raise ContractError(
            f"{place}: noise of scale {scale:g} with {decimals} decimals is more than can be calculated exactly: take a coarser to"
        )
    return {"subject": subject, "scale": scale, "to": step}


def _step(value: Any, what: str, place: str, logical_type: str) -> int | float:
    """What results are a multiple of."""
    if logical_type not in ("integer", "number"):
        raise ContractError(f"{place}: {what.split()[0]} of a {logical_type}; expected an integer or number")
    whole = logical_type == "integer"
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MOST_STEP
    exponent = Decimal(str(value)).normalize().as_tuple().exponent if numeric else 0
    if (
        not numeric
        or not isinstance(exponent, int)
        or exponent < -_MOST_DECIMALS
        or (whole and value != int(value))
    ):
        kind = "a whole number" if whole else f"a number of at most {_MOST_DECIMALS} decimals,"
        raise ContractError(
            f"{place}: {what} {value!r}, expected {kind} above 0 and up to {_MOST_STEP:,.0f}, of which results are multiples"
        )
    return int(value) if value == int(value) else float(value)


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
    keep_format = given.get("keep_format", False)
    if not isinstance(keep_format, bool):
        raise ContractError(f"{place}: redact keep_format must be true or false")
    return {**kept, "keep_format": keep_format, "mark": mark, "hide_half": level is Classification.RESTRICTED}


def _generalization(given: Mapping[str, Any], place: str, logical_type: str) -> dict[str, Any]:
    if len(given) != 1:
        raise ContractError(
            f"{place}: generalize takes exactly one of to: {'|'.join(DATE_PARTS)} (dates), bins: [...] (numbers), "
            "prefix: n (text)"
        )
    ((key, value),) = given.items()
    if key == "to":
        if value not in DATE_PARTS or logical_type not in ("date", "timestamp"):
            raise ContractError(
                f"{place}: generalize to {value!r} of a {logical_type}; expected one of {', '.join(DATE_PARTS)}, of a "
                "date or timestamp"
            )
        return {"to": value}
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
