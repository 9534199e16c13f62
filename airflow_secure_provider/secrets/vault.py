"""The Vault secrets backend: KV as the hashicorp provider has it, and credentials that live as long as the task."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from airflow.providers.hashicorp.secrets.vault import VaultBackend

from airflow_secure_provider import leases
from airflow_secure_provider.errors import ConfigurationError, StoreError, TransientError
from airflow_secure_provider.inspection.vault_access import Credential, VaultAccess
from airflow_secure_provider.vault.failures import vault_failure
from airflow_secure_provider.vault.lease import Lease, LeaseKey
from airflow_secure_provider.vault.sessions import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS

from ._client import BackendClient
from ._dynamic import CONNECTION_KEYS, LEASED_KEYS, DynamicConnection, DynamicConnections, declared
from ._kv import Kv
from ._lender import BackendLender
from ._settings import CACHE_SECONDS, own_settings, refuse_unknown

T = TypeVar("T")

_MASKED_FROM = 5  # characters; Airflow masks nothing shorter


class VaultSecretsBackend(VaultBackend):  # type: ignore[misc]
    """
    Connections and variables from Vault; dynamic connections with a credential made for the task.

    Takes every argument of the hashicorp provider's ``VaultBackend``, and behaves like it, except that Vault being
    unreachable, sealed, throttling or denying ends the look-up with an error that says so, and never continues
    with another store, and that it gives up in bounded time.

    :param dynamic: connection id, or a pattern such as ``crm_*``, → ``{"engine": "database", "role": …,
        "mount": "database", "template": "connections/crm"}``. The template is a KV secret below ``mount_point`` with all
        of the connection but login and password; ``"connection": {"conn_type": "postgres", …}`` says the same inline.
        ``static_role`` instead of ``role`` for one whose password Vault rotates. ``"engine": "aws"`` takes ``role``,
        ``role_arn`` and ``ttl``. ``teams`` restricts it. In a pattern's entry ``{conn_id}`` stands for the id.
    :param secret_id_path: file that holds the AppRole's secret id; read at every login, so that it can be replaced.
    :param secret_id_wrapping_token_path: file with a response-wrapping token of the secret id. The first process unwraps
        it and keeps the secret id in ``secret_id_path``, which belongs on a memory file system.
    :param ca_cert: file with the CA that issued Vault's certificate; the same as ``verify``.
    :param client_cert: file with the certificate that we show to Vault (mutual TLS, and ``auth_type="cert"``).
    :param client_key: file with its key.
    :param cert_role: role of the TLS certificate login, for ``auth_type="cert"``.
    :param jwt_client_credentials: for ``auth_type="jwt"``: get the JWT by OAuth 2.0 client credentials:
        ``{"token_url": …, "client_id": …, "client_secret_path": …, "scope": …, "audience": …, "ca_cert": …}``.
    :param allow_tokens: kinds of token that are refused otherwise: ``root``, ``never-expiring``, ``over-broad``.
    :param cache_seconds: how long a task remembers a KV value (default 5, at most 60, 0 for never).
    :param triggerer_leases: issue credentials to triggers too; each trigger has its own, until it ends.
    """

    def __init__(
        self,
        *args: Any,
        dynamic: Mapping[str, Mapping[str, Any]] | str | None = None,
        secret_id_path: str | None = None,
        secret_id_wrapping_token_path: str | None = None,
        ca_cert: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        cert_role: str | None = None,
        jwt_client_credentials: Mapping[str, str] | str | None = None,
        allow_tokens: Iterable[str] | str = (),
        cache_seconds: float | str = CACHE_SECONDS,
        triggerer_leases: bool | str = False,
        **kwargs: Any,
    ) -> None:
        # By name, whatever the caller did: what is looked at below may have been given by its place.
        kwargs = {**dict(zip(_PLACES, args, strict=False)), **kwargs}
        if secret_id_path is not None and kwargs.get("secret_id"):
            raise ConfigurationError("backend_kwargs has both secret_id and secret_id_path; give one")
        if secret_id_path or secret_id_wrapping_token_path:
            kwargs.setdefault("auth_type", "approle")
        own = own_settings(
            secret_id_path=secret_id_path,
            secret_id_wrapping_token_path=secret_id_wrapping_token_path,
            cert_role=cert_role,
            jwt_client_credentials=jwt_client_credentials,
            allow_tokens=allow_tokens,
            cache_seconds=cache_seconds,
            triggerer_leases=triggerer_leases,
        )
        _take_tls(kwargs, ca_cert, client_cert, client_key)
        kwargs.setdefault("timeout", (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS))
        by_certificate = kwargs.get("auth_type") == "cert"
        if by_certificate and not kwargs.get("cert"):
            raise ConfigurationError('auth_type "cert" takes client_cert and client_key')
        # The provider makes a client of its own, which is replaced; of the two it is the one that knows no "cert".
        stock = {**kwargs, "auth_type": "token", "token": "cert"} if by_certificate else dict(kwargs)
        if own.jwt_client_credentials is not None:
            stock["jwt_token_path"] = stock.get("jwt_token_path") or "-"
        super().__init__(**stock)
        self.dynamic = DynamicConnections(dynamic)
        self.own = own
        provided: Any = self.__dict__.pop("vault_client")
        given = {name: getattr(provided, name) for name in _CLIENT_ARGUMENTS} | provided.kwargs
        if by_certificate:
            given |= {"auth_type": "cert", "token": None}
        self.vault_client = BackendClient(own, **given)
        self._kv = Kv(self.vault_client)

    # What Airflow calls.

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        """
        The connection as JSON or URI; None if it is neither in ``dynamic`` nor in Vault.

        :raises AirflowSecretsBackendAccessDenied: Vault did not answer or did not allow it, or this process may not
            lease; the message says which.
        """
        return self._guarded(f"connection {conn_id!r}", lambda: self._connection(conn_id, team_name))

    def get_variable(self, key: str, team_name: str | None = None) -> str | None:
        if self.variables_path is None:
            return None
        return self._guarded(f"variable {key!r}", lambda: self._stock("get_variable", key, team_name))

    def get_config(self, key: str) -> str | None:
        """
        A configuration option. When Vault fails, so does Airflow's start, with the reason: running on a default
        in the place of a secret option (a signing key, a database URL) would be worse.
        """
        if self.config_path is None:
            return None
        return self._guarded(f"configuration option {key!r}", lambda: self._stock("get_config", key))

    def deserialize_connection(self, conn_id: str, value: str) -> Any:
        """As in Airflow, which however takes what does not parse for "isn't defined"."""

        def deserialize() -> Any:
            try:
                return super(VaultSecretsBackend, self).deserialize_connection(conn_id, value)
            except Exception as error:  # noqa: BLE001 - its message may quote the value
                kind = type(error).__name__
            raise StoreError(
                f"the secret is not a connection ({kind}); give it conn_uri, or the fields of a connection: "
                + ", ".join(sorted(CONNECTION_KEYS))
            )

        return self._guarded(f"connection {conn_id!r}", deserialize)

    def for_inspection(self) -> VaultAccess:
        """What ``airflow-secure check`` and ``leases sweep`` look at."""
        client = self.vault_client
        cert = client.kwargs.get("cert")
        paths = (self.connections_path, self.variables_path, self.config_path)
        return VaultAccess(
            url=client.address,
            namespace=str(client.kwargs.get("namespace") or ""),
            auth_type=client.auth_type,
            verify=client.verify,
            cert=[*cert] if isinstance(cert, (list, tuple)) else [cert] if cert else None,
            mount_point=self.mount_point or "",
            kv_version=self.kv_engine_version,
            kv_paths=tuple(path for each in paths for path in each or ()),
            credentials=tuple(_credential(name, each) for name, each in self.dynamic.entries.items()),
            describe=self._described,
            secret_files={
                name: path
                for name in (
                    "secret_id_path",
                    "secret_id_wrapping_token_path",
                    "token_path",
                    "jwt_token_path",
                )
                if (path := getattr(self.own, name, None) or getattr(client, name, None))
            },
            client=client.checked,
            session=client.new_session,
            close=client.end_login,
            failure=lambda error, path: vault_failure(error, path=path, url=client.address),
            templates=self._templates,
        )

    def _described(self, conn_id: str) -> tuple[Mapping[str, Any], Credential | None] | None:
        entry = self.dynamic.find(conn_id, None)
        if entry is None:
            secret = self._get_secret(self.connections_path, None, conn_id)
            if secret is None:
                return None
            entry = declared(conn_id, secret)
            if entry is None:
                return self._fields(conn_id, secret, conn_id), None
        return self._template(conn_id, entry), _credential(conn_id, entry)

    def _templates(self) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
        for name, entry in self.dynamic.entries.items():
            if any(sign in name for sign in "*?["):
                continue  # its template is known only when a connection is looked up
            try:
                yield name, self._template(name, entry)
            except Exception as error:  # noqa: BLE001 (mapped)
                yield name, str(vault_failure(error, path=name, url=self.vault_client.address))

    # Failing closed.

    def _guarded(self, what: str, look_up: Callable[[], T]) -> T:
        from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

        try:
            return look_up()
        except AirflowSecretsBackendAccessDenied:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, no other store may answer instead
            failure = vault_failure(error, path=what, url=self.vault_client.address)
        # Outside of the handler, so that the original, with its request and its answer, is not in __context__.
        denial: Any = AirflowSecretsBackendAccessDenied(f"{what}: {failure}")
        denial.transient = isinstance(failure, TransientError)  # for VaultReadySensor
        raise denial

    def _stock(self, method: str, key: str, team_name: str | None = None) -> str | None:
        arguments = (key,) if team_name is None else (key, team_name)
        found: str | None = getattr(super(), method)(*arguments)
        return found

    def _get_secret_with_base(self, base_path: str | None, key: str) -> dict[str, Any] | None:
        """As the provider, whose own reading takes a deleted version for none."""
        mount, rest = self._parse_path(key)
        if base_path is None or rest is None:
            return None
        path = self.build_path(base_path, rest) if base_path else rest
        return self._kv.read(f"{mount}/{path}" if mount else path)

    # Dynamic connections.

    def _connection(self, conn_id: str, team: str | None) -> str | None:
        whose = team or leases.team()
        entry = self.dynamic.find(conn_id, whose)
        if entry is not None:
            return self._leased(conn_id, entry, whose)
        if self.connections_path is None:
            return None
        secret = self._get_secret(self.connections_path, team, conn_id)
        if secret is None:
            return None
        entry = declared(conn_id, secret)
        if entry is not None:
            return self._leased(conn_id, entry, whose)
        return str(secret["conn_uri"]) if secret.get("conn_uri") else json.dumps(secret)

    def _leased(self, conn_id: str, entry: DynamicConnection, team: str | None) -> str:
        book = leases.book(for_triggers=self.own.triggerer_leases)
        if isinstance(book, str):
            raise StoreError(
                f"a credential of role {entry.role!r} is issued only to running tasks, and {book}"
            )
        # The template first: when it is missing, no user is made.
        fields = self._template(conn_id, entry)
        client = self.vault_client
        key = LeaseKey(
            url=client.address,
            namespace=str(client.kwargs.get("namespace") or ""),
            identity=client.identity,
            mount=entry.mount,
            role=entry.path.removeprefix(f"{entry.mount}/"),
            team=team or "",
            conn_id=conn_id,
        )
        lender = BackendLender(client)  # one for each lease: it knows the login that the lease ends with
        if entry.static:  # read at each connection, so that a rotation is followed
            lease = self._issue(entry, lender)
            book.note(key, lease, lender)
        else:
            lease = book.obtain(key, lambda: self._issue(entry, lender), lender)
            leases.keep_alive(book)
        _mask(lease)
        return json.dumps(_with_credential(fields, lease))

    def _template(self, conn_id: str, entry: DynamicConnection) -> dict[str, Any]:
        if entry.template is None:
            return dict(entry.connection or {})
        try:
            found = self._kv.read(entry.template)
        except Exception as error:  # noqa: BLE001 - mapped, with the template's path in the place of the connection id
            path = f"{self.mount_point or ''}/{entry.template}".strip("/")
            failure = vault_failure(error, path=path, url=self.vault_client.address)
        else:
            if found is None:
                raise StoreError(
                    f"its template {entry.template!r} is not in Vault (mount {self.mount_point!r}); put conn_type, host, "
                    "port, schema and extra of the connection there"
                )
            return self._fields(conn_id, found, entry.template)
        raise failure

    def _fields(self, conn_id: str, found: Mapping[str, Any], template: str) -> dict[str, Any]:
        if found.get("conn_uri"):
            connection = self.deserialize_connection(conn_id, found["conn_uri"])
            names = CONNECTION_KEYS - {"description"}
            found = {name: getattr(connection, name, None) for name in names}
        refuse_unknown(found, CONNECTION_KEYS, f"template {template!r}")
        if not found.get("conn_type"):
            raise StoreError(f"its template {template!r} has no conn_type; add it, such as 'postgres'")
        return {name: value for name, value in found.items() if name not in LEASED_KEYS and value is not None}

    def _issue(self, entry: DynamicConnection, lender: BackendLender) -> Lease:
        try:
            return lender.issue(entry, leases.session_name())
        except Exception as error:  # noqa: BLE001 - mapped, with the path of the credential
            failure = vault_failure(error, path=entry.path, url=self.vault_client.address)
        raise failure


def _credential(name: str, entry: DynamicConnection) -> Credential:
    return Credential(
        name, entry.engine, entry.path, entry.role_path, entry.template, entry.role_arn, entry.ttl
    )


def _mask(lease: Lease) -> None:
    """Once it is in the book: masking may fail, and the lease must be revoked all the same."""
    from airflow.sdk.log import mask_secret

    if lease.masked:
        return
    for secret in (*lease.secrets.values(), lease.lease_id):
        if len(secret) >= _MASKED_FROM:
            mask_secret(secret)
    lease.masked.append(True)


_PLACES = [
    name
    for name, parameter in inspect.signature(VaultBackend.__init__).parameters.items()
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self"
]
_CLIENT_ARGUMENTS = [
    "url", "auth_type", "auth_mount_point", "mount_point", "kv_engine_version", "token", "token_path", "username",
    "password", "key_id", "secret_id", "role_id", "assume_role_kwargs", "region", "kubernetes_role",
    "kubernetes_jwt_path", "gcp_key_path", "gcp_keyfile_dict", "gcp_scopes", "azure_tenant_id", "azure_resource",
    "radius_host", "radius_secret", "radius_port", "jwt_role", "jwt_token", "jwt_token_path",
]  # fmt: skip


def _take_tls(kwargs: dict[str, Any], ca: str | None, certificate: str | None, key: str | None) -> None:
    if ca is not None:
        if "verify" in kwargs:
            raise ConfigurationError(
                "backend_kwargs has both ca_cert and verify; they mean the same: give one"
            )
        kwargs["verify"] = ca
    if (certificate is None) != (key is None):
        raise ConfigurationError("backend_kwargs has one of client_cert and client_key; they go together")
    if certificate is not None:
        if "cert" in kwargs:
            raise ConfigurationError(
                "backend_kwargs has both client_cert and cert; they mean the same: give one"
            )
        kwargs["cert"] = (certificate, key)


def _with_credential(fields: Mapping[str, Any], lease: Lease) -> dict[str, Any]:
    whole = {**fields, "login": lease.username, "password": lease.password}
    token = lease.secrets.get("token")
    if token:
        extra = whole.get("extra") or {}
        whole["extra"] = {
            **(json.loads(extra) if isinstance(extra, str) else extra),
            "aws_session_token": token,
        }
    return whole
