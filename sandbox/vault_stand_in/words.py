"""Durations, names and times as Vault writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from .protocol import Refused


def parse_duration(value: Any) -> int:
    """Seconds of ``90``, ``"90"``, ``"90s"``, ``"1h30m"``."""
    text = str(value or 0)
    if text.isdigit():
        return int(text)
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if not re.fullmatch(r"(\d+[smhd])+", text):
        raise Refused(400, f"invalid duration {text!r}")
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))


def filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values.get(match[1], match[0]), text)


def statements_of(value: Any) -> list[str]:
    found: list[str] = []
    for text in [value] if isinstance(value, str) else list(value or []):
        found += [text] if "$$" in text else text.split(";")
    return [text.strip() for text in found if text.strip()]


def listed(value: Any) -> list[str]:
    return (
        [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
    )


def children(entries: Mapping[str, Any], prefix: str) -> list[str]:
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    below = [path.removeprefix(prefix).partition("/") for path in entries if path.startswith(prefix)]
    if not below:
        raise Refused(404)
    return sorted({head + slash for head, slash, _ in below})


def expiration(seconds: float) -> str:
    """For VALID UNTIL; a little later than the lease, as Vault has it, so that the lease is what ends the role."""
    return (datetime.now(UTC) + timedelta(seconds=seconds + 5)).strftime("%Y-%m-%d %H:%M:%S+0000")
