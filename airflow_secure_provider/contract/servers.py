"""What a contract says beside its columns: how its servers keep the data (``servers[]``), and who owns it (``team``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ContractError
from ..model import SCHEMES, AtRest, Evidence, Owner

_PROPERTY = "atRest"
_KEYS = {"scheme": "scheme", "algorithm": "algorithm", "keyProvider": "key_provider", "keyId": "key_id"}
_POSTGRES_PORT = 5432


def declared_at_rest(body: Mapping[str, Any], where: str) -> dict[str, AtRest]:
    """The custom property ``atRest`` of each server that has it, by dataset namespace.

    :raises ContractError: for a property that is not understood, on a server that can't be told, or two that differ.
    """
    found: dict[str, AtRest] = {}
    for server in body.get("servers") or []:
        for custom in server.get("customProperties") or []:
            if custom["property"] != _PROPERTY:
                continue
            place = f"contract {where}, server {server['server']!r}"
            namespace, at_rest = namespace_of(server), _at_rest(custom["value"], place, where)
            if namespace is None:
                raise ContractError(
                    f"{place} has {_PROPERTY}, which is understood for type postgres, and for s3 with a location s3://…; "
                    "declare others in [secure_provider] declared_at_rest"
                )
            if found.setdefault(namespace, at_rest) != at_rest:
                raise ContractError(f"{place}: {namespace} is declared twice, and differently")
    return found


def namespace_of(server: Mapping[str, Any]) -> str | None:
    """Of the datasets on it, as OpenLineage names them; ``None`` for a type that is not known here."""
    kind = server.get("type")
    if kind in ("postgres", "postgresql"):
        return f"postgres://{server['host']}:{server.get('port', _POSTGRES_PORT)}"
    if kind == "s3" and str(server.get("location", "")).startswith("s3://"):
        return "s3://" + str(server["location"]).removeprefix("s3://").partition("/")[0]
    return None


def owners(body: Mapping[str, Any]) -> tuple[Owner, ...]:
    """The team by its name, and its members whose role is owner; who has left does not count."""
    team = body.get("team") or {}
    named = team.get("name") if isinstance(team, Mapping) else None
    members = (team.get("members") or []) if isinstance(team, Mapping) else team
    found = [Owner(str(named), "team")] if named else []
    return (
        *found,
        *(
            Owner(str(each["username"]), "owner")
            for each in members
            if "owner" in str(each.get("role") or "").lower() and not each.get("dateOut")
        ),
    )


def _at_rest(given: Any, place: str, where: str) -> AtRest:
    entry = given if isinstance(given, Mapping) else {"scheme": given}
    unknown = sorted(set(entry) - set(_KEYS))
    if unknown or entry.get("scheme") not in SCHEMES:
        problem = f"unknown key {unknown[0]!r}" if unknown else f"scheme must be one of {', '.join(SCHEMES)}"
        raise ContractError(f"{place}, {_PROPERTY}: {problem}; it takes {', '.join(_KEYS)}")
    return AtRest(
        **{_KEYS[key]: str(value) for key, value in entry.items()},
        evidence=Evidence.DECLARED,
        note=f"declared in contract {where}",
    )
