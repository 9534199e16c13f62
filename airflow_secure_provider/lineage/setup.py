"""The section of airflow.cfg that turns lineage on, and its place in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError

TRANSPORT = "airflow_secure_provider.lineage.transport.SecureTransport"
EXTRACTORS = ";".join(
    f"airflow_secure_provider.lineage.extractors.{name}"
    for name in ("S3ToSqlExtractor", "SqlToS3Extractor", "S3ListExtractor")
)
_SECTION = "openlineage"


def settings(inner: Mapping[str, Any], spool: str, server: str | None = None) -> dict[str, str]:
    """
    :param inner: the transport that sends.
    :param spool: a folder on a disk that outlives tasks.
    :param server: ``marquez``, if that is who gets the events.
    :raises ConfigurationError: for one that is not absolute.
    """
    if not spool.startswith("/"):
        raise ConfigurationError(f"spool {spool!r}: expected an absolute path")
    known = {"server": server} if server else {}
    transport = {"type": TRANSPORT, "spool": spool, **known, "transport": dict(inner)}
    return {
        "transport": json.dumps(transport),
        "extractors": EXTRACTORS,
    }


def as_section(options: Mapping[str, str]) -> str:
    return (
        "\n".join([f"[{_SECTION}]", *(f"{name} = {_escaped(value)}" for name, value in options.items())])
        + "\n"
    )


def written_into(text: str, options: Mapping[str, str]) -> str:
    """An airflow.cfg with these options set, and everything else, comments too, as it was."""
    lines = text.splitlines()
    begin = next((n for n, line in enumerate(lines) if line.strip().lower() == f"[{_SECTION}]"), None)
    if begin is None:
        return (text.rstrip("\n") + "\n\n" if text.strip() else "") + as_section(options)
    end = next(
        (n for n in range(begin + 1, len(lines)) if re.match(r"\s*\[[^\]]+\]\s*$", lines[n])), len(lines)
    )
    kept = _without(lines[begin + 1 : end], set(options))
    new = [f"{name} = {_escaped(value)}" for name, value in options.items()]
    return "\n".join([*lines[: begin + 1], *new, *kept, *lines[end:]]) + "\n"


def _without(lines: list[str], names: set[str]) -> list[str]:
    """Without these options and the lines that go on with their values; what is commented out stays."""
    kept: list[str] = []
    dropping = False
    for line in lines:
        starts = re.match(r"([A-Za-z0-9_]+)\s*[=:]", line)
        if starts:
            dropping = starts[1].lower() in names
        elif not line.startswith((" ", "\t")):
            dropping = False
        if not dropping:
            kept.append(line)
    return kept


def _escaped(value: str) -> str:
    """Airflow's configuration interpolates percent signs."""
    return value.replace("%", "%%")
