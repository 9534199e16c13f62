"""``require``, as it is written and what it means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ..contract.contract import quoted
from ..errors import ConfigurationError, ContractError
from ..model import ColumnRule, Protection
from ..protection.anonymity import Requirement
from ..protection.hierarchies import Level, ladder

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
