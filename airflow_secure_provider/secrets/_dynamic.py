"""Which connections get a credential made for the task: named, by a pattern, or declared in their own KV secret."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ConfigurationError, StoreError
from ._settings import WHERE, mapping, refuse_unknown

CONNECTION_KEYS = {"conn_type", "description", "host", "port", "schema", "extra", "login", "password"}
LEASED_KEYS = {"login", "password"}
_KEYS = {
    "database": {"engine", "role", "static_role", "mount", "template", "connection", "teams"},
    "aws": {"engine", "role", "mount", "template", "connection", "teams", "role_arn", "ttl"},
}
_PLACEHOLDER = "{conn_id}"
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class DynamicConnection:
    """One entry, checked.

    :ivar static: ``role`` is a static role, whose password Vault rotates.
    :ivar template: KV path below ``mount_point`` with the rest of the connection.
    :ivar connection: what the template would hold, inline.
    :ivar teams: whose tasks may use it; None for all.
    """

    engine: str
    role: str
    mount: str
    static: bool = False
    template: str | None = None
    connection: Mapping[str, Any] | None = None
    teams: frozenset[str] | None = None
    role_arn: str | None = None
    ttl: str | None = None

    @property
    def path(self) -> str:
        """Of the credential in Vault."""
        kind = "static-creds" if self.static else {"aws": "sts"}.get(self.engine, "creds")
        return f"{self.mount}/{kind}/{self.role}"

    @property
    def role_path(self) -> str:
        """Of the role's settings in Vault."""
        return f"{self.mount}/{'static-roles' if self.static else 'roles'}/{self.role}"


class DynamicConnections:
    """``dynamic`` in backend_kwargs: by connection id, or by a pattern such as ``crm_*``.

    In the role, the template and the ARN of a pattern, ``{conn_id}`` stands for the id that was looked up.
    """

    def __init__(self, given: Mapping[str, Any] | str | None) -> None:
        self.entries = {
            name: _checked(f"dynamic connection {name!r} {WHERE}", entry)
            for name, entry in mapping("dynamic", given).items()
        }
        self._patterns = sorted(
            (name for name in self.entries if any(sign in name for sign in "*?[")), key=len, reverse=True
        )

    def find(self, conn_id: str, team: str | None) -> DynamicConnection | None:
        """The entry of the id itself, else of the longest pattern.

        :raises StoreError: if it is for other teams, or the id can't stand in a path.
        """
        entry = self.entries.get(conn_id)
        if entry is None:
            name = next((each for each in self._patterns if fnmatch.fnmatchcase(conn_id, each)), None)
            if name is None:
                return None
            entry = _filled(self.entries[name], conn_id)
        if entry.teams is not None and team not in entry.teams:
            raise StoreError(
                f"it is for tasks of {', '.join(sorted(entry.teams))}, and not for "
                + (f"those of team {team!r}" if team else "tasks without a team")
            )
        return entry


def declared(conn_id: str, secret: Mapping[str, Any]) -> DynamicConnection | None:
    """The entry that a KV secret of a connection has under ``dynamic``; the secret's other fields are the connection."""
    if "dynamic" not in secret:
        return None
    where = f"the KV secret of connection {conn_id!r}"
    rest = {name: value for name, value in secret.items() if name != "dynamic"}
    given = mapping("dynamic", secret["dynamic"])
    for name in ("template", "connection", "teams"):
        if name in given:
            raise ConfigurationError(
                f"dynamic in {where} has {name}; the secret's other fields are the connection"
            )
    wrong = sorted(LEASED_KEYS & set(rest))
    if wrong:
        raise ConfigurationError(f"{where} has dynamic, and {wrong[0]} too, which is leased; take it out")
    return _checked(f"dynamic in {where}", {**given, "connection": rest})


def _filled(entry: DynamicConnection, conn_id: str) -> DynamicConnection:
    texts = {"role": entry.role, "template": entry.template, "role_arn": entry.role_arn}
    filled = {name: text for name, text in texts.items() if text and _PLACEHOLDER in text}
    if filled and (not _PLAIN.fullmatch(conn_id) or conn_id.strip(".") == ""):
        raise StoreError(
            f"its id can't stand in a path of Vault; name it in dynamic {WHERE}, instead of by a pattern with {_PLACEHOLDER}"
        )
    # By name, for mypy: replace() takes each field's own type.
    return replace(
        entry,
        role=entry.role.replace(_PLACEHOLDER, conn_id),
        template=entry.template.replace(_PLACEHOLDER, conn_id) if entry.template else entry.template,
        role_arn=entry.role_arn.replace(_PLACEHOLDER, conn_id) if entry.role_arn else entry.role_arn,
    )


def _checked(where: str, entry: object) -> DynamicConnection:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} must be a mapping with engine, role and template or connection")
    engine = entry.get("engine", "database")
    if engine not in _KEYS:
        raise ConfigurationError(f"{where} has engine {engine!r}; it takes {' or '.join(sorted(_KEYS))}")
    refuse_unknown(entry, _KEYS[engine], where)
    for name in ("role", "static_role", "mount", "template", "role_arn", "ttl"):
        if name in entry and not (isinstance(entry[name], str) and entry[name].strip("/ ")):
            raise ConfigurationError(f"{where} has no usable {name}; it must be a string that is not empty")
    for name in ("role", "static_role", "mount"):
        parts = str(entry.get(name, "x")).replace(_PLACEHOLDER, "x").strip("/").split("/")
        if not all(_PLAIN.fullmatch(part) and part.strip(".") for part in parts):
            raise ConfigurationError(
                f"{where} has {name} {entry[name]!r}, which can't stand in a path of Vault"
            )
    if ("role" in entry) == ("static_role" in entry):
        raise ConfigurationError(
            f"{where} has no role; name the role of the {engine} engine that makes its credentials"
            if "role" not in entry
            else f"{where} has both role and static_role; give one"
        )
    return DynamicConnection(
        engine=engine,
        role=str(entry.get("role") or entry.get("static_role")).strip("/"),
        mount=str(entry.get("mount", engine)).strip("/"),
        static="static_role" in entry,
        template=entry.get("template"),
        connection=_inline(where, engine, entry),
        teams=_teams(where, entry.get("teams")),
        role_arn=entry.get("role_arn"),
        ttl=entry.get("ttl"),
    )


def _inline(where: str, engine: str, entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if ("template" in entry and "connection" in entry) or not (
        {"template", "connection"} & set(entry) or engine == "aws"
    ):
        raise ConfigurationError(
            f"{where} must have either template (a KV path) or connection (conn_type, host, port, schema, extra)"
        )
    if "template" in entry:
        return None
    connection = entry.get("connection", {"conn_type": "aws"})
    if not isinstance(connection, Mapping) or not connection.get("conn_type"):
        raise ConfigurationError(f"{where} has a connection without conn_type")
    refuse_unknown(connection, CONNECTION_KEYS - LEASED_KEYS, f"the connection of {where}")
    return connection


def _teams(where: str, given: object) -> frozenset[str] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not given or not all(isinstance(each, str) and each for each in given):
        raise ConfigurationError(f"{where} has teams that is not a list of team names")
    return frozenset(given)
