"""What ``backend_kwargs`` has beyond the hashicorp provider's own arguments, checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigurationError
from ..vault.login import KINDS

WHERE = "in backend_kwargs"
_OAUTH_KEYS = {"token_url", "client_id", "client_secret", "client_secret_path", "client_auth", "ca_cert", "scope", "audience"}  # fmt: skip
CACHE_SECONDS = 5.0
_MOST_CACHE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """The arguments of :class:`~airflow_secure_provider.secrets.vault.VaultSecretsBackend` of the same names."""

    secret_id_path: str | None = None
    secret_id_wrapping_token_path: str | None = None
    cert_role: str | None = None
    jwt_client_credentials: Mapping[str, str] | None = field(default=None, repr=False)
    allow_tokens: tuple[str, ...] = ()
    cache_seconds: float = CACHE_SECONDS
    triggerer_leases: bool = False


def own_settings(
    *,
    secret_id_path: str | None,
    secret_id_wrapping_token_path: str | None,
    cert_role: str | None,
    jwt_client_credentials: Mapping[str, str] | str | None,
    allow_tokens: Iterable[str] | str,
    cache_seconds: float | str,
    triggerer_leases: bool | str,
) -> OwnSettings:
    """:raises ConfigurationError: for one that means nothing."""
    if secret_id_wrapping_token_path and not secret_id_path:
        raise ConfigurationError(
            f"secret_id_wrapping_token_path {WHERE} takes secret_id_path too: a file on a memory file system, where the "
            "unwrapped secret id is kept for all processes (the wrapping token works once)"
        )
    return OwnSettings(
        secret_id_path,
        secret_id_wrapping_token_path,
        cert_role,
        _oauth(mapping("jwt_client_credentials", jwt_client_credentials)),
        _token_kinds(allow_tokens),
        _cache_seconds(cache_seconds),
        str(triggerer_leases).lower() in ("true", "1"),
    )


def mapping(name: str, value: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    """:param value: as JSON, if it is from an environment variable such as AIRFLOW__SECRETS__BACKEND_KWARG__DYNAMIC."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ConfigurationError(f"{name} {WHERE} is not JSON") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} {WHERE} must map names to what they mean (a JSON object)")
    return value


def refuse_unknown(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    """:raises ConfigurationError: for names that nothing reads."""
    unknown = sorted(set(map(str, given)) - set(known))
    if unknown:
        raise ConfigurationError(
            f"{where} has unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )


def _oauth(given: Mapping[str, Any]) -> Mapping[str, str] | None:
    if not given:
        return None
    where = f"jwt_client_credentials {WHERE}"
    refuse_unknown(given, _OAUTH_KEYS, where)
    if not given.get("token_url") or not given.get("client_id"):
        raise ConfigurationError(f"{where} needs token_url and client_id")
    if bool(given.get("client_secret")) == bool(given.get("client_secret_path")):
        raise ConfigurationError(f"{where} needs one of client_secret_path and client_secret")
    return {name: str(value) for name, value in given.items()}


def _token_kinds(given: Iterable[str] | str) -> tuple[str, ...]:
    if isinstance(given, str):
        given = json.loads(given) if given.lstrip().startswith("[") else given.split(",")
    kinds = tuple(each.strip() for each in given if each.strip())
    wrong = sorted(set(kinds) - set(KINDS))
    if wrong:
        raise ConfigurationError(f"allow_tokens {WHERE} has {wrong[0]!r}; it takes {', '.join(KINDS)}")
    return kinds


def _cache_seconds(given: float | str) -> float:
    try:
        seconds = float(given)
    except (ValueError, TypeError):
        seconds = -1.0
    if not 0 <= seconds <= _MOST_CACHE_SECONDS:
        raise ConfigurationError(
            f"cache_seconds {WHERE} is {given!r}; it takes 0 to {_MOST_CACHE_SECONDS:g} seconds"
        )
    return seconds
