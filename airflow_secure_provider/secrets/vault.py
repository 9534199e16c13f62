"""The Vault secrets backend: KV as the hashicorp provider has it, and dynamic database credentials."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from airflow.providers.hashicorp.secrets.vault import VaultBackend

from airflow_secure_provider import leases
from airflow_secure_provider.errors import ConfigurationError, StoreError
from airflow_secure_provider.vault import (
    CONNECT_TIMEOUT_SECONDS,
    READ_TIMEOUT_SECONDS,
    REVOKE_TIMEOUT_SECONDS,
    Lease,
    LeaseKey,
    fingerprint,
    issue_database_lease,
    revoke,
    session,
    vault_failure,
)

T = TypeVar("T")

_DYNAMIC_KEYS = {"engine", "role", "mount", "template", "connection"}
_CONNECTION_KEYS = {"conn_type", "description", "host", "port", "schema", "extra", "login", "password"}
_LEASED_KEYS = {"login", "password"}
# Who we are to Vault: look-ups that differ in any of these share no lease.
_IDENTITY = [
    "auth_type",
    "auth_mount_point",
    "role_id",
    "token",
    "token_path",
    "username",
    "key_id",
    "kubernetes_role",
    "kubernetes_jwt_path",
    "jwt_role",
    "jwt_token",
    "jwt_token_path",
    "gcp_key_path",
    "azure_tenant_id",
    "radius_host",
    "region",
]


@dataclass(frozen=True, slots=True)
class DynamicConnection:
    """One entry of ``dynamic``, checked."""

    engine: str
    role: str
    mount: str
    template: str | None  # KV path below mount_point
    connection: Mapping[str, Any] | None  # what the template would hold, inline


class VaultSecretsBackend(VaultBackend):  # type: ignore[misc]
    """
    Connections and variables from Vault; connections named in ``dynamic`` with a login made for the task.

    Takes every argument of the hashicorp provider's ``VaultBackend``, and behaves like it, except that Vault being
    unreachable, sealed, throttling or denying ends the look-up with an error that says so, and never continues
    with another store, and that it gives up in bounded time.

    :param dynamic: connection id → ``{"engine": "database", "role": …, "mount": "database", "template":
        "connections/crm"}``. The template is a KV secret below ``mount_point`` with all of the connection but login
        and password; instead of it ``"connection": {"conn_type": "postgres", "host": …}`` says the same inline.
    :param secret_id_path: file that holds the AppRole's secret id; read at every login, so that it can be replaced.
    :param ca_cert: file with the CA that issued Vault's certificate; the same as ``verify``.
    """

    def __init__(
        self,
        *args: Any,
        dynamic: Mapping[str, Mapping[str, Any]] | str | None = None,
        secret_id_path: str | None = None,
        ca_cert: str | None = None,
        **kwargs: Any,
    ) -> None:
        if ca_cert is not None:
            if "verify" in kwargs:
                raise ConfigurationError(
                    "backend_kwargs has both ca_cert and verify; they mean the same: give one"
                )
            kwargs["verify"] = ca_cert
        if secret_id_path is not None and kwargs.get("secret_id"):
            raise ConfigurationError("backend_kwargs has both secret_id and secret_id_path; give one")
        kwargs.setdefault("timeout", (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS))
        super().__init__(*args, **kwargs)
        self.dynamic = _checked(dynamic)
        self.secret_id_path = secret_id_path
        self._brings_session = "session" in kwargs
        self._session_pid: int | None = None

    # What Airflow calls.

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        """
        The connection as JSON or URI; None if it is neither in ``dynamic`` nor in Vault.

        :raises AirflowSecretsBackendAccessDenied: Vault did not answer or did not allow it, or this process may not
            lease; the message says which.
        """
        entry = self.dynamic.get(conn_id)
        if entry is not None:
            return self._guarded(f"connection {conn_id!r}", lambda: self._leased(conn_id, entry, team_name))
        if self.connections_path is None:
            return None
        return self._guarded(
            f"connection {conn_id!r}", lambda: self._stock("get_conn_value", conn_id, team_name)
        )

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
                + ", ".join(sorted(_CONNECTION_KEYS))
            )

        return self._guarded(f"connection {conn_id!r}", deserialize)

    # Failing closed.

    def _guarded(self, what: str, look_up: Callable[[], T]) -> T:
        from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

        try:
            return look_up()
        except AirflowSecretsBackendAccessDenied:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, no other store may answer instead
            failure = vault_failure(error, path=what, url=self._url())
        # Outside of the handler, so that the original, with its request and its answer, is not in __context__.
        raise AirflowSecretsBackendAccessDenied(f"{what}: {failure}")

    def _stock(self, method: str, key: str, team_name: str | None = None) -> str | None:
        self._prepare()
        arguments = (key,) if team_name is None else (key, team_name)
        found: str | None = getattr(super(), method)(*arguments)
        return found

    def _prepare(self) -> None:
        """Before any request: a session of this process, and the secret id as it is now."""
        client = self.vault_client
        if self._session_pid != os.getpid() and not self._brings_session:
            # A forked child that went on with its parent's TLS connection would garble it for both.
            inherited = client.kwargs.get("session")
            client.kwargs["session"] = self._new_session()
            if "_client" in client.__dict__:
                client._client.session = client.kwargs["session"]
            if inherited is not None:
                inherited.close()  # this process's descriptors only; the parent's connection lives on
            self._session_pid = os.getpid()
        if self.secret_id_path is not None:
            client.secret_id = Path(self.secret_id_path).read_text(encoding="utf-8").strip()

    def _new_session(self, *, retry_answers: bool = True) -> Any:
        kwargs = self.vault_client.kwargs
        verify = kwargs.get("verify")
        if verify is None:
            verify = os.environ.get("VAULT_CACERT") or os.environ.get("VAULT_CAPATH") or True
        return session(
            verify=verify, cert=kwargs.get("cert"), proxies=kwargs.get("proxies"), retry_answers=retry_answers
        )

    def _url(self) -> str:
        return str(self.vault_client.url or os.environ.get("VAULT_ADDR", "(no url given)"))

    # Dynamic connections.

    def _leased(self, conn_id: str, entry: DynamicConnection, team_name: str | None) -> str:
        denial = leases.reason_for_denial()
        if denial is not None:
            raise StoreError(
                f"a credential of role {entry.role!r} is issued only to running tasks, and {denial}"
            )
        key = LeaseKey(
            url=self._url(),
            namespace=str(self.vault_client.kwargs.get("namespace") or ""),
            identity=fingerprint(*(getattr(self.vault_client, name, None) for name in _IDENTITY)),
            mount=entry.mount,
            role=entry.role,
            team=team_name or "",
            conn_id=conn_id,
        )

        def issue() -> Lease:
            # The template first: when it is missing, no user is made.
            leases.TEMPLATES[key] = self._template(conn_id, entry)
            return self._issue(entry)

        lease = leases.BOOK.obtain(key, issue, self._revoke)
        return json.dumps({**leases.TEMPLATES[key], "login": lease.username, "password": lease.password})

    def _template(self, conn_id: str, entry: DynamicConnection) -> dict[str, Any]:
        if entry.template is None:
            return dict(entry.connection or {})
        self._prepare()
        try:
            found = self.vault_client.get_secret(secret_path=entry.template)
        except Exception as error:  # noqa: BLE001 - mapped, with the template's path in the place of the connection id
            failure = vault_failure(
                error, path=f"{self.mount_point or ''}/{entry.template}".strip("/"), url=self._url()
            )
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
            names = _CONNECTION_KEYS - {"description"}
            found = {name: getattr(connection, name, None) for name in names}
        _refuse_unknown(found, _CONNECTION_KEYS, f"template {template!r}")
        if not found.get("conn_type"):
            raise StoreError(f"its template {template!r} has no conn_type; add it, such as 'postgres'")
        return {
            name: value for name, value in found.items() if name not in _LEASED_KEYS and value is not None
        }

    def _issue(self, entry: DynamicConnection) -> Lease:
        from airflow.sdk.log import mask_secret

        def issue(client: Any) -> Lease:
            with self._new_session(retry_answers=False) as once:
                once_only = _with_session(client, once, self.vault_client.kwargs["timeout"])
                return issue_database_lease(once_only, entry.mount, entry.role)

        self._prepare()
        try:
            lease: Lease = self.vault_client._run_with_reauth(issue)
        except Exception as error:  # noqa: BLE001 - mapped, with the path of the credential
            failure = vault_failure(error, path=f"{entry.mount}/creds/{entry.role}", url=self._url())
        else:
            for secret in (lease.password, lease.username, lease.lease_id):
                mask_secret(secret)
            return lease
        raise failure

    def _revoke(self, lease: Lease) -> None:
        failure = None
        with self._new_session(retry_answers=False) as once:
            try:
                self._end(_with_session(self.vault_client.client, once, REVOKE_TIMEOUT_SECONDS), lease)
            except Exception as error:  # noqa: BLE001 - mapped
                failure = vault_failure(error, path="sys/leases/revoke", url=self._url())
        if failure is not None:
            raise failure

    def _end(self, client: Any, lease: Lease) -> None:
        from hvac.exceptions import Forbidden

        try:
            revoke(client, lease)
        except Forbidden:
            if self.vault_client.auth_type in ("token", "github"):
                raise
            # Not allowed sys/leases/revoke. The login is this process's alone: ending it ends its leases.
            client.auth.token.revoke_self()


def _with_session(client: Any, own_session: Any, timeout: Any) -> Any:
    """The same login over another session; the login is not repeated."""
    import hvac

    adapter = client.adapter
    return hvac.Client(
        url=adapter.base_uri,
        token=adapter.token,
        namespace=adapter.namespace,
        session=own_session,
        verify=own_session.verify,
        timeout=timeout,
    )


def _checked(dynamic: Mapping[str, Mapping[str, Any]] | str | None) -> dict[str, DynamicConnection]:
    if isinstance(dynamic, str):  # from AIRFLOW__SECRETS__BACKEND_KWARG__DYNAMIC
        try:
            dynamic = json.loads(dynamic)
        except ValueError:
            raise ConfigurationError("dynamic in backend_kwargs is not JSON") from None
    if dynamic is None:
        return {}
    if not isinstance(dynamic, Mapping):
        raise ConfigurationError(
            "dynamic in backend_kwargs must map connection ids to what is leased for them"
        )
    return {conn_id: _checked_entry(conn_id, entry) for conn_id, entry in dynamic.items()}


def _checked_entry(conn_id: str, entry: object) -> DynamicConnection:
    where = f"dynamic connection {conn_id!r} in backend_kwargs"
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} must be a mapping with engine, role and template or connection")
    _refuse_unknown(entry, _DYNAMIC_KEYS, where)
    engine = entry.get("engine", "database")
    if engine != "database":
        raise ConfigurationError(f"{where} has engine {engine!r}; 'database' is the one there is")
    for name in ("role", "mount", "template"):
        if name in entry and not (isinstance(entry[name], str) and entry[name].strip("/ ")):
            raise ConfigurationError(f"{where} has no usable {name}; it must be a string that is not empty")
    if "role" not in entry:
        raise ConfigurationError(
            f"{where} has no role; name the role of the database engine that makes its users"
        )
    if ("template" in entry) == ("connection" in entry):
        raise ConfigurationError(
            f"{where} must have either template (a KV path) or connection (conn_type, host, port, schema, extra)"
        )
    connection = entry.get("connection")
    if "connection" in entry:
        if not isinstance(connection, Mapping) or not connection.get("conn_type"):
            raise ConfigurationError(f"{where} has a connection without conn_type")
        _refuse_unknown(connection, _CONNECTION_KEYS - _LEASED_KEYS, f"the connection of {where}")
    return DynamicConnection(
        engine=engine,
        role=entry["role"],
        mount=str(entry.get("mount", "database")).strip("/"),
        template=entry.get("template"),
        connection=connection,
    )


def _refuse_unknown(mapping: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    unknown = sorted(set(map(str, mapping)) - set(known))
    if unknown:
        raise ConfigurationError(
            f"{where} has unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
