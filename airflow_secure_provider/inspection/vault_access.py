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
    role_arn: str | None = None
    ttl: str | None = None

    @property
    def capability(self) -> str:
        """What a policy must allow on the path."""
        return "update" if self.engine == "aws" else "read"


@dataclass(frozen=True, slots=True)
class VaultAccess:
    """
    :ivar cert: files of the certificate and key that we show to Vault.
    :ivar client: gives a logged-in hvac client; raises what the login raises.
    :ivar session: gives a new HTTP session with the configured CA, client certificate and proxies; ``retry_answers`` as in
        :func:`~airflow_secure_provider.vault.sessions.session`.
    :ivar close: ends the login that was made.
    :ivar failure: turns what a request raised into one of our errors.
    :ivar templates: the dynamic connections with what is no secret of them, or with what keeps it from being read.
    :ivar describe: of one connection that Vault answers for, what is no secret, and its credential if it has one; None if it is
        another store's. Raises what a look-up raises.
    :ivar secret_files: what the configuration reads secrets from, by name.
    """

    url: str
    namespace: str
    auth_type: str
    verify: bool | str
    cert: list[str] | None
    mount_point: str
    kv_version: int
    kv_paths: tuple[str, ...]
    credentials: tuple[Credential, ...]
    client: Callable[[], Any] = field(repr=False)
    session: Callable[..., Any] = field(repr=False)
    close: Callable[[], None] = field(repr=False)
    failure: Callable[[BaseException, str], Exception] = field(repr=False)
    templates: Callable[[], Iterator[tuple[str, Mapping[str, Any] | str]]] = field(repr=False)
    describe: Callable[[str], tuple[Mapping[str, Any], Credential | None] | None] = field(repr=False)
    secret_files: Mapping[str, str]
