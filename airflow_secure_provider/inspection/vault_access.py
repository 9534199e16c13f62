"""What an inspection may know and ask of the secrets backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Credential:
    """A dynamic connection of the configuration.

    :ivar path: where its credential is asked for, such as ``database/creds/crm-loader``; with ``{conn_id}``, of a pattern.
    :ivar role_path: where Vault keeps the role's settings.
    """

    name: str
    engine: str
    path: str
    role_path: str
    template: str | None


@dataclass(frozen=True, slots=True)
class VaultAccess:
    """
    :ivar client: gives a logged-in hvac client; raises what the login raises.
    :ivar failure: turns what a request raised into one of our errors.
    :ivar templates: the dynamic connections with what is no secret of them, or with what keeps it from being read.
    """

    url: str
    namespace: str
    auth_type: str
    verify: bool | str
    mount_point: str
    kv_version: int
    kv_paths: tuple[str, ...]
    credentials: tuple[Credential, ...]
    client: Callable[[], Any] = field(repr=False)
    failure: Callable[[BaseException, str], Exception] = field(repr=False)
    templates: Callable[[], Iterator[tuple[str, Mapping[str, Any] | str]]] = field(repr=False)
