"""Lengths of time as people and Vault write them."""

from __future__ import annotations

import re
from datetime import timedelta

from ..errors import ConfigurationError

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(given: str | float | timedelta, name: str = "duration") -> float:
    """Seconds of ``"45m"``, ``"1h30m"``, ``90``, ``timedelta(minutes=45)``.

    :raises ConfigurationError: for anything else, and for what is not above zero.
    """
    seconds = 0.0
    if isinstance(given, timedelta):
        seconds = given.total_seconds()
    elif isinstance(given, (int, float)) and not isinstance(given, bool):
        seconds = float(given)
    elif isinstance(given, str) and re.fullmatch(r"(\d+[dhms])+", given.strip()):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", given))
    elif isinstance(given, str) and given.strip().isdecimal():
        seconds = float(given)
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(
            f"{name}={given!r}: expected a length of time such as '45m', '1h30m' or a number of seconds"
        )
    return seconds


def in_words(seconds: float) -> str:
    """``4h 30m``, ``45s``: rounded down, two units at most."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in _UNITS.items():
        if left >= length and len(parts) < 2:
            parts.append(f"{left // length}{unit}")
            left %= length
    return " ".join(parts) or "0s"


def as_vault_writes(seconds: float) -> str:
    """Rounded up to whole minutes, above a minute: for a command that shall be enough."""
    whole = -int(-seconds // 1)
    if whole <= 60:
        return f"{whole}s"
    minutes = -(-whole // 60)
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
